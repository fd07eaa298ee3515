//! Carrying out what an officer decided on a whole import: part by part, each part at once. A flag that somebody has decided
//! on alone stays as it is, and is counted.

use super::import_steps::{Steps, Stop};
use crate::domain::import::{Decision, Import, ImportState};
use crate::domain::{Flag, FlagState};
use crate::store;
use std::collections::HashSet;

/// How often a part is tried whose flags somebody moves meanwhile.
const TRIES_MAX: usize = 5;

impl Steps<'_> {
    pub(super) fn carry_out(&mut self) -> Result<(), Stop> {
        while self.decide_next_part()? {}
        let decided = self.import.decided();
        self.write(decided, None, Vec::new())?;
        self.settle()
    }

    /// False if there is no part left.
    fn decide_next_part(&mut self) -> Result<bool, Stop> {
        let Some(decision) = self.import.decision.clone() else { return Ok(false) };
        let (id, after) = (self.import.id, decision.up_to_row);
        let part = self.registry.store_find(move |connection| store::imports::part_after(connection, id, after))?;
        let Some(part) = part else { return Ok(false) };
        let before = self.import.clone();
        for _ in 0..TRIES_MAX {
            let wanted: HashSet<_> = part.flags.iter().copied().collect();
            let (first, last) = (part.flags.iter().min().copied(), part.flags.iter().max().copied());
            let found = match (first, last) {
                (Some(first), Some(last)) => {
                    self.registry.store_find(move |connection| store::flags::find_all(connection, first, last))?
                }
                _ => Vec::new(),
            };
            let flags: Vec<Flag> = found.into_iter().filter(|flag| wanted.contains(&flag.id)).collect();
            let moved: Vec<Flag> = flags.iter().filter_map(|flag| self.decide(flag, &decision)).collect();
            let count = |flags: usize| u64::try_from(flags).unwrap_or(u64::MAX);
            let next = Decision {
                decided: decision.decided + count(moved.len()),
                passed_over: decision.passed_over + count(flags.len() - moved.len()),
                up_to_row: part.first_row,
                ..decision.clone()
            };
            let next = Import { decision: Some(next), ..self.import.next_step() };
            self.write(next, None, moved)?;
            if self.settle_unless_refused()? {
                return Ok(true);
            }
            self.import = before.clone();
        }
        Err(Stop::Failed("its flags are being moved by somebody else".to_owned()))
    }

    /// The flag after the decision; `None` if it is no longer open to it.
    fn decide(&self, flag: &Flag, decision: &Decision) -> Option<Flag> {
        let (by, now) = (decision.by.clone(), self.registry.now());
        let owner = self.registry.access.chain(flag.unit());
        // What is in force was decided on alone, even if an amendment of it waits.
        if flag.state_at(now) != FlagState::Proposed || *owner.root() != by.party {
            return None;
        }
        match (self.import.state, &decision.reason) {
            (ImportState::Rejecting, Some(reason)) => flag.reject(by, reason.clone(), now).ok(),
            _ => flag.approve(by, now).ok(),
        }
    }
}
