//! Flags: raise, approve, reject, lift, read, list. The moves themselves are the domain's; here they meet the store's
//! versions, the log and the answer.

use super::{Answered, Call, Error, IdempotencyKey, Registry, random_bytes, render};
use crate::domain::{
    Actor, Category, Change, Flag, FlagId, FlagState, LegalBasis, MoveError, Proposal, Replaces, Source, Subject,
    Timestamp, Urgency, Verdict,
};
use crate::log::{Act, Entry, EntrySubject, FlagVersion, Resource};
use crate::store;
use serde::Serialize;

/// What a list of flags shows.
#[derive(Clone, Copy, Debug)]
pub struct FlagFilter {
    pub state: Option<FlagState>,
    pub before: Option<FlagId>,
    pub limit: u32,
}

impl Registry {
    pub async fn raise_flag(&self, call: &Call, key: IdempotencyKey, proposal: Proposal) -> Result<Answered, Error> {
        if let Some(kept) = self.kept_answer(call, &key).await? {
            return Ok(kept);
        }
        let id = FlagId::mint(call.at, random_bytes()?);
        let flag = Flag::propose(id, proposal, call.actor.clone(), call.at)?;
        let body = render(&FlagView::new(&flag, call.at))?;
        let entry = self.flag_entry(Act::FlagRaise, call, &flag);
        let location = format!("/v1/flags/{id}");
        let etag = etag(flag.version);
        let change = Change::Flag { replaces: Replaces::Nothing, flag: Box::new(flag) };
        self.create(call, key, entry, change, body, etag, location).await
    }

    pub async fn approve_flag(&self, call: &Call, id: FlagId, version: u32) -> Result<Answered, Error> {
        self.move_flag(Act::FlagApprove, call, id, version, |flag, by, now| flag.approve(by, now)).await
    }

    pub async fn reject_flag(&self, call: &Call, id: FlagId, version: u32, reason: String) -> Result<Answered, Error> {
        self.move_flag(Act::FlagReject, call, id, version, |flag, by, now| flag.reject(by, reason, now)).await
    }

    pub async fn lift_flag(&self, call: &Call, id: FlagId, version: u32, reason: String) -> Result<Answered, Error> {
        self.move_flag(Act::FlagLift, call, id, version, |flag, by, now| flag.lift(by, reason, now)).await
    }

    async fn move_flag(
        &self,
        act: Act,
        call: &Call,
        id: FlagId,
        version: u32,
        step: impl FnOnce(&Flag, Actor, Timestamp) -> Result<Flag, MoveError>,
    ) -> Result<Answered, Error> {
        let flag = self.find_flag(id).await?;
        if flag.version != version {
            return Err(Error::StaleVersion);
        }
        let moved = match step(&flag, call.actor.clone(), call.at) {
            Ok(moved) => moved,
            Err(error @ MoveError::SameOfficer) => {
                self.refuse(call, "insufficient_scope").await?;
                return Err(error.into());
            }
            Err(error @ (MoveError::Illegal { .. } | MoveError::ApprovedAlready | MoveError::ExpiryPassed)) => {
                return Err(error.into());
            }
        };
        let body = render(&FlagView::new(&moved, call.at))?;
        let entry = self.flag_entry(act, call, &moved);
        let etag = etag(moved.version);
        let change = Change::Flag { replaces: Replaces::Version(version), flag: Box::new(moved) };
        self.answer_changing(entry, change, body, etag).await
    }

    pub async fn read_flag(&self, call: &Call, id: FlagId) -> Result<Answered, Error> {
        let flag = self.find_flag(id).await?;
        let body = render(&FlagView::new(&flag, call.at))?;
        let entry = self.flag_entry(Act::FlagRead, call, &flag);
        let answered = self.answer_reading(entry, body).await?;
        Ok(Answered { etag: Some(etag(flag.version)), ..answered })
    }

    /// A page of flags, newest first; the entry names every flag that the page shows.
    pub async fn list_flags(&self, call: &Call, filter: FlagFilter) -> Result<Answered, Error> {
        let page = store::flags::FlagPage {
            state: filter.state,
            before: filter.before,
            now: call.at,
            rows_max: filter.limit + 1,
        };
        let mut flags = self.read(move |connection| store::flags::list(connection, &page)).await?;
        let shown = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let more = flags.len() > shown;
        flags.truncate(shown);
        let body = render(&FlagList {
            items: flags.iter().map(|flag| FlagView::new(flag, call.at)).collect(),
            next_cursor: flags.last().filter(|_| more).map(|flag| flag.id.to_string()),
        })?;
        let mut entry = self.entry(Act::FlagList, call);
        entry.subjects = flags.iter().map(|flag| self.entry_subject(flag)).collect();
        self.answer_reading(entry, body).await
    }

    async fn find_flag(&self, id: FlagId) -> Result<Flag, Error> {
        self.read(move |connection| store::flags::find(connection, id)).await?.ok_or(Error::NotFound)
    }

    fn flag_entry(&self, act: Act, call: &Call, flag: &Flag) -> Entry {
        let mut entry = self.entry(act, call);
        entry.resource = Some(Resource::Flag(flag.id));
        entry.verdict = Some(flag.verdict);
        entry.subjects = vec![self.entry_subject(flag)];
        entry
    }

    fn entry_subject(&self, flag: &Flag) -> EntrySubject {
        EntrySubject {
            hash: self.index.hash(&flag.subject),
            verdict: Some(flag.verdict),
            flags: vec![FlagVersion { id: flag.id, version: flag.version }],
        }
    }
}

pub(super) fn etag(version: u32) -> String {
    format!("\"{version}\"")
}

#[derive(Serialize)]
struct FlagList<'a> {
    items: Vec<FlagView<'a>>,
    next_cursor: Option<String>,
}

/// A flag as officers see it.
#[derive(Serialize)]
pub(super) struct FlagView<'a> {
    id: FlagId,
    subject: &'a Subject,
    verdict: Verdict,
    category: Category,
    case: &'a str,
    reason: &'a str,
    legal_basis: Option<&'a LegalBasis>,
    source: &'a Source,
    linked: &'a [Subject],
    urgent: bool,
    state: FlagState,
    version: u32,
    raised_by: &'a Actor,
    raised_at: Timestamp,
    approved_by: Option<&'a Actor>,
    approved_at: Option<Timestamp>,
    since: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    closed_by: Option<&'a Actor>,
    closed_at: Option<Timestamp>,
    closing_reason: Option<&'a str>,
}

impl<'a> FlagView<'a> {
    pub(super) fn new(flag: &'a Flag, now: Timestamp) -> Self {
        Self {
            id: flag.id,
            subject: &flag.subject,
            verdict: flag.verdict,
            category: flag.category,
            case: &flag.case,
            reason: &flag.reason,
            legal_basis: flag.legal_basis.as_ref(),
            source: &flag.source,
            linked: &flag.linked,
            urgent: flag.urgency == Urgency::Urgent,
            state: flag.state_at(now),
            version: flag.version,
            raised_by: &flag.raised_by,
            raised_at: flag.raised_at,
            approved_by: flag.approved_by.as_ref(),
            approved_at: flag.approved_at,
            since: flag.since,
            expires_at: flag.expires_at,
            closed_by: flag.closed_by.as_ref(),
            closed_at: flag.closed_at,
            closing_reason: flag.closing_reason.as_deref(),
        }
    }
}
