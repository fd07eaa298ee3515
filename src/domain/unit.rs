//! The police's units as a tree: a city, below it wards and communes. Who sees and decides follows from it alone.

use super::flag::Flag;
use super::party::PartyId;

/// Units from a root down to the lowest.
pub const UNIT_LEVELS_MAX: usize = 4;
/// Units that a flag may name beside its owner.
pub const COORDINATING_MAX: usize = 8;

/// A unit and those above it, the nearest first; it is never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitChain {
    own: PartyId,
    above: Vec<PartyId>,
}

impl UnitChain {
    /// Follows `parent` upwards, as far as a tree may reach.
    pub fn new(own: PartyId, parent: impl Fn(&PartyId) -> Option<PartyId>) -> Self {
        let mut above: Vec<PartyId> = Vec::new();
        while above.len() + 1 < UNIT_LEVELS_MAX
            && let Some(next) = parent(above.last().unwrap_or(&own))
        {
            above.push(next);
        }
        Self { own, above }
    }

    /// The unit that approves.
    pub fn root(&self) -> &PartyId {
        self.above.last().unwrap_or(&self.own)
    }

    /// Whether the unit is `unit` or lies below it.
    pub fn lies_within(&self, unit: &PartyId) -> bool {
        self.own == *unit || self.above.contains(unit)
    }

    pub fn levels(&self) -> usize {
        self.above.len() + 1
    }
}

/// What a unit is to a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does not know of it.
    None,
    /// It sees it.
    Coordinating,
    /// It answers for it: the owner, or a unit above.
    Owning,
    /// As `Owning`, and it approves.
    Deciding,
}

impl Standing {
    pub fn of(unit: &PartyId, flag: &Flag, chain: impl Fn(&PartyId) -> UnitChain) -> Self {
        let owner = chain(flag.unit());
        if owner.root() == unit {
            Self::Deciding
        } else if owner.lies_within(unit) {
            Self::Owning
        } else if flag.coordinating.iter().any(|coordinating| chain(coordinating).lies_within(unit)) {
            Self::Coordinating
        } else {
            Self::None
        }
    }
}
