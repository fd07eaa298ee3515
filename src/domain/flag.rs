//! One version of a flag, whole, and how it begins. How it goes on stands in `moves`: every version is made by a pure
//! function, so that an illegal one can never be stored.

use super::amendment::Pending;
use super::party::{ClientId, PartyId};
use super::proposal::{Proposal, ProposalError};
use super::urgent_time::URGENT_MS;
use super::{Category, FlagId, Subject, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    Normal,
    Urgent,
}

/// Why a flag was lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiftCause {
    /// It should never have been there: everybody who was answered with it must be told.
    Wrong,
    /// It was right, and is over.
    Ended,
}

/// Why a flag answers no more before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosingCause {
    Wrong,
    Ended,
    /// Another flag says what it said.
    Merged,
}

impl From<LiftCause> for ClosingCause {
    fn from(cause: LiftCause) -> Self {
        match cause {
            LiftCause::Wrong => Self::Wrong,
            LiftCause::Ended => Self::Ended,
        }
    }
}

/// What makes a new version; named as the acts of the log are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlagMove {
    #[serde(rename = "flag.raise")]
    Raise,
    #[serde(rename = "flag.approve")]
    Approve,
    #[serde(rename = "flag.reject")]
    Reject,
    #[serde(rename = "flag.lift")]
    Lift,
    #[serde(rename = "flag.renew")]
    Renew,
    #[serde(rename = "flag.amend")]
    Amend,
    #[serde(rename = "flag.transfer")]
    Transfer,
    #[serde(rename = "flag.merge")]
    Merge,
}

/// Who made a version of a flag, when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    #[serde(rename = "move")]
    pub what: FlagMove,
    pub by: Actor,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One version of a flag, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    pub id: FlagId,
    #[serde(with = "super::as_canonical")]
    pub subject: Subject,
    pub verdict: Verdict,
    pub category: Category,
    pub case: String,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_basis: Option<LegalBasis>,
    pub source: Source,
    #[serde(default, with = "super::as_canonical::each", skip_serializing_if = "Vec::is_empty")]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing_cause: Option<ClosingCause>,
    /// The flag that was kept when this one was merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<FlagId>,
    /// The flags that this one took in, with those that they had taken in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<FlagId>,
    /// None in versions from before there were units: the raiser's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<PartyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) officer: Option<ClientId>,
    /// Units that see it beside the owner's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coordinating: Vec<PartyId>,
    /// Who changed it before it was decided on, and so does not decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) drafted_by: Vec<ClientId>,
    /// An amendment that waits for its approval; what stands beside it is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Box<Pending>>,
    /// What the version before linked to and this one does not.
    #[serde(default, with = "super::as_canonical::each", skip_serializing_if = "Vec::is_empty")]
    pub unlinked: Vec<Subject>,
    /// None in versions from before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) step: Option<Step>,
}

impl Flag {
    pub fn propose(id: FlagId, proposal: Proposal, by: Actor, now: Timestamp) -> Result<Self, ProposalError> {
        proposal.check(&by.party, now)?;
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
            raised_by: by.clone(),
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
            closing_cause: None,
            merged_into: None,
            merged: Vec::new(),
            unit: Some(proposal.unit.unwrap_or_else(|| by.party.clone())),
            officer: Some(by.client.clone()),
            coordinating: proposal.coordinating,
            drafted_by: Vec::new(),
            pending: None,
            unlinked: Vec::new(),
            step: Some(Step { what: FlagMove::Raise, by, at: now, reason: None }),
        })
    }

    /// All for whom this version may answer otherwise than the one before.
    pub fn subjects_touched(&self) -> impl Iterator<Item = &Subject> {
        std::iter::once(&self.subject).chain(&self.linked).chain(&self.unlinked)
    }

    /// The same with an end that is not later than this one.
    pub fn ending_by(self, end: Timestamp) -> Self {
        Self { expires_at: self.expires_at.map(|own| own.min(end)), ..self }
    }

    /// The state at a moment: an active flag past its end is expired, whether or not anybody wrote that down.
    pub fn state_at(&self, now: Timestamp) -> FlagState {
        match self.expires_at {
            Some(end) if self.state == FlagState::Active && now >= end => FlagState::Expired,
            _ => self.state,
        }
    }

    /// The unit that answers for it.
    pub fn unit(&self) -> &PartyId {
        self.unit.as_ref().unwrap_or(&self.raised_by.party)
    }

    /// The officer who answers for it.
    pub fn officer(&self) -> &ClientId {
        self.officer.as_ref().unwrap_or(&self.raised_by.client)
    }

    /// Who made this version. What older versions do not say is told by what they are.
    pub fn step(&self) -> Step {
        let told = |what, by: &Option<Actor>, at: Option<Timestamp>| Step {
            what,
            by: by.clone().unwrap_or_else(|| self.raised_by.clone()),
            at: at.unwrap_or(self.raised_at),
            reason: self.closing_reason.clone(),
        };
        match (&self.step, self.state) {
            (Some(step), _) => step.clone(),
            (None, FlagState::Rejected) => told(FlagMove::Reject, &self.closed_by, self.closed_at),
            (None, FlagState::Lifted | FlagState::Expired) => told(FlagMove::Lift, &self.closed_by, self.closed_at),
            (None, FlagState::Active) if self.version > 1 => {
                told(FlagMove::Approve, &self.approved_by, self.approved_at)
            }
            (None, FlagState::Proposed | FlagState::Active) => told(FlagMove::Raise, &None, None),
        }
    }

    /// Whether the flag names the subject, as its own or by link.
    pub fn names(&self, subject: &Subject) -> bool {
        self.subject == *subject || self.linked.contains(subject)
    }

    /// Whether it answered, or answers, without anybody's decision.
    pub fn is_urgent_alone(&self) -> bool {
        self.urgency == Urgency::Urgent && self.approved_by.is_none()
    }

    /// Whether checks were answered with what should never have been there.
    pub fn must_be_corrected(&self) -> bool {
        let was_wrong = self.state == FlagState::Rejected || self.closing_cause == Some(ClosingCause::Wrong);
        was_wrong && self.since.is_some()
    }
}
