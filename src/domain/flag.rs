//! A flag and the moves of its life. Every move is a pure function from one version to the next, so that an
//! illegal one can never be stored: never active without approval or urgency, never approved by its raiser,
//! never answering after its end.

use super::party::{ClientId, PartyId};
use super::{Category, FlagId, Subject, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

const DAY_MS: u64 = 86_400_000;
/// An urgent flag answers for this long; without approval it then expires.
pub const URGENT_MS: u64 = 3 * DAY_MS;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlagState {
    Proposed,
    Active,
    Rejected,
    Lifted,
    Expired,
}

impl FlagState {
    pub const ALL: [Self; 5] = [Self::Proposed, Self::Active, Self::Rejected, Self::Lifted, Self::Expired];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Active => "active",
            Self::Rejected => "rejected",
            Self::Lifted => "lifted",
            Self::Expired => "expired",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Who did something: an officer (a client) of a party.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    pub party: PartyId,
    pub client: ClientId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegalBasis {
    pub document: String,
    pub issued_on: String,
    pub authority: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    Police,
    BankReport,
    Ministry,
    Citizen,
}

impl SourceKind {
    pub const ALL: [Self; 4] = [Self::Police, Self::BankReport, Self::Ministry, Self::Citizen];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Police => "police",
            Self::BankReport => "bank_report",
            Self::Ministry => "ministry",
            Self::Citizen => "citizen",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub kind: SourceKind,
    pub reference: Option<String>,
}

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    Normal,
    Urgent,
}

/// One version of a flag, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    pub id: FlagId,
    #[serde(with = "super::subject::as_canonical")]
    pub subject: Subject,
    pub verdict: Verdict,
    pub category: Category,
    pub case: String,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_basis: Option<LegalBasis>,
    pub source: Source,
    #[serde(default, with = "super::subject::as_canonical::each", skip_serializing_if = "Vec::is_empty")]
    pub linked: Vec<Subject>,
    pub urgency: Urgency,
    pub state: FlagState,
    pub version: u32,
    pub raised_by: Actor,
    pub raised_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<Actor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<Timestamp>,
    /// Since when it answers checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What the officer asked for; the end in force is `expires_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_wanted: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<Actor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing_reason: Option<String>,
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
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    #[error("a flag that is {} cannot be {wanted}", from.as_str())]
    Illegal { from: FlagState, wanted: &'static str },
    #[error("the flag is approved already")]
    ApprovedAlready,
    #[error("the expiry that was asked for has passed")]
    ExpiryPassed,
    #[error("another officer than the one who raised the flag must decide on it")]
    SameOfficer,
}

/// How long a flag of this verdict lasts if nothing is asked for, and at most.
fn lifetime_ms(verdict: Verdict) -> (u64, u64) {
    match verdict {
        Verdict::Clear | Verdict::Warn => (180 * DAY_MS, 365 * DAY_MS),
        Verdict::Hold => (30 * DAY_MS, 90 * DAY_MS),
        Verdict::Block => (365 * DAY_MS, 3 * 365 * DAY_MS),
    }
}

impl Flag {
    pub fn propose(id: FlagId, proposal: Proposal, by: Actor, now: Timestamp) -> Result<Self, ProposalError> {
        proposal.check(now)?;
        let urgent = proposal.urgency == Urgency::Urgent;
        let urgent_end = now.plus_ms(URGENT_MS);
        Ok(Self {
            id,
            subject: proposal.subject,
            verdict: proposal.verdict,
            category: proposal.category,
            case: proposal.case,
            reason: proposal.reason,
            legal_basis: proposal.legal_basis,
            source: proposal.source,
            linked: proposal.linked,
            urgency: proposal.urgency,
            state: if urgent { FlagState::Active } else { FlagState::Proposed },
            version: 1,
            raised_by: by,
            raised_at: now,
            approved_by: None,
            approved_at: None,
            since: urgent.then_some(now),
            expiry_wanted: proposal.expires_at,
            expires_at: match proposal.expires_at {
                Some(wanted) if urgent => Some(wanted.min(urgent_end)),
                None if urgent => Some(urgent_end),
                wanted => wanted,
            },
            closed_by: None,
            closed_at: None,
            closing_reason: None,
        })
    }

    /// The state at a moment: an active flag past its end is expired, whether or not anybody wrote that down.
    pub fn state_at(&self, now: Timestamp) -> FlagState {
        match self.expires_at {
            Some(end) if self.state == FlagState::Active && now >= end => FlagState::Expired,
            _ => self.state,
        }
    }

    pub fn approve(&self, by: Actor, now: Timestamp) -> Result<Self, MoveError> {
        self.open_to_decision("approved", now)?;
        self.decided_by_another(&by)?;
        if self.expiry_wanted.is_some_and(|end| end <= now) {
            return Err(MoveError::ExpiryPassed);
        }
        let (default_ms, _) = lifetime_ms(self.verdict);
        Ok(Self {
            state: FlagState::Active,
            since: self.since.or(Some(now)),
            expires_at: self.expiry_wanted.or(Some(now.plus_ms(default_ms))),
            approved_by: Some(by),
            approved_at: Some(now),
            ..self.next_version()
        })
    }

    pub fn reject(&self, by: Actor, reason: String, now: Timestamp) -> Result<Self, MoveError> {
        self.open_to_decision("rejected", now)?;
        self.decided_by_another(&by)?;
        Ok(self.closed(FlagState::Rejected, by, reason, now))
    }

    /// Anybody who may write flags can lift one, its raiser too: an innocent holder should not wait for a second officer.
    pub fn lift(&self, by: Actor, reason: String, now: Timestamp) -> Result<Self, MoveError> {
        match self.state_at(now) {
            FlagState::Active => Ok(self.closed(FlagState::Lifted, by, reason, now)),
            from @ (FlagState::Proposed | FlagState::Rejected | FlagState::Lifted | FlagState::Expired) => {
                Err(MoveError::Illegal { from, wanted: "lifted" })
            }
        }
    }

    /// A proposal waits for a decision, and so does an urgent flag that nobody has approved yet.
    fn open_to_decision(&self, wanted: &'static str, now: Timestamp) -> Result<(), MoveError> {
        match self.state_at(now) {
            FlagState::Proposed => Ok(()),
            FlagState::Active if self.approved_by.is_none() => Ok(()),
            FlagState::Active if wanted == "approved" => Err(MoveError::ApprovedAlready),
            from @ (FlagState::Active | FlagState::Rejected | FlagState::Lifted | FlagState::Expired) => {
                Err(MoveError::Illegal { from, wanted })
            }
        }
    }

    fn decided_by_another(&self, by: &Actor) -> Result<(), MoveError> {
        if by.client == self.raised_by.client { Err(MoveError::SameOfficer) } else { Ok(()) }
    }

    fn next_version(&self) -> Self {
        Self { version: self.version.saturating_add(1), ..self.clone() }
    }

    fn closed(&self, state: FlagState, by: Actor, reason: String, now: Timestamp) -> Self {
        Self { state, closed_by: Some(by), closed_at: Some(now), closing_reason: Some(reason), ..self.next_version() }
    }
}

impl Proposal {
    fn check(&self, now: Timestamp) -> Result<(), ProposalError> {
        if self.verdict == Verdict::Clear {
            return Err(ProposalError::ClearVerdict);
        }
        if self.verdict == Verdict::Block && self.urgency == Urgency::Urgent {
            return Err(ProposalError::UrgentBlock);
        }
        if self.verdict == Verdict::Block && self.legal_basis.is_none() {
            return Err(ProposalError::NoLegalBasis);
        }
        if let Some(end) = self.expires_at {
            let (_, longest_ms) = lifetime_ms(self.verdict);
            if end <= now {
                return Err(ProposalError::ExpiryPast);
            }
            if end > now.plus_ms(longest_ms) {
                return Err(ProposalError::ExpiryTooLate);
            }
        }
        let mut named: std::collections::HashSet<&Subject> = std::collections::HashSet::from([&self.subject]);
        if !self.linked.iter().all(|linked| named.insert(linked)) {
            return Err(ProposalError::LinkedTwice);
        }
        Ok(())
    }
}
