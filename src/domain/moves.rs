//! The moves of a flag's life. Each is a pure function from one version to the next: never active without approval or
//! urgency, never approved by its raiser, never answering after its end.

use super::Timestamp;
use super::amendment::{Changes, Pending};
use super::flag::{Actor, Flag, FlagMove, FlagState, LiftCause, Step};
use super::party::{ClientId, PartyId};
use super::proposal::{ProposalError, check_end, lifetime_ms};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    #[error("a flag that is {} cannot be {wanted}", from.as_str())]
    Illegal { from: FlagState, wanted: &'static str },
    #[error("the flag is approved already")]
    ApprovedAlready,
    #[error("an urgent flag must be approved before it is {wanted}")]
    NotApproved { wanted: &'static str },
    #[error("the expiry that was asked for has passed")]
    ExpiryPassed,
    #[error("a renewal must end later than the flag does now")]
    EndsEarlier,
    #[error("an amendment must be decided on before the flag gets an end that needs a decision as well")]
    AnotherWaits,
    #[error("the unit and the officer have the flag already")]
    OwnedAlready,
    #[error("what an upheld objection changes must not weigh heavier than before")]
    NotInFavour,
    #[error("another officer than those who raised, changed or amended the flag must decide on it")]
    SameOfficer,
    #[error("{0}")]
    Content(ProposalError),
}

impl From<ProposalError> for MoveError {
    fn from(error: ProposalError) -> Self {
        Self::Content(error)
    }
}

impl Flag {
    /// Puts the proposal, or what waits, in force.
    pub fn approve(&self, by: Actor, now: Timestamp) -> Result<Self, MoveError> {
        self.open_to_decision("approved", now)?;
        self.decided_by_another(&by)?;
        let is_proposal = self.approved_by.is_none();
        if is_proposal && self.expiry_wanted.is_some_and(|end| end <= now) {
            return Err(MoveError::ExpiryPassed);
        }
        let next = self.next(FlagMove::Approve, &by, None, now);
        let next = match &self.pending {
            Some(pending) => pending.put_in(&next, now)?,
            None => next,
        };
        let (default_ms, _) = lifetime_ms(next.verdict);
        let end = if is_proposal { next.expiry_wanted } else { next.expires_at };
        Ok(Self {
            state: FlagState::Active,
            since: self.since.or(Some(now)),
            expires_at: end.or(Some(now.plus_ms(default_ms))),
            approved_by: Some(by),
            approved_at: Some(now),
            drafted_by: Vec::new(),
            ..next
        })
    }

    /// Ends a proposal; of a flag in force it refuses what waits, and no more.
    pub fn reject(&self, by: Actor, reason: String, now: Timestamp) -> Result<Self, MoveError> {
        self.open_to_decision("rejected", now)?;
        self.decided_by_another(&by)?;
        if self.approved_by.is_some() {
            return Ok(Self { pending: None, ..self.next(FlagMove::Reject, &by, Some(reason), now) });
        }
        Ok(self.closed(FlagMove::Reject, FlagState::Rejected, by, reason, now))
    }

    /// Anybody who may write flags can lift one, its raiser too: an innocent holder should not wait for a second officer. That
    /// it was wrong may also be found after its end, and then those who were answered with it must still be told.
    pub fn lift(&self, by: Actor, reason: String, cause: LiftCause, now: Timestamp) -> Result<Self, MoveError> {
        if cause != LiftCause::Wrong || !self.has_ended_as_right(now) {
            self.in_force("lifted", now)?;
        }
        let closed = self.closed(FlagMove::Lift, FlagState::Lifted, by, reason, now);
        Ok(Self { closing_cause: Some(cause.into()), ..closed })
    }

    /// Whether a holder may say that it is wrong: it answers, or has answered and nobody has found that yet.
    pub fn may_be_objected_to(&self, now: Timestamp) -> bool {
        match self.state_at(now) {
            FlagState::Active => true,
            FlagState::Proposed | FlagState::Rejected | FlagState::Lifted | FlagState::Expired => {
                self.has_ended_as_right(now)
            }
        }
    }

    fn has_ended_as_right(&self, now: Timestamp) -> bool {
        match self.state_at(now) {
            // A proposal that was merged has answered nobody.
            FlagState::Lifted | FlagState::Expired => self.since.is_some() && !self.must_be_corrected(),
            FlagState::Proposed | FlagState::Active | FlagState::Rejected => false,
        }
    }

    /// A later end. One that lies beyond what the last approval could give waits for another officer, so that no flag lasts
    /// for ever on one decision. An urgent flag has no end to prolong before it is approved.
    pub fn renew(&self, by: &Actor, end: Option<Timestamp>, reason: String, now: Timestamp) -> Result<Self, MoveError> {
        self.in_force("renewed", now)?;
        let Some(approved_at) = self.approved_at else {
            return Err(MoveError::NotApproved { wanted: "renewed" });
        };
        let (default_ms, longest_ms) = lifetime_ms(self.verdict);
        let end = end.unwrap_or(now.plus_ms(default_ms));
        check_end(self.verdict, end, now)?;
        if self.expires_at.is_some_and(|current| end <= current) {
            return Err(MoveError::EndsEarlier);
        }
        let next = self.next(FlagMove::Renew, by, Some(reason.clone()), now);
        if end <= approved_at.plus_ms(longest_ms) {
            return Ok(Self { expires_at: Some(end), ..next });
        }
        if self.pending.is_some() {
            return Err(MoveError::AnotherWaits);
        }
        let (changes, by) = (Changes::default(), by.clone());
        Ok(Self { pending: Some(Box::new(Pending { changes, expires_at: Some(end), by, at: now, reason })), ..next })
    }

    /// Other content. What nobody has approved yet is simply changed, unless it answers and would weigh more. Of an approved
    /// flag a change that weighs more waits for another officer, and any other is made at once. The newest amendment takes
    /// the place of one that waits.
    pub fn amend(&self, by: Actor, changes: Changes, reason: String, now: Timestamp) -> Result<Self, MoveError> {
        let state = self.open_to_change("amended", now)?;
        let next = self.next(FlagMove::Amend, &by, Some(reason.clone()), now);
        let amended = next.with(&changes, now)?;
        if self.approved_by.is_none() {
            if state == FlagState::Active && amended.weighs_more_than(self) {
                return Err(MoveError::NotApproved { wanted: "amended like this" });
            }
            let mut drafted_by = self.drafted_by.clone();
            if by.client != self.raised_by.client && !drafted_by.contains(&by.client) {
                drafted_by.push(by.client);
            }
            return Ok(Self { drafted_by, ..amended });
        }
        if !amended.weighs_more_than(self) {
            return Ok(Self { pending: None, ..amended });
        }
        Ok(Self { pending: Some(Box::new(Pending { changes, expires_at: None, by, at: now, reason })), ..next })
    }

    /// An amendment that follows from an upheld objection: made at once, or not at all.
    pub fn relieve(&self, by: Actor, changes: Changes, reason: String, now: Timestamp) -> Result<Self, MoveError> {
        let amended = self.amend(by, changes, reason, now)?;
        if amended.pending.is_some() || amended.weighs_more_than(self) {
            return Err(MoveError::NotInFavour);
        }
        Ok(amended)
    }

    /// Another unit and officer answer for it from here on. A unit that owns it no longer coordinates, nor would it by what
    /// waits, which could else not be approved.
    pub fn transfer(
        &self,
        by: &Actor,
        unit: PartyId,
        officer: ClientId,
        reason: String,
        now: Timestamp,
    ) -> Result<Self, MoveError> {
        self.open_to_change("transferred", now)?;
        if *self.unit() == unit && *self.officer() == officer {
            return Err(MoveError::OwnedAlready);
        }
        let mut next = self.next(FlagMove::Transfer, by, Some(reason), now);
        let waiting = next.pending.iter_mut().filter_map(|pending| pending.changes.coordinating.as_mut());
        for units in waiting.chain([&mut next.coordinating]) {
            units.retain(|coordinating| *coordinating != unit);
        }
        Ok(Self { unit: Some(unit), officer: Some(officer), ..next })
    }

    /// A proposal waits for a decision, and so do an urgent flag that nobody has approved yet and an amendment.
    fn open_to_decision(&self, wanted: &'static str, now: Timestamp) -> Result<(), MoveError> {
        match self.state_at(now) {
            FlagState::Proposed => Ok(()),
            FlagState::Active if self.approved_by.is_none() || self.pending.is_some() => Ok(()),
            FlagState::Active if wanted == "approved" => Err(MoveError::ApprovedAlready),
            from @ (FlagState::Active | FlagState::Rejected | FlagState::Lifted | FlagState::Expired) => {
                Err(MoveError::Illegal { from, wanted })
            }
        }
    }

    fn open_to_change(&self, wanted: &'static str, now: Timestamp) -> Result<FlagState, MoveError> {
        match self.state_at(now) {
            state @ (FlagState::Proposed | FlagState::Active) => Ok(state),
            from @ (FlagState::Rejected | FlagState::Lifted | FlagState::Expired) => {
                Err(MoveError::Illegal { from, wanted })
            }
        }
    }

    fn in_force(&self, wanted: &'static str, now: Timestamp) -> Result<(), MoveError> {
        match self.state_at(now) {
            FlagState::Active => Ok(()),
            from @ (FlagState::Proposed | FlagState::Rejected | FlagState::Lifted | FlagState::Expired) => {
                Err(MoveError::Illegal { from, wanted })
            }
        }
    }

    fn decided_by_another(&self, by: &Actor) -> Result<(), MoveError> {
        let amended = self.pending.as_ref().is_some_and(|pending| pending.by.client == by.client);
        if amended || by.client == self.raised_by.client || self.drafted_by.contains(&by.client) {
            return Err(MoveError::SameOfficer);
        }
        Ok(())
    }

    pub(super) fn next(&self, what: FlagMove, by: &Actor, reason: Option<String>, at: Timestamp) -> Self {
        Self {
            version: self.version.saturating_add(1),
            unlinked: Vec::new(),
            step: Some(Step { what, by: by.clone(), at, reason }),
            ..self.clone()
        }
    }

    pub(super) fn closed(&self, what: FlagMove, state: FlagState, by: Actor, reason: String, now: Timestamp) -> Self {
        Self {
            state,
            pending: None,
            closed_by: Some(by.clone()),
            closed_at: Some(now),
            closing_reason: Some(reason.clone()),
            ..self.next(what, &by, Some(reason), now)
        }
    }
}
