//! What a search asks for. Every entry that is shown was looked at here, whatever an index said.

use super::super::view::EntryView;
use super::super::{Act, SKEW_MS_MAX, find};
use super::segment::{client_term, flag_term, operator_term, subject_term};
use crate::domain::party::{ClientId, PartyId};
use crate::domain::{FlagId, SubjectHash, Timestamp, Verdict};
use crate::store::log::LogNumber;
use crate::store::{self, Connection, StoreError};
use std::fmt;

/// All that is given must hold of an entry.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    pub subject: Option<SubjectHash>,
    /// A flag that answered for one of the entry's subjects.
    pub flag: Option<FlagId>,
    pub party: Option<PartyId>,
    pub client: Option<ClientId>,
    pub operator: Option<String>,
    pub act: Option<Act>,
    pub verdict: Option<Verdict>,
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
}

impl LogFilter {
    /// The checks that were answered with a flag. It answered nobody before it was.
    pub fn answered_with(flag: FlagId) -> Self {
        let from = Some(flag.minted_at().minus_ms(SKEW_MS_MAX));
        Self { flag: Some(flag), act: Some(Act::Check), from, ..Self::default() }
    }

    pub fn matches(&self, entry: &EntryView<'_>) -> bool {
        self.act.is_none_or(|act| act == entry.act)
            && self.verdict.is_none_or(|verdict| Some(verdict) == entry.verdict)
            && self.from.is_none_or(|from| entry.at >= from)
            && self.to.is_none_or(|to| entry.at < to)
            && self.party.as_ref().is_none_or(|party| party.as_str().as_bytes() == entry.party)
            && self.client.as_ref().is_none_or(|client| client.as_str().as_bytes() == entry.client)
            && self.operator.as_ref().is_none_or(|operator| Some(operator.as_bytes()) == entry.operator)
            && self.subject.is_none_or(|hash| entry.subjects().any(|subject| subject.hash == hash.as_bytes()))
            && self.flag.is_none_or(|flag| {
                entry.subjects().any(|subject| subject.flags().any(|id| id == flag.as_bytes().as_slice()))
            })
    }

    /// The term to look up, of several the one that occurs least.
    pub(super) fn term(&self) -> Option<u64> {
        let subject = self.subject.map(|hash| subject_term(hash.as_bytes()));
        let flag = || self.flag.map(|flag| flag_term(flag.as_bytes()));
        let operator = || self.operator.as_ref().map(|operator| operator_term(operator.as_bytes()));
        let client = || self.client.as_ref().map(|client| client_term(client.as_str().as_bytes()));
        subject.or_else(flag).or_else(operator).or_else(client)
    }

    /// The part of a log up to `end` in which entries of the time asked for can stand. Latest times never decrease from
    /// batch to batch, and an entry lies at most the skew before the latest time.
    pub(super) fn range(
        &self,
        connection: &mut dyn Connection,
        log: LogNumber,
        end: u64,
    ) -> Result<(u64, u64), StoreError> {
        let first = match self.from {
            None => 0,
            Some(from) => find::first_candidate(connection, log, from)?,
        };
        let Some(to) = self.to else { return Ok((first, end)) };
        let reaching = find::first_candidate(connection, log, to.plus_ms(SKEW_MS_MAX))?;
        let last = store::log::batch_at(connection, log, reaching)?;
        Ok((first, last.map_or(end, |batch| end.min(batch.first_index + batch.size))))
    }
}

/// As the entry of a search tells it: `act=check&party=970436`, never the subject.
impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut written = Pairs { f, separator: "" };
        written.put("from", self.from)?;
        written.put("to", self.to)?;
        written.put("act", self.act.map(Act::as_str))?;
        written.put("verdict", self.verdict.map(Verdict::as_str))?;
        written.put("party", self.party.as_ref())?;
        written.put("client", self.client.as_ref())?;
        written.put("operator", self.operator.as_ref())?;
        written.put("flag", self.flag)
    }
}

struct Pairs<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    separator: &'static str,
}

impl Pairs<'_, '_> {
    fn put(&mut self, name: &str, value: Option<impl fmt::Display>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        write!(self.f, "{}{name}={value}", self.separator)?;
        self.separator = "&";
        Ok(())
    }
}
