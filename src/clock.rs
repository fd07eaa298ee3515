//! Time. Nothing else in the program reads the system's clock (clippy.toml sees to it).

use crate::domain::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The system's wall clock, which may be set; this one never goes back. While the wall clock lies behind what was
/// answered before, time goes on at the pace of the monotonic clock, so that tokens and flags still expire.
pub struct SystemClock {
    started: Instant,
    /// Milliseconds to add to the time since `started`; it only grows.
    offset_ms: AtomicU64,
}

impl SystemClock {
    /// `not_before` is the latest moment that the log knows.
    #[allow(clippy::disallowed_methods)]
    pub fn new(not_before: Timestamp) -> Self {
        Self { started: Instant::now(), offset_ms: AtomicU64::new(not_before.as_ms()) }
    }

    /// How far the wall clock lies behind the time this clock tells.
    pub fn lag_ms(&self) -> u64 {
        self.now().as_ms().saturating_sub(wall_ms())
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)]
    fn now(&self) -> Timestamp {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let wanted = wall_ms().saturating_sub(elapsed_ms);
        let mut offset = self.offset_ms.load(Ordering::Acquire);
        if wanted > offset {
            offset = self.offset_ms.fetch_max(wanted, Ordering::AcqRel).max(wanted);
        }
        Timestamp::from_ms(elapsed_ms.saturating_add(offset))
    }
}

#[allow(clippy::disallowed_methods)]
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A clock that tests set, in any direction.
#[derive(Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.as_ms()))
    }

    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_ms(), Ordering::SeqCst);
    }

    pub fn advance_ms(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.load(Ordering::SeqCst))
    }
}

/// How long something took.
#[derive(Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods)]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn elapsed(self) -> std::time::Duration {
        self.0.elapsed()
    }
}
