//! Auditors read the log: pages, single entries, streams, and who looked. Reading it is an act of its own, whose entry is
//! durable before the first byte leaves. No answer holds a subject, only its hash.

use super::streams::{NoPlace, Pieces, StreamPlace};
use super::{Answered, Call, Error, Registry, render};
use crate::domain::party::PartyId;
use crate::domain::{FlagId, LogPosition, SubjectHash, Timestamp, Verdict};
use crate::log::{
    Act, CSV_HEADER, Covered, Entry, EntrySubject, Exported, Found, LogFilter, Piece, Reading, Resource, SKEW_MS_MAX,
};
use crate::store::{self, Store, StoreError};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Entries that one page looks at; a page for which that is not enough says where to go on.
const PAGE_LOOKED_MAX: u64 = 500_000;
/// One piece of a stream: a few hundred kilobytes.
const STREAM_PIECE: Piece = Piece { found_max: 256, looked_max: 16_384 };
/// One piece of a report over the whole log.
const REPORT_PIECE: Piece = Piece { found_max: 4096, looked_max: 65_536 };

/// What part of which log is asked for.
#[derive(Clone, Debug)]
pub struct LogPage {
    pub filter: LogFilter,
    /// The own node, if it is not named.
    pub node: Option<String>,
    /// The index of the last entry that was received.
    pub after: Option<u64>,
    pub limit: u32,
}

/// How a stream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogForm {
    NdJson,
    Csv,
}

/// What a page found, decoded.
struct Page {
    node: String,
    entries: Vec<(u64, Entry, Vec<u8>)>,
    next_cursor: Option<LogPosition>,
}

#[derive(Serialize)]
struct EntryList<'a> {
    items: Vec<Exported<'a>>,
    next_cursor: Option<&'a LogPosition>,
}

impl Registry {
    /// A page of entries, oldest first.
    pub async fn read_log(&self, call: &Call, asked: LogPage) -> Result<Answered, Error> {
        let entry = self.reading_entry(Act::LogRead, call, &asked);
        let page = self.find_page(asked).await?;
        let items = page.entries.iter().map(|(index, entry, bytes)| page.exported(*index, entry, bytes)).collect();
        let body = render(&EntryList { items, next_cursor: page.next_cursor.as_ref() })?;
        self.answer_reading(entry, body).await
    }

    /// One entry.
    pub async fn read_log_entry(&self, call: &Call, node: String, index: u64) -> Result<Answered, Error> {
        let after = index.checked_sub(1);
        let mut entry = self.entry(Act::LogRead, call);
        entry.reference = Some(format!("entry={node}/{index}"));
        self.is_kept(&node, index)?;
        let asked = LogPage { filter: LogFilter::default(), node: Some(node), after, limit: 1 };
        let page = self.find_page(asked).await?;
        let found = page.entries.first().filter(|(found, _, _)| *found == index);
        let (_, found, bytes) = found.ok_or(Error::NotFound)?;
        self.answer_reading(entry, render(&page.exported(index, found, bytes))?).await
    }

    /// Everything that stands before the entry of this reading, to be taken piece by piece.
    pub async fn stream_log(&self, call: &Call, asked: LogPage, form: LogForm) -> Result<LogStream, Error> {
        let place = self.streams.take(&call.actor.client).map_err(|no_place| match no_place {
            NoPlace::OfAll => Error::Unavailable("Too many streams of the log at once."),
            NoPlace::OfThisClient => Error::Unavailable("Too many streams of the log at once by this client."),
        })?;
        let node = self.node_of(&asked);
        // What is not there leaves no entry.
        let known = node.clone();
        self.read(move |connection| store::log::find(connection, &known)).await?.ok_or(Error::NotFound)?;
        let position = self.log_reading(&self.reading_entry(Act::LogRead, call, &asked)).await?;
        let end = (position.node == node).then_some(position.index);
        let (named, after) = (node.clone(), asked.after);
        let filter = asked.filter;
        let reading =
            self.read(move |connection| Reading::open(connection, &named, filter.clone(), after, end)).await?;
        Ok(LogStream {
            position,
            store: Arc::clone(&self.store),
            covered: self.search.covered(),
            reading: reading.ok_or(Error::NotFound)?,
            node,
            form,
            is_begun: false,
            _place: place,
        })
    }

    /// Each check of one subject: when, which party, who there, and what was answered.
    pub async fn report_subject(&self, call: &Call, subject: SubjectHash, asked: LogPage) -> Result<Answered, Error> {
        let filter = LogFilter { subject: Some(subject), ..asked.filter.clone() };
        let entry = self.reading_entry(Act::LogReport, call, &LogPage { filter: filter.clone(), ..asked.clone() });
        let page = self.find_page(LogPage { filter: LogFilter { act: Some(Act::Check), ..filter }, ..asked }).await?;
        let checks =
            page.entries.iter().map(|(index, entry, _)| CheckOfSubject::new(&page.node, *index, entry, subject));
        let body = render(&SubjectReport {
            subject_hash: subject,
            checked_from: self.kept_from(&page.node),
            items: checks.collect(),
            next_cursor: page.next_cursor.as_ref(),
        })?;
        self.answer_reading(entry, body).await
    }

    /// Every party that was answered with a flag, so that its lifting can be told to them.
    pub async fn report_flag(&self, call: &Call, flag: FlagId) -> Result<Answered, Error> {
        self.read(move |connection| store::flags::find(connection, flag)).await?.ok_or(Error::NotFound)?;
        // It answered nobody before it was.
        let from = flag.minted_at().minus_ms(SKEW_MS_MAX);
        let filter = LogFilter { flag: Some(flag), act: Some(Act::Check), from: Some(from), ..LogFilter::default() };
        let (parties, end) = self.parties_answered(filter).await?;
        let parties = parties.into_iter().map(|(party, told)| PartyOfFlag {
            name: self.access.party(&party).map(|party| party.name.clone()),
            party,
            checks: told.checks,
            first_at: told.first_at,
            last_at: told.last_at,
        });
        let checked_up_to = end.checked_sub(1).map(|index| LogPosition { node: self.node.into(), index });
        let checked_from = self.kept_from(self.node);
        let body = render(&FlagReport { flag, parties: parties.collect(), checked_from, checked_up_to })?;
        let mut entry = self.entry(Act::LogReport, call);
        entry.resource = Some(Resource::Flag(flag));
        self.answer_reading(entry, body).await
    }

    async fn parties_answered(&self, filter: LogFilter) -> Result<(BTreeMap<PartyId, Told>, u64), Error> {
        let (node, covered) = (self.node, self.search.covered());
        let opened = self.read(move |connection| Reading::open(connection, node, filter.clone(), None, None)).await?;
        let mut reading = opened.ok_or(Error::NotFound)?;
        let end = reading.end();
        let mut parties: BTreeMap<PartyId, Told> = BTreeMap::new();
        // In pieces, so that the work ends with the request, should nobody wait for it any more.
        while !reading.is_done() {
            let (store, covered) = (Arc::clone(&self.store), covered.clone());
            let work = move || read_piece(store.as_ref(), reading, &covered, REPORT_PIECE);
            let (read, found) = blocking(work).await??;
            reading = read;
            for found in found {
                let entry = Entry::decode(&found.bytes).ok_or(UNREADABLE)?;
                let told = parties.entry(entry.party.clone()).or_insert_with(|| Told::since(entry.at));
                told.checks += u64::from(entry.count);
                told.first_at = told.first_at.min(entry.at);
                told.last_at = told.last_at.max(entry.at);
            }
        }
        Ok((parties, end))
    }

    async fn find_page(&self, asked: LogPage) -> Result<Page, Error> {
        let (node, covered, store) = (self.node_of(&asked), self.search.covered(), Arc::clone(&self.store));
        let shown = usize::try_from(asked.limit).unwrap_or(usize::MAX);
        blocking(move || {
            let reading =
                store.find(|connection| Reading::open(connection, &node, asked.filter.clone(), asked.after, None))?;
            let reading = reading.ok_or(Error::NotFound)?;
            // One more than is shown tells whether there is more.
            let piece = Piece { found_max: shown.saturating_add(1), looked_max: PAGE_LOOKED_MAX };
            let (reading, mut found) = read_piece(store.as_ref(), reading, &covered, piece)?;
            let goes_on_after = if found.len() > shown {
                found.truncate(shown);
                found.last().map(|last| last.index)
            } else {
                reading.looked_at().filter(|_| !reading.is_done())
            };
            let next_cursor = goes_on_after.map(|index| LogPosition { node: node.clone().into(), index });
            let decoded = found.into_iter().map(|found| {
                let entry = Entry::decode(&found.bytes).ok_or(UNREADABLE)?;
                Ok((found.index, entry, found.bytes))
            });
            Ok(Page { entries: decoded.collect::<Result<_, StoreError>>()?, node, next_cursor })
        })
        .await?
    }

    fn node_of(&self, asked: &LogPage) -> String {
        asked.node.clone().unwrap_or_else(|| self.node.to_owned())
    }

    /// The entry of a reading tells what was asked for: the subject by its hash, without a verdict, since none is given;
    /// everything else in `reference`.
    fn reading_entry(&self, act: Act, call: &Call, asked: &LogPage) -> Entry {
        let mut entry = self.entry(act, call);
        let hash = asked.filter.subject.into_iter();
        entry.subjects = hash.map(|hash| EntrySubject { hash, verdict: None, flags: Vec::new() }).collect();
        let mut told = asked.filter.to_string();
        for (name, value) in [("node", asked.node.clone()), ("after", asked.after.map(|index| index.to_string()))] {
            if let Some(value) = value {
                let separator = if told.is_empty() { "" } else { "&" };
                told.push_str(&format!("{separator}{name}={value}"));
            }
        }
        entry.reference = Some(told).filter(|told| !told.is_empty());
        entry
    }
}

const UNREADABLE: StoreError = StoreError::Corrupt("an entry that cannot be read");

/// Waits for work on a thread where waiting harms nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Internal("a reader stopped".to_owned()))
}

fn read_piece(
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

impl Page {
    fn exported<'a>(&'a self, index: u64, entry: &'a Entry, bytes: &'a [u8]) -> Exported<'a> {
        Exported { node: &self.node, index, entry, bytes }
    }
}

/// A part of the log on its way to a client, in constant memory.
pub struct LogStream {
    /// Of the entry of this reading.
    pub position: LogPosition,
    store: Arc<dyn Store>,
    covered: Covered,
    reading: Reading,
    node: String,
    form: LogForm,
    is_begun: bool,
    _place: StreamPlace,
}

impl LogStream {
    pub fn form(&self) -> LogForm {
        self.form
    }

    fn write(&self, found: &Found, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let entry = Entry::decode(&found.bytes).ok_or(UNREADABLE)?;
        let exported = Exported { node: &self.node, index: found.index, entry: &entry, bytes: &found.bytes };
        match self.form {
            LogForm::Csv => {
                let mut row = String::with_capacity(1024);
                exported.write_csv(&mut row);
                out.extend(row.as_bytes());
            }
            LogForm::NdJson => {
                serde_json::to_writer(&mut *out, &exported)
                    .map_err(|_| StoreError::Corrupt("an entry that JSON cannot hold"))?;
                out.push(b'\n');
            }
        }
        Ok(())
    }
}

impl Pieces for LogStream {
    fn next_piece(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.is_begun, true) && self.form == LogForm::Csv {
            out.extend(CSV_HEADER.as_bytes());
        }
        while out.is_empty() && !self.reading.is_done() {
            let mut found = Vec::new();
            let (reading, covered) = (&mut self.reading, &self.covered);
            self.store.read(&mut |connection| {
                found = reading.read(connection, covered, STREAM_PIECE)?;
                Ok(())
            })?;
            for found in found {
                self.write(&found, &mut out)?;
            }
        }
        Ok(Some(out).filter(|out| !out.is_empty()))
    }
}

#[derive(Serialize)]
struct SubjectReport<'a> {
    subject_hash: SubjectHash,
    /// What stands before it is in archives, and no part of the report.
    checked_from: LogPosition,
    items: Vec<CheckOfSubject<'a>>,
    next_cursor: Option<&'a LogPosition>,
}

#[derive(Serialize)]
struct CheckOfSubject<'a> {
    check: Option<String>,
    at: Timestamp,
    party: &'a str,
    client: &'a str,
    operator: Option<&'a str>,
    reference: Option<&'a str>,
    /// Of the subject; the transaction's may be higher.
    verdict: Option<Verdict>,
    log_entry: String,
}

impl<'a> CheckOfSubject<'a> {
    fn new(node: &str, index: u64, entry: &'a Entry, subject: SubjectHash) -> Self {
        let answered = entry.subjects.iter().filter(|answered| answered.hash == subject);
        Self {
            check: entry.resource.as_ref().map(ToString::to_string),
            at: entry.at,
            party: entry.party.as_str(),
            client: entry.client.as_str(),
            operator: entry.operator.as_deref(),
            reference: entry.reference.as_deref(),
            verdict: answered.filter_map(|answered| answered.verdict).max(),
            log_entry: format!("{node}/{index}"),
        }
    }
}

#[derive(Serialize)]
struct FlagReport {
    flag: FlagId,
    parties: Vec<PartyOfFlag>,
    /// What stands before it is in archives, and no part of the report.
    checked_from: LogPosition,
    checked_up_to: Option<LogPosition>,
}

#[derive(Serialize)]
struct PartyOfFlag {
    party: PartyId,
    name: Option<String>,
    checks: u64,
    first_at: Timestamp,
    last_at: Timestamp,
}

struct Told {
    checks: u64,
    first_at: Timestamp,
    last_at: Timestamp,
}

impl Told {
    fn since(at: Timestamp) -> Self {
        Self { checks: 0, first_at: at, last_at: at }
    }
}
