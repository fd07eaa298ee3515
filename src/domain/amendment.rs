//! Amending a flag: what is changed, what of it weighs heavier than what was approved and so waits for another officer, and
//! the version that comes out. A change in the holder's favour never waits.

use super::flag::{Actor, Flag, LegalBasis};
use super::party::PartyId;
use super::proposal::{ProposalError, check_content, lifetime_ms};
use super::{Category, Subject, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

/// What an amendment puts in place of what is there; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_basis: Option<LegalBasis>,
    #[serde(default, with = "super::as_canonical::optional_each", skip_serializing_if = "Option::is_none")]
    pub linked: Option<Vec<Subject>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinating: Option<Vec<PartyId>>,
}

/// An amendment that is not in force before another officer approves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    pub changes: Changes,
    pub by: Actor,
    pub at: Timestamp,
    pub reason: String,
}

impl Flag {
    /// The flag with other content, otherwise as it is. Its end is moved to where the new verdict's longest time ends, if it
    /// lies behind that.
    pub(super) fn with(&self, changes: &Changes, now: Timestamp) -> Result<Self, ProposalError> {
        let changes = changes.clone();
        let verdict = changes.verdict.unwrap_or(self.verdict);
        let (_, longest_ms) = lifetime_ms(verdict);
        let last_end = now.plus_ms(longest_ms);
        let linked = changes.linked.unwrap_or_else(|| self.linked.clone());
        let unlinked = self.linked.iter().filter(|old| !linked.contains(old)).cloned().collect();
        let new = Self {
            verdict,
            category: changes.category.unwrap_or(self.category),
            case: changes.case.unwrap_or_else(|| self.case.clone()),
            reason: changes.reason.unwrap_or_else(|| self.reason.clone()),
            legal_basis: changes.legal_basis.or_else(|| self.legal_basis.clone()),
            linked,
            unlinked,
            coordinating: changes.coordinating.unwrap_or_else(|| self.coordinating.clone()),
            expiry_wanted: self.expiry_wanted.map(|end| end.min(last_end)),
            expires_at: self.expires_at.map(|end| end.min(last_end)),
            ..self.clone()
        };
        let (basis, unit) = (new.legal_basis.as_ref(), Some(new.unit()));
        check_content(new.verdict, basis, &new.subject, &new.linked, unit, &new.coordinating)?;
        if new.has_content_of(self) { Err(ProposalError::NothingChanged) } else { Ok(new) }
    }

    /// Whether somebody is worse off with this version than with `old`.
    pub(super) fn weighs_more_than(&self, old: &Self) -> bool {
        self.verdict > old.verdict || self.linked.iter().any(|new| !old.linked.contains(new))
    }

    fn has_content_of(&self, old: &Self) -> bool {
        (self.verdict, self.category, &self.case, &self.reason) == (old.verdict, old.category, &old.case, &old.reason)
            && self.legal_basis == old.legal_basis
            && self.linked == old.linked
            && self.coordinating == old.coordinating
    }
}
