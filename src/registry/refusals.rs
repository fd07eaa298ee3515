//! Calls that a quota refused, counted by client and minute, so that a flood leaves one entry and not a full disk.

use super::Call;
use crate::domain::Timestamp;
use crate::domain::party::ClientId;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const MINUTE_MS: u64 = 60_000;

#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<(ClientId, u64), (Call, u32)>>);

impl Refusals {
    pub(super) fn count(&self, call: &Call) {
        let minute = call.at.as_ms() / MINUTE_MS;
        let mut counted = self.lock();
        let (_, count) = counted.entry((call.actor.client.clone(), minute)).or_insert_with(|| (call.clone(), 0));
        *count = count.saturating_add(1);
    }

    /// Takes what was counted in the minutes that ended before `now`, each with its first call.
    pub(super) fn take_ended(&self, now: Timestamp) -> Vec<(Call, u32)> {
        let minute = now.as_ms() / MINUTE_MS;
        self.lock().extract_if(|(_, counted_in), _| *counted_in < minute).map(|(_, counted)| counted).collect()
    }

    /// Counts again what could not be logged.
    pub(super) fn put_back(&self, call: Call, count: u32) {
        let minute = call.at.as_ms() / MINUTE_MS;
        let mut counted = self.lock();
        let (_, counted) = counted.entry((call.actor.client.clone(), minute)).or_insert((call, 0));
        *counted = counted.saturating_add(count);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(ClientId, u64), (Call, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
