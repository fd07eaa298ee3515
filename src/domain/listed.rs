//! What a check needs to know of an active flag, and nothing more.

use super::{Category, Flag, FlagId, FlagState, Timestamp, Verdict};
use std::borrow::Cow;

pub struct ListedFlag<'a> {
    pub id: FlagId,
    /// Canonical text of the subject.
    pub subject: Cow<'a, str>,
    pub verdict: Verdict,
    pub category: Category,
    pub case: Cow<'a, str>,
    pub version: u32,
    pub since: Timestamp,
    pub expires_at: Timestamp,
    pub document: Option<Cow<'a, str>>,
    /// Canonical texts of the subjects that the flag names beside its own.
    pub linked: Vec<Cow<'a, str>>,
}

impl Flag {
    /// `None` if the flag does not answer checks, whatever the time.
    pub fn listed(&self) -> Option<ListedFlag<'_>> {
        match self.state {
            FlagState::Active => Some(ListedFlag {
                id: self.id,
                subject: self.subject.canonical().into(),
                verdict: self.verdict,
                category: self.category,
                case: self.case.as_str().into(),
                version: self.version,
                since: self.since?,
                expires_at: self.expires_at?,
                document: self.legal_basis.as_ref().map(|basis| basis.document.as_str().into()),
                linked: self.linked.iter().map(|linked| linked.canonical().into()).collect(),
            }),
            FlagState::Proposed | FlagState::Rejected | FlagState::Lifted | FlagState::Expired => None,
        }
    }
}
