//! Reading flags: as they are, as they were at a moment, lists, and the whole history. Every reading leaves an entry that
//! names the flags it showed.

use super::flag_view::{CorrectionView, FlagList, FlagView, History, HistoryItem};
use super::flags::{etag, invalid};
use super::objections::ToldObjection;
use super::{Answered, Call, Error, Registry, render};
use crate::domain::party::PartyId;
use crate::domain::{Flag, FlagId, FlagState, Subject, Timestamp};
use crate::log::{Act, EntrySubject};
use crate::store::listing::FlagPage;
use crate::store::{self, Connection, StoreError};

/// Flags that one page of a search looks at; a page for which that is not enough says where to go on.
const LOOKED_MAX: usize = 5_000;
const LOOKED_AT_ONCE: u32 = 200;
/// Objections that a history shows, the newest.
const OBJECTIONS_MAX: u32 = 200;

/// What a list of flags shows.
#[derive(Clone, Copy, Debug)]
pub struct FlagFilter {
    pub state: Option<FlagState>,
    pub before: Option<FlagId>,
    pub limit: u32,
}

/// What a search of flags looks for.
#[derive(Clone, Debug)]
pub struct FlagSearch {
    /// Named by the flag, as its own subject or by link.
    pub subject: Option<Subject>,
    pub state: Option<FlagState>,
    /// Flags as they were at this moment.
    pub as_of: Option<Timestamp>,
    pub before: Option<FlagId>,
    pub limit: u32,
}

impl Registry {
    /// A flag as it is, or as it was at a moment.
    pub async fn read_flag(&self, call: &Call, id: FlagId, at: Option<Timestamp>) -> Result<Answered, Error> {
        let mut flag = self.seen_flag(call, id).await?;
        if let Some(at) = at {
            must_be_past(at, call, "/at")?;
            let found = self.read(move |connection| store::history::version_at(connection, id, at)).await?;
            flag = found.ok_or(Error::NotFound)?;
        }
        let body = render(&FlagView::new(&flag, at.unwrap_or(call.at)))?;
        let mut entry = self.flag_entry(Act::FlagRead, call, &flag);
        entry.reference = at.map(|at| format!("at={at}"));
        let answered = self.answer_reading(entry, body).await?;
        Ok(Answered { etag: Some(etag(flag.version)), ..answered })
    }

    /// A page of the flags that the caller's unit sees, newest first.
    pub async fn list_flags(&self, call: &Call, filter: FlagFilter) -> Result<Answered, Error> {
        let search =
            FlagSearch { subject: None, state: filter.state, as_of: None, before: filter.before, limit: filter.limit };
        let (flags, next_cursor) = self.find_flags(call, search).await?;
        self.answer_list(Act::FlagList, call, &flags, next_cursor, call.at, None).await
    }

    /// As a list, of flags that name a subject, or as they were at a moment.
    pub async fn search_flags(&self, call: &Call, search: FlagSearch) -> Result<Answered, Error> {
        if let Some(as_of) = search.as_of {
            must_be_past(as_of, call, "/as_of")?;
        }
        let (at, subject) = (search.as_of.unwrap_or(call.at), search.subject.clone());
        let (flags, next_cursor) = self.find_flags(call, search).await?;
        self.answer_list(Act::FlagSearch, call, &flags, next_cursor, at, subject).await
    }

    /// Every version with who made it, when, why and the entry that tells of it; then what was objected and who must be told.
    pub async fn read_flag_history(
        &self,
        call: &Call,
        id: FlagId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Answered, Error> {
        let flag = self.seen_flag(call, id).await?;
        let after = after.unwrap_or(0);
        let read = move |connection: &mut dyn Connection| {
            let versions = store::history::versions(connection, id, after, limit.saturating_add(1))?;
            let objections = store::objections::of_flag(connection, id, OBJECTIONS_MAX)?;
            Ok((versions, objections, store::corrections::find(connection, id)?))
        };
        let (mut versions, objections, correction) = self.read(read).await?;
        let shown = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = versions.len() > shown;
        versions.truncate(shown);
        let body = render(&History {
            id,
            items: versions.iter().map(HistoryItem::new).collect(),
            next_cursor: versions.last().filter(|_| more).map(|version| version.flag.version),
            objections: objections.iter().map(|told| ToldObjection::new(told, call.at)).collect(),
            correction: correction.as_ref().map(CorrectionView::new),
        })?;
        let mut entry = self.flag_entry(Act::FlagRead, call, &flag);
        entry.reference = Some("history".to_owned());
        self.answer_reading(entry, body).await
    }

    async fn find_flags(&self, call: &Call, search: FlagSearch) -> Result<(Vec<Flag>, Option<FlagId>), Error> {
        let (units, now) = (self.access.units_below(&call.actor.party), call.at);
        self.read(move |connection| find_flags(connection, &search, &units, now)).await
    }

    async fn answer_list(
        &self,
        act: Act,
        call: &Call,
        flags: &[Flag],
        next_cursor: Option<FlagId>,
        at: Timestamp,
        subject: Option<Subject>,
    ) -> Result<Answered, Error> {
        let body = render(&FlagList {
            items: flags.iter().map(|flag| FlagView::new(flag, at)).collect(),
            next_cursor: next_cursor.map(|id| id.to_string()),
        })?;
        let mut entry = self.entry(act, call);
        let asked =
            subject.map(|subject| EntrySubject { hash: self.index.hash(&subject), verdict: None, flags: Vec::new() });
        entry.subjects = asked.into_iter().chain(flags.iter().map(|flag| self.entry_subject(flag))).collect();
        entry.reference = (at != call.at).then(|| format!("as_of={at}"));
        self.answer_reading(entry, body).await
    }
}

/// What will be listed is not known.
fn must_be_past(at: Timestamp, call: &Call, pointer: &str) -> Result<(), Error> {
    if at > call.at { Err(invalid(pointer, "is in the future")) } else { Ok(()) }
}

/// A page of flags, and after which flag the next one begins.
fn find_flags(
    connection: &mut dyn Connection,
    search: &FlagSearch,
    units: &[PartyId],
    now: Timestamp,
) -> Result<(Vec<Flag>, Option<FlagId>), StoreError> {
    let limit = usize::try_from(search.limit).unwrap_or(usize::MAX);
    let mut candidates = Candidates::new(search, units, now);
    let (mut found, mut looked) = (Vec::<Flag>::new(), 0);
    while let Some(id) = candidates.next(connection)? {
        if found.len() == limit {
            return Ok((found, candidates.last));
        }
        candidates.last = Some(id);
        looked += 1;
        if let Some(flag) = as_wanted(connection, id, search, units, now)? {
            found.push(flag);
        }
        if looked == LOOKED_MAX {
            return Ok((found, Some(id)));
        }
    }
    Ok((found, None))
}

/// The flag at the moment that is asked for, if it is one of those asked for and seen.
fn as_wanted(
    connection: &mut dyn Connection,
    id: FlagId,
    search: &FlagSearch,
    units: &[PartyId],
    now: Timestamp,
) -> Result<Option<Flag>, StoreError> {
    let newest = store::flags::find(connection, id)?.ok_or(StoreError::Corrupt("a flag without its version"))?;
    if !(units.contains(newest.unit()) || newest.coordinating.iter().any(|unit| units.contains(unit))) {
        return Ok(None);
    }
    let flag = match search.as_of {
        Some(as_of) => store::history::version_at(connection, id, as_of)?,
        None => Some(newest),
    };
    let at = search.as_of.unwrap_or(now);
    let is_wanted = |flag: &Flag| {
        search.state.is_none_or(|state| flag.state_at(at) == state)
            && search.subject.as_ref().is_none_or(|subject| flag.names(subject))
    };
    Ok(flag.filter(is_wanted))
}

/// The ids that may be on a page, the newest first.
struct Candidates<'a> {
    search: &'a FlagSearch,
    units: &'a [PartyId],
    now: Timestamp,
    /// Read ahead, the next one last.
    ahead: Vec<FlagId>,
    /// Before which to read on; `None`: nothing is left.
    before: Option<Option<FlagId>>,
    /// The last one that was looked at.
    last: Option<FlagId>,
}

impl<'a> Candidates<'a> {
    fn new(search: &'a FlagSearch, units: &'a [PartyId], now: Timestamp) -> Self {
        Self { search, units, now, ahead: Vec::new(), before: Some(search.before), last: None }
    }

    fn next(&mut self, connection: &mut dyn Connection) -> Result<Option<FlagId>, StoreError> {
        if self.ahead.is_empty()
            && let Some(before) = self.before.take()
        {
            self.ahead = match &self.search.subject {
                Some(subject) => store::listing::of_subject(connection, subject)?,
                None => self.page(connection, before)?,
            };
            let before = before.map_or([0xff; 16], |id| *id.as_bytes());
            self.ahead.retain(|id| *id.as_bytes() < before);
            self.ahead.reverse();
        }
        Ok(self.ahead.pop())
    }

    fn page(&mut self, connection: &mut dyn Connection, before: Option<FlagId>) -> Result<Vec<FlagId>, StoreError> {
        // One more than is shown tells whether there is more.
        let rows_max = self.search.limit.saturating_add(1).max(LOOKED_AT_ONCE);
        let page = FlagPage {
            units: self.units.to_vec(),
            // The state of now says nothing of another moment.
            state: self.search.state.filter(|_| self.search.as_of.is_none()),
            before,
            now: self.now,
            rows_max,
        };
        let ids = store::listing::ids(connection, &page)?;
        let is_full = ids.len() == usize::try_from(rows_max).unwrap_or(usize::MAX);
        self.before = ids.last().filter(|_| is_full).map(|last| Some(*last));
        Ok(ids)
    }
}
