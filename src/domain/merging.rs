//! Merging flags of one subject: one is kept, and the others end as merged into it. Nobody may be answered less because
//! of it, and nobody more: what is kept weighs as much, and lasts as long, as what ends.

use super::flag::{Actor, ClosingCause, Flag, FlagMove, FlagState};
use super::party::PartyId;
use super::proposal::LINKED_MAX;
use super::unit::COORDINATING_MAX;
use super::{FlagId, Subject, Timestamp};
use std::fmt;

/// Flags that one act merges into another.
pub const MERGED_AT_ONCE_MAX: usize = 16;
/// Flags that one flag has taken in, by whatever many acts.
const MERGED_MAX: usize = 64;

/// The next versions of all flags of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merging {
    pub kept: Flag,
    /// In the order in which they were named.
    pub ended: Vec<Flag>,
}

/// Which of the flags is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Kept,
    Merged(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept => f.write_str("/keep"),
            Self::Merged(place) => write!(f, "/merge/{place}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct MergeError {
    pub place: Place,
    pub fault: MergeFault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeFault {
    #[error("a flag that is {} cannot be merged", .0.as_str())]
    Over(FlagState),
    #[error("it is another subject's than the flag that is kept")]
    OtherSubject,
    #[error("an amendment of it waits; approve or reject it first")]
    Waiting,
    #[error("it is in force, and the flag that is kept is not; approve that one first")]
    KeptNotApproved,
    #[error("it weighs more than the flag that is kept; amend that one first, or keep this one")]
    WeighsMore,
    #[error("it lasts longer than the flag that is kept; renew that one first, or keep this one")]
    LastsLonger,
    #[error("it links to a subject that the flag that is kept would weigh more on; amend that one first")]
    NewLink,
    #[error("it would link to more subjects than a flag may")]
    TooManyLinks,
    #[error("more units would coordinate it than a flag may name")]
    TooManyUnits,
    #[error("it would have taken in more flags than a flag may")]
    TooManyMerged,
}

impl Flag {
    /// Keeps this flag and ends the others, which say the same of the same subject.
    pub fn merge(&self, others: &[Self], by: &Actor, reason: &str, now: Timestamp) -> Result<Merging, MergeError> {
        let kept_fault = |fault| MergeError { place: Place::Kept, fault };
        self.may_be_merged(now).map_err(kept_fault)?;
        let mut next = self.next(FlagMove::Merge, by, Some(reason.to_owned()), now);
        for (place, other) in others.iter().enumerate() {
            let fault = |fault| MergeError { place: Place::Merged(place), fault };
            self.may_take_in(other, now).map_err(fault)?;
            let new_links = other.linked.iter().filter(|linked| !self.linked.contains(linked));
            let new_links: Vec<&Subject> = new_links.collect();
            if !new_links.is_empty() && !self.may_link_as(other) {
                return Err(fault(MergeFault::NewLink));
            }
            next.take_in(other, &new_links);
        }
        if next.state == FlagState::Proposed {
            next.draft(others, by);
        }
        if next.linked.len() > LINKED_MAX {
            return Err(kept_fault(MergeFault::TooManyLinks));
        }
        if next.coordinating.len() > COORDINATING_MAX {
            return Err(kept_fault(MergeFault::TooManyUnits));
        }
        if next.merged.len() > MERGED_MAX {
            return Err(kept_fault(MergeFault::TooManyMerged));
        }
        let ended = others.iter().map(|other| other.merged_into(self.id, by, reason, now)).collect();
        Ok(Merging { kept: next, ended })
    }

    /// Whether this flag, which was kept, still says of a merged one's subjects what that one said.
    pub fn goes_on_for(&self, merged: &Self, now: Timestamp) -> bool {
        match self.state_at(now) {
            FlagState::Proposed | FlagState::Active => {
                self.verdict >= merged.verdict && merged.linked.iter().all(|linked| self.linked.contains(linked))
            }
            FlagState::Rejected | FlagState::Lifted | FlagState::Expired => false,
        }
    }

    fn may_be_merged(&self, now: Timestamp) -> Result<(), MergeFault> {
        match self.state_at(now) {
            FlagState::Proposed | FlagState::Active if self.pending.is_some() => Err(MergeFault::Waiting),
            FlagState::Proposed | FlagState::Active => Ok(()),
            over @ (FlagState::Rejected | FlagState::Lifted | FlagState::Expired) => Err(MergeFault::Over(over)),
        }
    }

    /// What is in force may end only where what is kept answers as much for as long. A proposal has answered nobody.
    fn may_take_in(&self, other: &Self, now: Timestamp) -> Result<(), MergeFault> {
        other.may_be_merged(now)?;
        if other.subject != self.subject {
            return Err(MergeFault::OtherSubject);
        }
        if other.state == FlagState::Proposed {
            return Ok(());
        }
        if !self.is_approved() {
            return Err(MergeFault::KeptNotApproved);
        }
        if other.verdict > self.verdict {
            return Err(MergeFault::WeighsMore);
        }
        if other.expires_at > self.expires_at { Err(MergeFault::LastsLonger) } else { Ok(()) }
    }

    /// Whether this flag may link to what the other one does without a decision: nothing is decided yet, or it was decided
    /// for the other one and weighs the same by this one.
    fn may_link_as(&self, other: &Self) -> bool {
        match self.state {
            FlagState::Proposed => true,
            FlagState::Active | FlagState::Rejected | FlagState::Lifted | FlagState::Expired => {
                other.is_approved() && other.verdict.by_link() == self.verdict.by_link()
            }
        }
    }

    fn is_approved(&self) -> bool {
        self.state == FlagState::Active && self.approved_by.is_some()
    }

    fn take_in(&mut self, other: &Self, new_links: &[&Subject]) {
        for linked in new_links {
            if !self.linked.contains(linked) {
                self.linked.push((*linked).clone());
            }
        }
        let units: Vec<PartyId> = std::iter::once(other.unit()).chain(&other.coordinating).cloned().collect();
        for unit in units {
            if unit != *self.unit() && !self.coordinating.contains(&unit) {
                self.coordinating.push(unit);
            }
        }
        self.merged.push(other.id);
        self.merged.extend(&other.merged);
    }

    /// Whoever wrote what the proposal now says does not decide on it.
    fn draft(&mut self, others: &[Self], by: &Actor) {
        let authors = others.iter().flat_map(|other| std::iter::once(&other.raised_by.client).chain(&other.drafted_by));
        for author in std::iter::once(&by.client).chain(authors) {
            if *author != self.raised_by.client && !self.drafted_by.contains(author) {
                self.drafted_by.push(author.clone());
            }
        }
    }

    fn merged_into(&self, kept: FlagId, by: &Actor, reason: &str, now: Timestamp) -> Self {
        let closed = self.closed(FlagMove::Merge, FlagState::Lifted, by.clone(), reason.to_owned(), now);
        Self { closing_cause: Some(ClosingCause::Merged), merged_into: Some(kept), ..closed }
    }
}
