//! An objection: a bank says for a holder that a flag is wrong, and the owning unit answers by a deadline. It never holds
//! what was attached, only the digests.

use super::flag::Actor;
use super::{FlagId, ObjectionId, Timestamp};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectionState {
    Open,
    Upheld,
    Dismissed,
}

impl ObjectionState {
    pub const ALL: [Self; 3] = [Self::Open, Self::Upheld, Self::Dismissed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Upheld => "upheld",
            Self::Dismissed => "dismissed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// What became of the flag when an objection was upheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    Lifted,
    Amended,
    /// It was in force no more.
    EndedBefore,
}

/// A document that the bank keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub name: String,
    /// In lower-case hexadecimal digits.
    pub sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objection {
    pub id: ObjectionId,
    pub flag: FlagId,
    pub filed_by: Actor,
    pub filed_at: Timestamp,
    pub text: String,
    pub reference: Option<String>,
    pub attachments: Vec<Attachment>,
    /// Open after this moment it is overdue.
    pub deadline: Timestamp,
    pub state: ObjectionState,
    pub version: u32,
    pub decided_by: Option<Actor>,
    pub decided_at: Option<Timestamp>,
    /// For the bank and the holder.
    pub answer: Option<String>,
    pub remedy: Option<Remedy>,
    /// The version of the flag that the remedy made.
    pub flag_version: Option<u32>,
}

/// What a bank files.
#[derive(Clone, Debug)]
pub struct NewObjection {
    pub text: String,
    pub reference: Option<String>,
    pub attachments: Vec<Attachment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an objection that is {} cannot be {wanted}", from.as_str())]
pub struct DecidedAlready {
    from: ObjectionState,
    wanted: &'static str,
}

impl Objection {
    pub fn file(id: ObjectionId, flag: FlagId, new: NewObjection, by: Actor, now: Timestamp, within_ms: u64) -> Self {
        Self {
            id,
            flag,
            filed_by: by,
            filed_at: now,
            text: new.text,
            reference: new.reference,
            attachments: new.attachments,
            deadline: now.plus_ms(within_ms),
            state: ObjectionState::Open,
            version: 1,
            decided_by: None,
            decided_at: None,
            answer: None,
            remedy: None,
            flag_version: None,
        }
    }

    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.state == ObjectionState::Open && now > self.deadline
    }

    pub fn uphold(
        &self,
        by: Actor,
        answer: String,
        remedy: Remedy,
        flag_version: Option<u32>,
        now: Timestamp,
    ) -> Result<Self, DecidedAlready> {
        let decided = self.decided(ObjectionState::Upheld, by, answer, now)?;
        Ok(Self { remedy: Some(remedy), flag_version, ..decided })
    }

    pub fn dismiss(&self, by: Actor, answer: String, now: Timestamp) -> Result<Self, DecidedAlready> {
        self.decided(ObjectionState::Dismissed, by, answer, now)
    }

    fn decided(
        &self,
        state: ObjectionState,
        by: Actor,
        answer: String,
        now: Timestamp,
    ) -> Result<Self, DecidedAlready> {
        if self.state != ObjectionState::Open {
            return Err(DecidedAlready { from: self.state, wanted: state.as_str() });
        }
        Ok(Self {
            state,
            version: self.version.saturating_add(1),
            decided_by: Some(by),
            decided_at: Some(now),
            answer: Some(answer),
            ..self.clone()
        })
    }
}
