//! How often a client may ask: one GCRA limiter (governor) a client and policy, and the failures that the token endpoint
//! remembers. The numbers here are what the RateLimit headers of draft-ietf-httpapi-ratelimit-headers-11 show.

use crate::domain::Timestamp;
use crate::domain::party::{ClientId, Policy, Quota, Quotas};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

type Limiter = governor::RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// The quotas of a client without overrides, one for each policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultQuotas {
    pub token: Quota,
    pub checks: Quota,
    pub batch: Quota,
    pub lists: Quota,
    pub writes: Quota,
}

impl DefaultQuotas {
    fn of(&self, policy: Policy) -> Quota {
        match policy {
            Policy::Token => self.token,
            Policy::Checks => self.checks,
            Policy::Batch => self.batch,
            Policy::Lists => self.lists,
            Policy::Writes => self.writes,
        }
    }
}

/// One client's limiters.
pub struct Limits {
    token: Limit,
    checks: Limit,
    batch: Limit,
    lists: Limit,
    writes: Limit,
}

struct Limit {
    quota: Quota,
    limiter: Limiter,
}

/// What taking from a quota led to.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    pub policy: Policy,
    pub quota: Quota,
    pub remaining: u32,
    /// Seconds until the whole quota is there again.
    pub reset_s: u64,
    /// `Some` if the request is refused: seconds after which it may be sent again.
    pub retry_after_s: Option<u64>,
}

impl Limits {
    /// A node's part of the quotas, where `nodes` share them.
    pub fn new(defaults: &DefaultQuotas, overrides: &Quotas, nodes: u32) -> Self {
        let limit = |policy| {
            let whole = overrides.of(policy).unwrap_or(defaults.of(policy));
            let part = NonZeroU32::new(whole.quota.get() / nodes.max(1)).unwrap_or(NonZeroU32::MIN);
            Limit::new(Quota { quota: part, ..whole })
        };
        Self {
            token: limit(Policy::Token),
            checks: limit(Policy::Checks),
            batch: limit(Policy::Batch),
            lists: limit(Policy::Lists),
            writes: limit(Policy::Writes),
        }
    }

    pub fn take(&self, policy: Policy, count: NonZeroU32) -> Taken {
        let limit = match policy {
            Policy::Token => &self.token,
            Policy::Checks => &self.checks,
            Policy::Batch => &self.batch,
            Policy::Lists => &self.lists,
            Policy::Writes => &self.writes,
        };
        limit.take(policy, count)
    }
}

impl Limit {
    fn new(quota: Quota) -> Self {
        // Between one nanosecond (a billion in a second) and an hour (one in the longest window): never zero.
        let window_ns = u64::from(quota.window_s.get()).saturating_mul(1_000_000_000);
        let period = Duration::from_nanos((window_ns / u64::from(quota.quota.get())).max(1));
        let rate = governor::Quota::with_period(period)
            .unwrap_or_else(|| governor::Quota::per_second(NonZeroU32::MIN))
            .allow_burst(quota.quota);
        Self { quota, limiter: governor::RateLimiter::direct(rate).with_middleware() }
    }

    fn take(&self, policy: Policy, count: NonZeroU32) -> Taken {
        let window_s = u64::from(self.quota.window_s.get());
        let (remaining, retry_after_s) = match self.limiter.check_n(count) {
            Ok(Ok(state)) => (state.remaining_burst_capacity(), None),
            Ok(Err(refused)) => {
                let wait = refused.wait_time_from(DefaultClock::default().now());
                (0, Some(wait.as_secs().saturating_add(1)))
            }
            // More at once than the whole quota: it will never fit, and the window is the honest answer.
            Err(_) => (0, Some(window_s)),
        };
        let used = u64::from(self.quota.quota.get().saturating_sub(remaining));
        let reset_s = used.saturating_mul(window_s).div_ceil(u64::from(self.quota.quota.get()));
        Taken { policy, quota: self.quota, remaining, reset_s, retry_after_s }
    }
}

const FAILURE_WINDOW_MS: u64 = 60_000;
const FAILURES_PER_CLIENT_MAX: u32 = 10;
const FAILURES_PER_ADDRESS_MAX: u32 = 30;
/// Whoever was let in from an address is not shut out there by failures that others cause elsewhere.
const TRUSTED_MS: u64 = 24 * 3_600_000;
const REMEMBERED_MAX: usize = 100_000;

/// Failed token requests, by client id and by address.
#[derive(Default)]
pub struct Failures(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    by_client: HashMap<ClientId, Window>,
    by_address: HashMap<IpAddr, Window>,
    trusted: HashMap<(ClientId, IpAddr), Timestamp>,
}

#[derive(Clone, Copy)]
struct Window {
    start: Timestamp,
    count: u32,
}

impl Window {
    /// Seconds to wait if the window holds its most.
    fn wait_s(self, most: u32, now: Timestamp) -> Option<u64> {
        let left_ms = FAILURE_WINDOW_MS.saturating_sub(now.ms_since(self.start));
        (self.count >= most && left_ms > 0).then(|| left_ms.div_ceil(1000))
    }
}

impl Failures {
    /// `Some(seconds)` if a token request must wait, whatever it would prove.
    pub fn wait_s(&self, client: &ClientId, address: IpAddr, now: Timestamp) -> Option<u64> {
        let remembered = self.lock();
        if let Some(wait) = remembered.by_address.get(&address).and_then(|w| w.wait_s(FAILURES_PER_ADDRESS_MAX, now)) {
            return Some(wait);
        }
        let trusted = remembered.trusted.get(&(client.clone(), address));
        if trusted.is_some_and(|since| now.ms_since(*since) < TRUSTED_MS) {
            return None;
        }
        remembered.by_client.get(client).and_then(|w| w.wait_s(FAILURES_PER_CLIENT_MAX, now))
    }

    pub fn failed(&self, client: &ClientId, address: IpAddr, now: Timestamp) {
        let mut remembered = self.lock();
        count(&mut remembered.by_client, client.clone(), now);
        count(&mut remembered.by_address, address, now);
    }

    pub fn succeeded(&self, client: &ClientId, address: IpAddr, now: Timestamp) {
        let mut remembered = self.lock();
        if remembered.trusted.len() >= REMEMBERED_MAX {
            remembered.trusted.retain(|_, since| now.ms_since(*since) < TRUSTED_MS);
        }
        if remembered.trusted.len() < REMEMBERED_MAX {
            remembered.trusted.insert((client.clone(), address), now);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn count<K: std::hash::Hash + Eq>(windows: &mut HashMap<K, Window>, key: K, now: Timestamp) {
    if windows.len() >= REMEMBERED_MAX {
        windows.retain(|_, window| now.ms_since(window.start) < FAILURE_WINDOW_MS);
    }
    if windows.len() >= REMEMBERED_MAX {
        return;
    }
    let window = windows.entry(key).or_insert(Window { start: now, count: 0 });
    if now.ms_since(window.start) >= FAILURE_WINDOW_MS {
        *window = Window { start: now, count: 0 };
    }
    window.count = window.count.saturating_add(1);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const T: fn(u64) -> Timestamp = Timestamp::from_ms;

    fn quota(quota: u32, window_s: u32) -> Quota {
        Quota { quota: quota.try_into().unwrap(), window_s: window_s.try_into().unwrap() }
    }

    fn limits(checks: Quota) -> Limits {
        let defaults = DefaultQuotas { token: checks, checks, batch: checks, lists: checks, writes: checks };
        Limits::new(&defaults, &Quotas::default(), 1)
    }

    #[test]
    fn the_last_of_a_quota_is_given_and_the_next_is_refused_with_a_wait() {
        let limits = limits(quota(3, 60));
        let one = NonZeroU32::MIN;
        let remaining: Vec<u32> = (0..3).map(|_| limits.take(Policy::Checks, one).remaining).collect();
        assert_eq!(remaining, [2, 1, 0]);
        let refused = limits.take(Policy::Checks, one);
        let wait = refused.retry_after_s.unwrap();
        assert!((1..=21).contains(&wait), "{wait}");
        assert_eq!((refused.remaining, refused.reset_s), (0, 60));
        assert!(limits.take(Policy::Batch, one).retry_after_s.is_none(), "policies are counted apart");
    }

    #[test]
    fn more_at_once_than_the_quota_is_refused() {
        let limits = limits(quota(3, 60));
        assert_eq!(limits.take(Policy::Batch, 4.try_into().unwrap()).retry_after_s, Some(60));
    }

    #[test]
    fn failures_shut_out_a_client_id_and_an_address_for_a_minute() {
        let failures = Failures::default();
        let client = ClientId::parse("core-1").unwrap();
        let other = ClientId::parse("core-2").unwrap();
        let (here, there): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap());
        for _ in 0..FAILURES_PER_CLIENT_MAX {
            assert_eq!(failures.wait_s(&client, here, T(5)), None);
            failures.failed(&client, here, T(5));
        }
        assert_eq!(failures.wait_s(&client, there, T(5)), Some(60));
        assert_eq!(failures.wait_s(&other, here, T(5)), None);
        assert_eq!(failures.wait_s(&client, there, T(60_005)), None);
        for _ in 0..FAILURES_PER_ADDRESS_MAX {
            failures.failed(&client, here, T(70_000));
        }
        assert!(failures.wait_s(&other, here, T(70_000)).is_some());
    }

    #[test]
    fn a_client_that_was_let_in_from_an_address_is_not_shut_out_by_strangers() {
        let failures = Failures::default();
        let client = ClientId::parse("core-1").unwrap();
        let (bank, stranger): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "127.0.0.9".parse().unwrap());
        failures.succeeded(&client, bank, T(0));
        for _ in 0..=FAILURES_PER_CLIENT_MAX {
            failures.failed(&client, stranger, T(10));
        }
        assert_eq!(failures.wait_s(&client, bank, T(10)), None);
        assert!(failures.wait_s(&client, stranger, T(10)).is_some());
    }
}
