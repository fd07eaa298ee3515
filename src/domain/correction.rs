//! A correction: who was answered with a flag that should never have been there, and so must be told. It is opened in the
//! transaction that ends the flag and completed once no answer with the flag can be under way any more.

use super::party::PartyId;
use super::{FlagId, LogPositions, Timestamp};

/// What a party was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub party: PartyId,
    pub checks: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

/// What was found in the logs of all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub parties: Vec<Told>,
    /// The first entries that were looked at, one a log; what stands before is archived.
    pub from: LogPositions,
    /// The last ones.
    pub to: LogPositions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Correction {
    /// With what is known before the flag ends.
    Open { flag: FlagId, node: String, due_at: Timestamp, findings: Findings },
    /// With everything. It is done once.
    Complete { flag: FlagId, at: Timestamp, findings: Findings },
}
