//! A correction: who was answered with a flag that should never have been there, and so must be told. It is opened in the
//! transaction that ends the flag and completed once no answer with the flag can be under way any more.

use super::party::PartyId;
use super::{FlagId, LogPositions, Timestamp};
use std::collections::BTreeMap;

/// Checks that a party was answered with a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    pub checks: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

/// What parties were answered with many flags.
pub type AnsweredParties = BTreeMap<(FlagId, PartyId), Answers>;

impl Answers {
    pub fn at(at: Timestamp, checks: u64) -> Self {
        Self { checks, first_at: at, last_at: at }
    }

    /// Adds to what is known under a key.
    pub fn add_to<K: Ord>(self, known: &mut BTreeMap<K, Self>, key: K) {
        let add = |known: &mut Self| {
            known.checks += self.checks;
            known.first_at = known.first_at.min(self.first_at);
            known.last_at = known.last_at.max(self.last_at);
        };
        known.entry(key).and_modify(add).or_insert(self);
    }
}

/// What a party was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub party: PartyId,
    pub checks: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

/// What was found in the logs of all nodes, and in what is kept of their archives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub parties: Vec<Told>,
    /// The first entries, one a log, from which on nothing is missing; of what is archived before nothing is kept.
    pub from: LogPositions,
    /// The last ones that were looked at.
    pub to: LogPositions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Correction {
    /// With what is known before the flag ends.
    Open { flag: FlagId, node: String, due_at: Timestamp, findings: Findings },
    /// With everything. It is done once.
    Complete { flag: FlagId, at: Timestamp, findings: Findings },
}
