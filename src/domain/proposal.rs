//! What an officer proposes, and the rules that hold of every flag however it came to be: how long it may last, what a block
//! needs, what it may be linked to.

use super::flag::{LegalBasis, Source, Urgency};
use super::party::PartyId;
use super::{Category, Subject, Timestamp, Verdict};
use std::collections::HashSet;

const DAY_MS: u64 = 86_400_000;
/// Subjects that a flag may name beside its own.
pub const LINKED_MAX: usize = 16;

/// What an officer proposes, already in normal form.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub subject: Subject,
    pub verdict: Verdict,
    pub category: Category,
    pub case: String,
    pub reason: String,
    pub legal_basis: Option<LegalBasis>,
    pub expires_at: Option<Timestamp>,
    pub urgency: Urgency,
    pub linked: Vec<Subject>,
    pub source: Source,
    /// The owner; the proposer's own unit, if it is not named.
    pub unit: Option<PartyId>,
    pub coordinating: Vec<PartyId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    #[error("a flag's verdict is warn, hold or block")]
    ClearVerdict,
    #[error("a block needs a legal basis")]
    NoLegalBasis,
    #[error("only a warn or a hold may be urgent")]
    UrgentBlock,
    #[error("the expiry is not in the future")]
    ExpiryPast,
    #[error("the expiry is later than the verdict allows")]
    ExpiryTooLate,
    #[error("a flag cannot be linked to its own subject, nor twice to another")]
    LinkedTwice,
    #[error("names a unit twice, or the one that owns the flag")]
    CoordinatingTwice,
    #[error("changes nothing")]
    NothingChanged,
}

impl ProposalError {
    /// The field at fault, as a JSON Pointer.
    pub fn pointer(self) -> &'static str {
        match self {
            Self::ClearVerdict => "/verdict",
            Self::NoLegalBasis => "/legal_basis",
            Self::UrgentBlock => "/urgent",
            Self::ExpiryPast | Self::ExpiryTooLate => "/expires_at",
            Self::LinkedTwice => "/linked",
            Self::CoordinatingTwice => "/coordinating",
            Self::NothingChanged => "",
        }
    }
}

/// How long a flag of this verdict lasts if nothing is asked for, and at most.
pub(super) fn lifetime_ms(verdict: Verdict) -> (u64, u64) {
    match verdict {
        Verdict::Clear | Verdict::Warn => (180 * DAY_MS, 365 * DAY_MS),
        Verdict::Hold => (30 * DAY_MS, 90 * DAY_MS),
        Verdict::Block => (365 * DAY_MS, 3 * 365 * DAY_MS),
    }
}

/// An end that may be asked for now.
pub(super) fn check_end(verdict: Verdict, end: Timestamp, now: Timestamp) -> Result<(), ProposalError> {
    let (_, longest_ms) = lifetime_ms(verdict);
    if end <= now {
        return Err(ProposalError::ExpiryPast);
    }
    if end > now.plus_ms(longest_ms) { Err(ProposalError::ExpiryTooLate) } else { Ok(()) }
}

/// What holds of a flag's content at any time.
pub(super) fn check_content(
    verdict: Verdict,
    legal_basis: Option<&LegalBasis>,
    subject: &Subject,
    linked: &[Subject],
    unit: Option<&PartyId>,
    coordinating: &[PartyId],
) -> Result<(), ProposalError> {
    if verdict == Verdict::Clear {
        return Err(ProposalError::ClearVerdict);
    }
    if verdict == Verdict::Block && legal_basis.is_none() {
        return Err(ProposalError::NoLegalBasis);
    }
    let mut named = HashSet::from([subject]);
    if !linked.iter().all(|linked| named.insert(linked)) {
        return Err(ProposalError::LinkedTwice);
    }
    let mut units: HashSet<&PartyId> = unit.into_iter().collect();
    if coordinating.iter().all(|unit| units.insert(unit)) { Ok(()) } else { Err(ProposalError::CoordinatingTwice) }
}

impl Proposal {
    pub(super) fn check(&self, owner: &PartyId, now: Timestamp) -> Result<(), ProposalError> {
        if self.verdict == Verdict::Block && self.urgency == Urgency::Urgent {
            return Err(ProposalError::UrgentBlock);
        }
        let basis = self.legal_basis.as_ref();
        let unit = Some(self.unit.as_ref().unwrap_or(owner));
        check_content(self.verdict, basis, &self.subject, &self.linked, unit, &self.coordinating)?;
        self.expires_at.map_or(Ok(()), |end| check_end(self.verdict, end, now))
    }
}
