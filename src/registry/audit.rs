//! Auditors read the logs of all nodes as one: pages and single entries. Reading is an act of its own, whose entry is
//! durable before the first byte leaves. No answer holds a subject, only its hash.

use super::nodes::is_kept;
use super::{Answered, Call, Error, Registry, render};
use crate::domain::{LogPosition, LogPositions};
use crate::log::{Act, Covered, Entry, EntrySubject, Exported, Found, FoundIn, LogFilter, Merged, Piece, Reading};
use crate::store::{Store, StoreError};
use serde::Serialize;
use std::sync::Arc;

/// Entries that one page looks at; a page for which that is not enough says where to go on.
const PAGE_LOOKED_MAX: u64 = 500_000;
/// One piece of a report over the whole log.
pub(super) const REPORT_PIECE: Piece = Piece { found_max: 4096, looked_max: 65_536 };

/// What part of which logs is asked for.
#[derive(Clone, Debug)]
pub struct LogPage {
    pub filter: LogFilter,
    /// The logs of all nodes, if none is named.
    pub node: Option<String>,
    /// The last entry of each log that was received.
    pub after: LogPositions,
    pub limit: u32,
}

/// What a page found, decoded.
pub(super) struct Page {
    pub(super) entries: Vec<Shown>,
    pub(super) next_cursor: Option<LogPositions>,
    /// Whose logs were read.
    pub(super) nodes: Vec<String>,
}

pub(super) struct Shown {
    pub(super) node: Arc<str>,
    pub(super) index: u64,
    pub(super) entry: Entry,
    bytes: Vec<u8>,
}

#[derive(Serialize)]
struct EntryList<'a> {
    items: Vec<Exported<'a>>,
    next_cursor: Option<&'a LogPositions>,
}

impl Registry {
    /// A page of entries, oldest first.
    pub async fn read_log(&self, call: &Call, asked: LogPage) -> Result<Answered, Error> {
        let page = self.find_page(asked.clone()).await?;
        let entry = self.reading_entry(Act::LogRead, call, &asked, &page.nodes);
        let items = page.entries.iter().map(Shown::exported).collect();
        let body = render(&EntryList { items, next_cursor: page.next_cursor.as_ref() })?;
        self.answer_reading(entry, body).await
    }

    /// One entry.
    pub async fn read_log_entry(&self, call: &Call, node: String, index: u64) -> Result<Answered, Error> {
        is_kept(self.archive_of(&node).await?.as_ref(), index)?;
        let mut entry = self.entry(Act::LogRead, call);
        entry.reference = Some(format!("entry={node}/{index}"));
        let before = index.checked_sub(1).map(|index| LogPosition { node: node.clone().into(), index });
        let after = LogPositions::new(before.into_iter().collect()).unwrap_or_default();
        let page = self.find_page(LogPage { filter: LogFilter::default(), node: Some(node), after, limit: 1 }).await?;
        let found = page.entries.first().filter(|shown| shown.index == index).ok_or(Error::NotFound)?;
        self.answer_reading(entry, render(&found.exported())?).await
    }

    pub(super) async fn find_page(&self, asked: LogPage) -> Result<Page, Error> {
        let mut merged = self.open_merged(&asked, None).await?;
        let nodes = merged.nodes().map(str::to_owned).collect();
        let (covered, store) = (self.search.covered(), Arc::clone(&self.store));
        let found_max = usize::try_from(asked.limit).unwrap_or(usize::MAX);
        blocking(move || {
            let mut found = Vec::new();
            store.read(&mut |connection| {
                found = merged.page(connection, &covered, Piece { found_max, looked_max: PAGE_LOOKED_MAX })?;
                Ok(())
            })?;
            let next_cursor = Some(&merged).filter(|merged| !merged.is_done()).map(Merged::positions);
            let entries = found.into_iter().map(Shown::decode).collect::<Result<_, StoreError>>()?;
            Ok(Page { entries, next_cursor, nodes })
        })
        .await?
    }

    /// The ends of all logs are read at once.
    pub(super) async fn open_merged(&self, asked: &LogPage, before: Option<LogPosition>) -> Result<Merged, Error> {
        let LogPage { filter, node, after, .. } = asked.clone();
        let opened = self
            .read(move |connection| Merged::open(connection, &filter, node.as_deref(), &after, before.as_ref()))
            .await?;
        opened.ok_or(Error::NotFound)
    }

    /// The entry of a reading tells what was asked for: the subject by its hash, without a verdict, since none is given;
    /// everything else in `reference`.
    pub(super) fn reading_entry(&self, act: Act, call: &Call, asked: &LogPage, nodes: &[String]) -> Entry {
        let mut entry = self.entry(act, call);
        let hash = asked.filter.subject.into_iter();
        entry.subjects = hash.map(|hash| EntrySubject { hash, verdict: None, flags: Vec::new() }).collect();
        // Of one log its name and the index; of several the place in each.
        let (node, after) = match nodes {
            [only] => {
                let index = asked.after.of(only);
                let node = Some(only.clone()).filter(|_| index.is_some() || asked.node.is_some());
                (node, index.map(|index| index.to_string()))
            }
            _ => (asked.node.clone(), Some(asked.after.to_string()).filter(|after| !after.is_empty())),
        };
        let mut told = asked.filter.to_string();
        for (name, value) in [("node", node), ("after", after)] {
            if let Some(value) = value {
                let separator = if told.is_empty() { "" } else { "&" };
                told.push_str(&format!("{separator}{name}={value}"));
            }
        }
        entry.reference = Some(told).filter(|told| !told.is_empty());
        entry
    }
}

pub(super) const UNREADABLE: StoreError = StoreError::Corrupt("an entry that cannot be read");

/// Waits for work on a thread where waiting harms nobody.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Internal("a reader stopped".to_owned()))
}

pub(super) fn read_piece(
    store: &dyn Store,
    mut reading: Reading,
    covered: &Covered,
    piece: Piece,
) -> Result<(Reading, Vec<Found>), StoreError> {
    let mut found = Vec::new();
    store.read(&mut |connection| {
        found = reading.read(connection, covered, piece)?;
        Ok(())
    })?;
    Ok((reading, found))
}

impl Shown {
    fn decode(found: FoundIn) -> Result<Self, StoreError> {
        let FoundIn { node, found } = found;
        let entry = Entry::decode(&found.bytes).ok_or(UNREADABLE)?;
        Ok(Self { node, index: found.index, entry, bytes: found.bytes })
    }

    fn exported(&self) -> Exported<'_> {
        Exported { node: &self.node, index: self.index, entry: &self.entry, bytes: &self.bytes }
    }
}
