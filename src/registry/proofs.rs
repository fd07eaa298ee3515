//! What proves the log: checkpoints, tiles, bundles, receipts. A proof is verified before it leaves. Hashes and checkpoints
//! tell nothing about anybody and leave no entry; whatever holds entries does.

use super::{Answered, Call, Error, Registry, render};
use crate::domain::{CheckId, LogPosition};
use crate::log::merkle::{self, TILE_WIDTH, Tiles};
use crate::log::receipt::Receipt;
use crate::log::{self, Act, Entry, Head, Resource, StoredTiles, entries_of};
use crate::store::archive::{Archive, tiles_begin};
use crate::store::log::LogNumber;
use crate::store::{self, Connection, StoreError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use std::sync::Arc;

/// A tile or a bundle of entries, as C2SP tlog-tiles names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilePlace {
    /// `None`: a bundle of entries.
    pub level: Option<u8>,
    pub index: u64,
    /// How many hashes or entries of it, from 1 to 256.
    pub width: u16,
}

#[derive(Serialize)]
struct Consistency {
    from: u64,
    to: u64,
    proof: Vec<String>,
}

impl Registry {
    /// The last checkpoint of a node's log.
    pub fn checkpoint(&self, node: &str) -> Result<String, Error> {
        Ok(self.head_of(node)?.note.clone())
    }

    /// The key that verifies this node's checkpoints, as text.
    pub fn log_key(&self) -> String {
        self.log.key().to_string()
    }

    /// The hashes of a tile, as far as the last checkpoint covers them.
    pub async fn read_tile(&self, node: &str, level: u8, place: TilePlace) -> Result<Vec<u8>, Error> {
        let head = self.head_of(node)?;
        let below = u64::from(TILE_WIDTH).checked_pow(level.into()).ok_or(Error::NotFound)?;
        let end = place.index.checked_mul(TILE_WIDTH.into()).and_then(|first| first.checked_add(place.width.into()));
        end.filter(|end| *end <= head.edge.size() / below).ok_or(Error::NotFound)?;
        if level == 0 {
            self.has_leaves(node, place.index.saturating_mul(TILE_WIDTH.into()))?;
        }
        let number = self.log.number();
        let hashes =
            self.read(move |connection| tiles(connection, number, &head).tile(level, place.index, place.width)).await?;
        Ok(hashes.as_flattened().to_vec())
    }

    /// Entries as they stand in the log, as far as the last checkpoint covers them.
    pub async fn read_bundle(&self, call: &Call, node: &str, place: TilePlace) -> Result<Answered, Error> {
        let head = self.head_of(node)?;
        let first = place.index.checked_mul(TILE_WIDTH.into()).ok_or(Error::NotFound)?;
        let end = first.checked_add(place.width.into()).filter(|end| *end <= head.edge.size());
        let (number, end) = (self.log.number(), end.ok_or(Error::NotFound)?);
        self.is_kept(node, first)?;
        let bundle = self.read(move |connection| bundle(connection, number, first, end)).await?;
        let mut entry = self.entry(Act::LogRead, call);
        entry.reference = Some(format!("entries={node}/{first}-{end}"));
        self.answer_reading(entry, bundle).await
    }

    /// That the tree of `to` entries continues the tree of `from` entries.
    pub async fn prove_consistency(&self, node: &str, from: u64, to: u64) -> Result<Vec<u8>, Error> {
        let head = self.head_of(node)?;
        if to > head.edge.size() {
            return Err(Error::NotFound);
        }
        for size in [from, to].into_iter().filter(|size| size % u64::from(TILE_WIDTH) > 0) {
            self.has_leaves(node, size)?;
        }
        let number = self.log.number();
        let proof = self
            .read(move |connection| {
                let mut tiles = tiles(connection, number, &head);
                let proof = merkle::consistency(from, to, &mut tiles)?;
                let roots = (merkle::root_of(from, &mut tiles)?, merkle::root_of(to, &mut tiles)?);
                let holds = merkle::verify_consistency(from, to, &proof, &roots.0, &roots.1);
                if holds { Ok(proof) } else { Err(UNPROVEN) }
            })
            .await?;
        render(&Consistency { from, to, proof: proof.iter().map(|hash| BASE64.encode(hash)).collect() })
    }

    /// The receipt of a check of the caller's party.
    pub async fn read_receipt(&self, call: &Call, id: CheckId) -> Result<Answered, Error> {
        let (index, entry) = self.find_check(call, id).await?;
        let head = self.log.head();
        if index >= head.checkpoint.size {
            return Err(Error::Unavailable("No checkpoint covers the check yet."));
        }
        let number = self.log.number();
        let receipt = self.read(move |connection| receipt(connection, number, &head, index, &entry)).await?;
        let mut read = self.entry(Act::CheckRead, call);
        read.resource = Some(Resource::Check(id));
        self.answer_reading(read, receipt.to_string().into_bytes()).await
    }

    /// Whether the entry is in the database, or in an archive.
    pub(super) fn is_kept(&self, node: &str, index: u64) -> Result<(), Error> {
        match &self.archived {
            Some(archive) if node == self.node && index < archive.end() => Err(Error::Archived(archive.end())),
            _ => Ok(()),
        }
    }

    /// The first entry of a node's log that is not in an archive.
    pub(super) fn kept_from(&self, node: &str) -> LogPosition {
        let archive = self.archived.as_ref().filter(|_| node == self.node);
        LogPosition { node: node.to_owned().into(), index: archive.map_or(0, Archive::end) }
    }

    /// Whether the tile with the entry's leaf hash is in the database. Those around the end of the archives are.
    fn has_leaves(&self, node: &str, index: u64) -> Result<(), Error> {
        let is_kept = self.archived.as_ref().is_none_or(|archive| index >= tiles_begin(archive.end()));
        if is_kept { Ok(()) } else { self.is_kept(node, index) }
    }

    fn head_of(&self, node: &str) -> Result<Arc<Head>, Error> {
        if node == self.node { Ok(self.log.head()) } else { Err(Error::NotFound) }
    }
}

const UNPROVEN: StoreError = StoreError::Corrupt("a tree whose proof does not hold");

fn tiles<'a>(connection: &'a mut dyn Connection, log: LogNumber, head: &'a Head) -> StoredTiles<'a> {
    StoredTiles { connection, log, edge: &head.edge }
}

fn receipt(
    connection: &mut dyn Connection,
    log: LogNumber,
    head: &Head,
    index: u64,
    entry: &Entry,
) -> Result<Receipt, StoreError> {
    let mut bundle = Vec::new();
    let leaf = entry.encode(&mut bundle).map_err(|_| StoreError::Corrupt("an entry that cannot be written"))?;
    let extra = bundle.split_off(2);
    let (size, root) = (head.checkpoint.size, head.checkpoint.root);
    let proof = merkle::inclusion(index, size, &mut tiles(connection, log, head))?;
    if !merkle::verify_inclusion(&leaf, index, size, &proof, &root) {
        return Err(UNPROVEN);
    }
    Ok(Receipt { index, proof, extra, checkpoint: head.note.clone() })
}

/// The entries from `first` to before `end`, each after its 16-bit length.
fn bundle(connection: &mut dyn Connection, log: LogNumber, first: u64, end: u64) -> Result<Vec<u8>, StoreError> {
    let (mut next, mut bundle) = (first, Vec::new());
    while next < end {
        let from = store::log::batch_at(connection, log, next)?.map_or(next, |batch| batch.first_index);
        let before = next;
        store::log::stream(connection, log, from, log::BATCHES_READ_AT_ONCE, &mut |batch| {
            for (index, bytes) in (batch.first_index..).zip(entries_of(&batch.entries)) {
                let bytes = bytes.ok_or(StoreError::Corrupt("a torn batch"))?;
                if index == next && index < end {
                    let length = u16::try_from(bytes.len()).map_err(|_| StoreError::Corrupt("an entry too large"))?;
                    bundle.extend(length.to_be_bytes());
                    bundle.extend(bytes);
                    next += 1;
                }
            }
            Ok(())
        })?;
        if next == before {
            return Err(StoreError::Corrupt("a log with a gap"));
        }
    }
    Ok(bundle)
}
