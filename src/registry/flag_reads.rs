//! Reading flags: as they are, as they were at a moment, lists, and the whole history. Every reading leaves an entry that
//! names the flags it showed.

use super::flag_search::Found;
use super::flag_view::{CorrectionView, FlagList, FlagView, History, HistoryItem};
use super::flags::{etag, invalid};
use super::objections::ToldObjection;
use super::{Answered, Call, Error, FlagSearch, Registry, render};
use crate::domain::{FlagConditions, FlagId, FlagState, Subject, Timestamp};
use crate::log::{Act, EntrySubject};
use crate::store::{self, Connection};

/// Objections that a history shows, the newest.
const OBJECTIONS_MAX: u32 = 200;

/// What a list of flags shows.
#[derive(Clone, Copy)]
pub struct FlagFilter {
    pub state: Option<FlagState>,
    /// Only flags before this place.
    pub before: Option<u64>,
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
        let conditions = FlagConditions { state: filter.state, ..FlagConditions::default() };
        let search = FlagSearch { conditions, unit: None, as_of: None, before: filter.before, limit: filter.limit };
        let told = search.told();
        let found = self.find_flags(call, search).await?;
        self.answer_list(Act::FlagList, call, &found, call.at, None, told).await
    }

    /// As a list, of flags of which all that is asked for holds, or held at a moment.
    pub async fn search_flags(&self, call: &Call, search: FlagSearch) -> Result<Answered, Error> {
        if let Some(as_of) = search.as_of {
            must_be_past(as_of, call, "/as_of")?;
        }
        let (at, subject) = (search.as_of.unwrap_or(call.at), search.conditions.subject.clone());
        let told = search.told();
        let found = self.find_flags(call, search).await?;
        self.answer_list(Act::FlagSearch, call, &found, at, subject, told).await
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

    async fn answer_list(
        &self,
        act: Act,
        call: &Call,
        found: &Found,
        at: Timestamp,
        subject: Option<Subject>,
        told: Option<String>,
    ) -> Result<Answered, Error> {
        let flags = &found.flags;
        let body = render(&FlagList {
            items: flags.iter().map(|flag| FlagView::new(flag, at)).collect(),
            next_cursor: found.next.map(|place| place.to_string()),
            list_version: found.list_version,
            up_to_date: found.is_up_to_date,
        })?;
        let mut entry = self.entry(act, call);
        let asked =
            subject.map(|subject| EntrySubject { hash: self.index.hash(&subject), verdict: None, flags: Vec::new() });
        entry.subjects = asked.into_iter().chain(flags.iter().map(|flag| self.entry_subject(flag))).collect();
        entry.reference = told;
        self.answer_reading(entry, body).await
    }
}

/// What will be listed is not known.
fn must_be_past(at: Timestamp, call: &Call, pointer: &str) -> Result<(), Error> {
    if at > call.at { Err(invalid(pointer, "is in the future")) } else { Ok(()) }
}
