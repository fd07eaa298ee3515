//! The logs of all nodes of the database, as any node answers for them: its own as its writer shows it, another's as it is
//! stored. Another node's checkpoint is only proved from when one of the keys signed it that its own log announces; that these
//! are the right keys is for whoever verifies, who has them by another way.

use super::audit::{REPORT_PIECE, blocking, read_piece};
use super::{Error, Registry};
use crate::domain::{LogPosition, LogPositions};
use crate::log::note::{Checkpoint, VerifierKey};
use crate::log::{self, Act, Entry, Head, LogFilter, Reading};
use crate::store::archive::{Archive, tiles_begin};
use crate::store::log::LogNumber;
use crate::store::{self, StoreError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A node's log with its last signed tree.
pub(super) struct Signed {
    pub(super) node: String,
    pub(super) log: LogNumber,
    pub(super) head: Arc<Head>,
    archived: Option<Archive>,
}

impl Signed {
    /// Whether the entry is in the database, or in an archive.
    pub(super) fn is_kept(&self, index: u64) -> Result<(), Error> {
        is_kept(self.archived.as_ref(), index)
    }

    /// Whether the tile with the entry's leaf hash is in the database. Those around the end of the archives are.
    pub(super) fn has_leaves(&self, index: u64) -> Result<(), Error> {
        let is_there = self.archived.as_ref().is_none_or(|archive| index >= tiles_begin(archive.end()));
        if is_there { Ok(()) } else { self.is_kept(index) }
    }
}

pub(super) fn is_kept(archived: Option<&Archive>, index: u64) -> Result<(), Error> {
    match archived {
        Some(archive) if index < archive.end() => Err(Error::Archived(archive.end())),
        Some(_) | None => Ok(()),
    }
}

/// What was read of the logs of other nodes, by their names.
#[derive(Default)]
pub(super) struct OtherLogs {
    /// The trees under the checkpoints that were the last ones.
    heads: Mutex<BTreeMap<String, Arc<Head>>>,
    announced: Mutex<BTreeMap<String, Announced>>,
}

/// The keys that a log has announced, as far as it was read: it only grows.
#[derive(Clone, Default)]
struct Announced {
    /// The last entry that was looked at.
    up_to: Option<u64>,
    keys: Vec<VerifierKey>,
}

impl Registry {
    pub(super) async fn signed(&self, node: &str) -> Result<Signed, Error> {
        let name = node.to_owned();
        if node == self.node {
            let (log, head, archived) = (self.log.number(), self.log.head(), self.archived.clone());
            return Ok(Signed { node: name, log, head, archived });
        }
        let (origin, known) = (self.origin_of(node), self.others.head(node));
        let found = self.read(move |connection| {
            let Some(log) = store::log::find(connection, &name)? else { return Ok(None) };
            let head = log::stored_head(connection, log, &origin, known.as_ref())?;
            let archived = store::archive::last(connection, log)?;
            Ok(head.map(|head| Signed { node: name.clone(), log, head, archived }))
        });
        let signed = found.await?.ok_or(Error::NotFound)?;
        self.others.keep_head(&signed);
        Ok(signed)
    }

    /// The last archive of a node's log.
    pub(super) async fn archive_of(&self, node: &str) -> Result<Option<Archive>, Error> {
        if node == self.node {
            return Ok(self.archived.clone());
        }
        let name = node.to_owned();
        let found = self.read(move |connection| match store::log::find(connection, &name)? {
            Some(log) => store::archive::last(connection, log).map(Some),
            None => Ok(None),
        });
        found.await?.ok_or(Error::NotFound)
    }

    /// The first entry of each of these logs that is not in an archive.
    pub(super) async fn kept_from(&self, nodes: Vec<String>) -> Result<LogPositions, Error> {
        let mut places = Vec::with_capacity(nodes.len());
        for node in nodes {
            let index = self.archive_of(&node).await?.as_ref().map_or(0, Archive::end);
            places.push(LogPosition { node: node.into(), index });
        }
        LogPositions::new(places).ok_or_else(|| Error::Internal("a log twice".to_owned()))
    }

    /// Refuses another node's head that none of its log's own keys signed. Where the entries that announced them are all in
    /// archives, who signed it cannot be told here.
    pub(super) async fn is_signed_by_its_log(&self, signed: &Signed) -> Result<(), Error> {
        if signed.node == self.node {
            return Ok(());
        }
        let keys = self.announced_keys(signed).await?;
        let is_unknown = keys.is_empty() && signed.archived.is_some();
        if is_unknown || Checkpoint::parse_signed(&signed.head.note, &keys).is_ok() {
            Ok(())
        } else {
            Err(StoreError::Corrupt("a checkpoint that is not signed by its log").into())
        }
    }

    async fn announced_keys(&self, signed: &Signed) -> Result<Vec<VerifierKey>, Error> {
        let mut known = self.others.announced(&signed.node);
        let (name, after, end) = (signed.node.clone(), known.up_to, signed.head.checkpoint.size);
        let filter = LogFilter { act: Some(Act::LogKey), ..LogFilter::default() };
        let opened = self.read(move |connection| Reading::open(connection, &name, filter.clone(), after, Some(end)));
        let mut reading = opened.await?.ok_or(Error::NotFound)?;
        let origin = self.origin_of(&signed.node);
        while !reading.is_done() {
            let (store, covered) = (Arc::clone(&self.store), self.search.covered());
            let (read, found) = blocking(move || read_piece(store.as_ref(), reading, &covered, REPORT_PIECE)).await??;
            reading = read;
            for found in found {
                let reference = Entry::decode(&found.bytes).and_then(|entry| entry.reference).unwrap_or_default();
                known.keys.extend(VerifierKey::parse(&reference).filter(|key| key.name() == origin));
            }
            // A request that ends before all is read has made the next one shorter.
            known.up_to = known.up_to.max(reading.looked_at());
            self.others.learn(&signed.node, &known);
        }
        Ok(known.keys)
    }

    /// The name of a node's log.
    fn origin_of(&self, node: &str) -> String {
        let own = self.log.key().name();
        format!("{}/{node}", own.rsplit_once('/').map_or(own, |(registry, _)| registry))
    }
}

impl OtherLogs {
    fn head(&self, node: &str) -> Option<Arc<Head>> {
        locked(&self.heads).get(node).cloned()
    }

    fn keep_head(&self, signed: &Signed) {
        locked(&self.heads).insert(signed.node.clone(), Arc::clone(&signed.head));
    }

    fn announced(&self, node: &str) -> Announced {
        locked(&self.announced).get(node).cloned().unwrap_or_default()
    }

    /// Of several that read at the same time the one that came furthest counts.
    fn learn(&self, node: &str, read: &Announced) {
        let mut known = locked(&self.announced);
        if known.get(node).is_none_or(|known| known.up_to < read.up_to) {
            known.insert(node.to_owned(), read.clone());
        }
    }
}

fn locked<T>(known: &Mutex<T>) -> MutexGuard<'_, T> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
