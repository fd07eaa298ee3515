//! What the writer is given, and why it may refuse it. A record is an entry and, if something changes, the change: they are
//! durable together or not at all.

use super::merkle::Hash;
use super::{Entry, EntryTooLarge};
use crate::domain::{AnsweredParties, Change, CheckId, KeptAnswer, Outcome, Timestamp};
use crate::store::archive::Archive;

/// One audited act, on its way into the log.
pub struct Record(pub(super) Kind);

pub(super) enum Kind {
    /// Nothing changes: the bytes are made by the caller, since the writer has the least time of all.
    Reading { bundle: Vec<u8>, leaf: Hash, at: Timestamp },
    /// The writer numbers the change and completes the entry.
    Changing(Box<Changing>),
    /// A row is kept with the entry, and nothing of the registry changes: it takes no number.
    Telling(Box<Telling>),
    /// A part of the log has been sealed into a file, and goes.
    Sealing(Box<Sealing>),
}

pub(super) struct Sealing {
    pub(super) entry: Entry,
    pub(super) archive: Archive,
    pub(super) answered: AnsweredParties,
}

pub(super) struct Telling {
    pub(super) entry: Entry,
    pub(super) check: CheckId,
    pub(super) outcome: Outcome,
}

pub(super) struct Changing {
    pub(super) entry: Entry,
    pub(super) change: Change,
    pub(super) keep: Option<KeptAnswer>,
}

impl Record {
    pub fn reading(entry: &Entry) -> Result<Self, EntryTooLarge> {
        let mut bundle = Vec::with_capacity(256);
        let leaf = entry.encode(&mut bundle)?;
        Ok(Self(Kind::Reading { bundle, leaf, at: entry.at }))
    }

    pub fn changing(entry: Entry, change: Change, keep: Option<KeptAnswer>) -> Self {
        Self(Kind::Changing(Box::new(Changing { entry, change, keep })))
    }

    /// What became of a check. It is refused if that was told before.
    pub fn telling(entry: Entry, check: CheckId, outcome: Outcome) -> Self {
        Self(Kind::Telling(Box::new(Telling { entry, check, outcome })))
    }

    /// The entry must be `archive`'s, and the file finished.
    pub(super) fn sealing(entry: Entry, archive: Archive, answered: AnsweredParties) -> Self {
        Self(Kind::Sealing(Box::new(Sealing { entry, archive, answered })))
    }

    /// Whether it carries a change of the registry.
    pub(super) fn changes(&self) -> bool {
        matches!(self.0, Kind::Changing(_))
    }

    /// Whether entries are dropped with it.
    pub(super) fn seals(&self) -> bool {
        matches!(self.0, Kind::Sealing(_))
    }

    pub(super) fn at(&self) -> Timestamp {
        match &self.0 {
            Kind::Reading { at, .. } => *at,
            Kind::Changing(changing) => changing.entry.at,
            Kind::Telling(telling) => telling.entry.at,
            Kind::Sealing(sealing) => sealing.entry.at,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("the queue of the log is full")]
    QueueFull,
    #[error("the log is closed")]
    Closed,
    #[error("the commit failed")]
    CommitFailed,
    #[error("the database is gone for now")]
    Gone,
    #[error("the record waited too long")]
    TooLate,
    #[error("the entry is too large")]
    TooLarge,
    #[error("the change was refused")]
    Refused(Refusal),
}

/// Why a change was not made, though the log is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What it replaces is not there in that version, or what it makes is there already.
    Precondition,
    /// The client used this Idempotency-Key before.
    KeyUsed,
}
