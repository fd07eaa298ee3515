//! Flags: raise, approve, reject, lift, renew, amend, transfer. The moves themselves are the domain's; here they meet the
//! units, the store's versions, the log and the answer. Reading them stands in `flag_reads`.

use super::flag_view::FlagView;
use super::{Answered, Call, Error, IdempotencyKey, Registry, random_bytes, render};
use crate::domain::party::{AccessState, ClientId, PartyId, Role, Scope};
use crate::domain::{
    Actor, Change, Changes, Flag, FlagId, LiftCause, MoveError, Proposal, Replaces, Standing, Timestamp, Urgency,
    Violation,
};
use crate::log::{Act, Entry, EntrySubject, FlagVersion, Resource};
use crate::store;

const ONLY_THE_ROOT_DECIDES: &str = "The unit at the root of the owner's units decides.";
const ONLY_OWNERS_CHANGE: &str = "The owning unit and those above it may do this.";

/// Who is to own a flag.
pub struct Owner {
    pub unit: PartyId,
    pub officer: ClientId,
}

impl Registry {
    pub async fn raise_flag(&self, call: &Call, key: IdempotencyKey, proposal: Proposal) -> Result<Answered, Error> {
        if let Some(kept) = self.kept_answer(call, &key).await? {
            return Ok(kept);
        }
        self.must_fit(&proposal, &call.actor.party)?;
        let urgent_end = match proposal.urgency {
            Urgency::Urgent => Some(self.end_of_urgent(&proposal, call.at).await?),
            Urgency::Normal => None,
        };
        let id = FlagId::mint(call.at, random_bytes()?);
        let flag = Flag::propose(id, proposal, call.actor.clone(), call.at)?;
        let flag = match urgent_end {
            Some(end) => flag.ending_by(end),
            None => flag,
        };
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

    pub async fn lift_flag(
        &self,
        call: &Call,
        id: FlagId,
        version: u32,
        reason: String,
        cause: LiftCause,
    ) -> Result<Answered, Error> {
        self.move_flag(Act::FlagLift, call, id, version, |flag, by, now| flag.lift(by, reason, cause, now)).await
    }

    pub async fn renew_flag(
        &self,
        call: &Call,
        id: FlagId,
        version: u32,
        end: Option<Timestamp>,
        reason: String,
    ) -> Result<Answered, Error> {
        self.move_flag(Act::FlagRenew, call, id, version, |flag, by, now| flag.renew(&by, end, reason, now)).await
    }

    pub async fn amend_flag(
        &self,
        call: &Call,
        id: FlagId,
        version: u32,
        changes: Changes,
        reason: String,
    ) -> Result<Answered, Error> {
        self.must_be_known(&changes)?;
        let moved =
            self.move_flag(Act::FlagAmend, call, id, version, |flag, by, now| flag.amend(by, changes, reason, now));
        moved.await.map_err(in_changes)
    }

    /// To an officer of a unit below the same root.
    pub async fn transfer_flag(
        &self,
        call: &Call,
        id: FlagId,
        version: u32,
        to: Owner,
        reason: String,
    ) -> Result<Answered, Error> {
        let flag = self.seen_flag(call, id).await?;
        let [from_root, to_root] = [flag.unit(), &to.unit].map(|unit| self.access.chain(unit).root().clone());
        if !self.is_unit(&to.unit) || from_root != to_root {
            return Err(invalid("/unit", "expected a police unit below the same root"));
        }
        let officer = self.access.client(&to.officer).filter(|state| state.is_enabled());
        let may_own =
            officer.filter(|state| state.client.party == to.unit && state.scopes().contains(Scope::FlagWrite));
        if may_own.is_none() {
            return Err(invalid("/officer", "expected an officer of the unit who may write flags"));
        }
        self.move_flag(Act::FlagTransfer, call, id, version, |flag, by, now| {
            flag.transfer(&by, to.unit, to.officer, reason, now)
        })
        .await
    }

    async fn move_flag(
        &self,
        act: Act,
        call: &Call,
        id: FlagId,
        version: u32,
        step: impl FnOnce(&Flag, Actor, Timestamp) -> Result<Flag, MoveError>,
    ) -> Result<Answered, Error> {
        let flag = self.seen_flag(call, id).await?;
        if flag.version != version {
            return Err(Error::StaleVersion);
        }
        let (may, otherwise) = match (act, self.standing(call, &flag)) {
            (Act::FlagApprove | Act::FlagReject, standing) => (standing == Standing::Deciding, ONLY_THE_ROOT_DECIDES),
            (_, standing) => (matches!(standing, Standing::Owning | Standing::Deciding), ONLY_OWNERS_CHANGE),
        };
        if !may {
            return Err(self.forbid(call, otherwise).await);
        }
        let moved = match step(&flag, call.actor.clone(), call.at) {
            Err(MoveError::SameOfficer) => {
                return Err(self
                    .forbid(call, "Another officer than the one who raised or amended it must decide.")
                    .await);
            }
            moved => moved?,
        };
        let body = render(&FlagView::new(&moved, call.at))?;
        let entry = self.flag_entry(act, call, &moved);
        let etag = etag(moved.version);
        let change = self.flag_change(version, moved).await?;
        self.answer_changing(entry, change, body, etag).await
    }

    /// The change from one version to the next, and with it the record of who must be told that the flag was wrong.
    pub(super) async fn flag_change(&self, version: u32, moved: Flag) -> Result<Change, Error> {
        let corrections = if moved.must_be_corrected() { self.open_corrections(&moved).await? } else { Vec::new() };
        let change = Change::Flag { replaces: Replaces::Version(version), flag: Box::new(moved) };
        if corrections.is_empty() {
            return Ok(change);
        }
        let corrections = corrections.into_iter().map(Change::Correction);
        Ok(Change::Together(std::iter::once(change).chain(corrections).collect()))
    }

    /// Logs that the caller may not do this, which precedes the answer.
    pub(super) async fn forbid(&self, call: &Call, why: &'static str) -> Error {
        match self.refuse(call, "insufficient_scope").await {
            Ok(()) => Error::Forbidden(why),
            Err(error) => error,
        }
    }

    pub(super) fn standing(&self, call: &Call, flag: &Flag) -> Standing {
        self.standing_of(&call.actor.party, flag)
    }

    pub(super) fn standing_of(&self, unit: &PartyId, flag: &Flag) -> Standing {
        Standing::of(unit, flag, |unit| self.access.chain(unit))
    }

    /// A flag that the caller's unit knows of; to the others it does not exist.
    pub(super) async fn seen_flag(&self, call: &Call, id: FlagId) -> Result<Flag, Error> {
        let flag = self.find_flag(id).await?;
        match self.standing(call, &flag) {
            Standing::None => Err(Error::NotFound),
            Standing::Coordinating | Standing::Owning | Standing::Deciding => Ok(flag),
        }
    }

    pub(super) async fn find_flag(&self, id: FlagId) -> Result<Flag, Error> {
        self.read(move |connection| store::flags::find(connection, id)).await?.ok_or(Error::NotFound)
    }

    /// Whether an officer of this unit may name the units that the proposal names.
    pub(super) fn must_fit(&self, proposal: &Proposal, raiser: &PartyId) -> Result<(), Error> {
        if let Some(unit) = &proposal.unit
            && !(self.is_unit(unit) && self.access.chain(unit).lies_within(raiser))
        {
            return Err(invalid("/unit", "expected the own unit, or one below it"));
        }
        self.must_be_units(&proposal.coordinating, "/coordinating")
    }

    fn is_unit(&self, id: &PartyId) -> bool {
        let party = self.access.party(id);
        party.is_some_and(|party| party.role == Role::Police && party.state == AccessState::Enabled)
    }

    fn must_be_units(&self, units: &[PartyId], pointer: &str) -> Result<(), Error> {
        match units.iter().position(|unit| !self.is_unit(unit)) {
            Some(place) => Err(invalid(&format!("{pointer}/{place}"), "is no police unit")),
            None => Ok(()),
        }
    }

    pub(super) fn must_be_known(&self, changes: &Changes) -> Result<(), Error> {
        self.must_be_units(changes.coordinating.as_deref().unwrap_or_default(), "/changes/coordinating")
    }

    pub(super) fn flag_entry(&self, act: Act, call: &Call, flag: &Flag) -> Entry {
        let mut entry = self.entry(act, call);
        entry.resource = Some(Resource::Flag(flag.id));
        entry.verdict = Some(flag.verdict);
        entry.subjects = vec![self.entry_subject(flag)];
        entry
    }

    pub(super) fn entry_subject(&self, flag: &Flag) -> EntrySubject {
        EntrySubject {
            hash: self.index.hash(&flag.subject),
            verdict: Some(flag.verdict),
            flags: vec![FlagVersion { id: flag.id, version: flag.version }],
        }
    }
}

/// Faults of content are faults of what was to be changed.
pub(super) fn in_changes(error: Error) -> Error {
    let Error::Invalid(violations) = error else { return error };
    let under = |violation: Violation| {
        if violation.pointer.starts_with("/changes") { violation } else { violation.under("/changes") }
    };
    Error::Invalid(violations.into_iter().map(under).collect())
}

pub(super) fn invalid(pointer: &str, reason: &str) -> Error {
    Error::Invalid(vec![Violation { pointer: pointer.to_owned(), reason: reason.to_owned() }])
}

pub(super) fn etag(version: u32) -> String {
    format!("\"{version}\"")
}
