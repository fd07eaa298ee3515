//! Remembers the assertions that were used, until they can no longer be used again.
//! It must never forget one early: when it cannot know, it says "replayed".

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::jose::LEEWAY_S;
use crate::domain::party::ClientId;

/// More than any client needs: a token lasts minutes, and an assertion is remembered for five.
pub const LIVE_ASSERTIONS_PER_CLIENT_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplayError {
    #[error("the assertion was used before")]
    Replayed,
    #[error("the client has too many live assertions")]
    Full,
}

/// Every used assertion id by client, in this process. The memory is lost at a restart, so an assertion
/// can be used once more after one, for the rest of its at most 300 seconds and the leeway.
#[derive(Default)]
pub struct ReplayGuard {
    used: Mutex<Used>,
}

/// Ids are kept as digests, so that a client cannot choose how much memory one takes.
type JtiDigest = [u8; 32];

#[derive(Default)]
struct Used {
    by_client: HashMap<ClientId, HashSet<JtiDigest>>,
    by_expiry: BTreeSet<(i64, ClientId, JtiDigest)>,
    /// Everything that expired up to this second is forgotten, whatever the clock says later.
    forgotten_until_s: Option<i64>,
}

impl ReplayGuard {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses up the id. Call it only with a verified assertion, or strangers could fill a client's share.
    pub fn admit(&self, client: &ClientId, jti: &str, expires_at_s: i64, now_s: i64) -> Result<(), ReplayError> {
        // Each change below is complete before anything can panic, so a poisoned state is still sound.
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.forget_expired(now_s);
        used.admit(client, Sha256::digest(jti).into(), expires_at_s)
    }
}

impl Used {
    fn admit(&mut self, client: &ClientId, jti: JtiDigest, expires_at_s: i64) -> Result<(), ReplayError> {
        // After the clock went back, such an assertion looks alive again, but its use may be forgotten.
        if self.forgotten_until_s.is_some_and(|until| expires_at_s <= until) {
            return Err(ReplayError::Replayed);
        }
        let used = self.by_client.entry(client.clone()).or_default();
        if used.contains(&jti) {
            return Err(ReplayError::Replayed);
        }
        if used.len() >= LIVE_ASSERTIONS_PER_CLIENT_MAX {
            return Err(ReplayError::Full);
        }
        used.insert(jti);
        self.by_expiry.insert((expires_at_s, client.clone(), jti));
        Ok(())
    }

    /// An assertion is accepted for the leeway after its expiry, so it is remembered as long.
    fn forget_expired(&mut self, now_s: i64) {
        let until_s = now_s.saturating_sub(LEEWAY_S);
        if self.forgotten_until_s.is_some_and(|done| done >= until_s) {
            return;
        }
        self.forgotten_until_s = Some(until_s);
        while let Some((expires_at_s, client, jti)) = self.by_expiry.pop_first() {
            if expires_at_s > until_s {
                self.by_expiry.insert((expires_at_s, client, jti));
                return;
            }
            if let Some(used) = self.by_client.get_mut(&client) {
                used.remove(&jti);
                if used.is_empty() {
                    self.by_client.remove(&client);
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn client(name: &str) -> ClientId {
        ClientId::parse(name).unwrap()
    }

    #[test]
    fn an_id_is_admitted_once_for_each_client() {
        let guard = ReplayGuard::new();
        let (a, b) = (client("aa"), client("bb"));
        assert_eq!(guard.admit(&a, "1", 1300, 1000), Ok(()));
        assert_eq!(guard.admit(&a, "1", 1300, 1001), Err(ReplayError::Replayed));
        assert_eq!(guard.admit(&a, "1", 1290, 1001), Err(ReplayError::Replayed));
        assert_eq!(guard.admit(&a, "2", 1300, 1001), Ok(()));
        assert_eq!(guard.admit(&b, "1", 1300, 1001), Ok(()));
    }

    #[test]
    fn an_id_is_remembered_as_long_as_its_assertion_is_accepted() {
        let guard = ReplayGuard::new();
        let a = client("aa");
        guard.admit(&a, "1", 1300, 1000).unwrap();
        assert_eq!(guard.admit(&a, "1", 1300, 1309), Err(ReplayError::Replayed));
        assert_eq!(guard.admit(&a, "1", 1600, 1310), Ok(()));
    }

    #[test]
    fn a_clock_that_goes_back_brings_no_assertion_back() {
        let guard = ReplayGuard::new();
        let a = client("aa");
        guard.admit(&a, "1", 1300, 1000).unwrap();
        guard.admit(&a, "2", 9999, 5000).unwrap();
        assert_eq!(guard.admit(&a, "1", 1300, 1000), Err(ReplayError::Replayed));
        assert_eq!(guard.admit(&a, "3", 1300, 1000), Err(ReplayError::Replayed));
        assert_eq!(guard.admit(&a, "2", 9999, 1000), Err(ReplayError::Replayed));
    }

    #[test]
    fn a_full_client_waits_for_its_own_assertions_to_expire() {
        let guard = ReplayGuard::new();
        let (a, b) = (client("aa"), client("bb"));
        for number in 0..LIVE_ASSERTIONS_PER_CLIENT_MAX {
            guard.admit(&a, &number.to_string(), 1300, 1000).unwrap();
        }
        assert_eq!(guard.admit(&a, "new", 1300, 1000), Err(ReplayError::Full));
        assert_eq!(guard.admit(&a, "0", 1300, 1000), Err(ReplayError::Replayed));
        assert_eq!(guard.admit(&b, "new", 1300, 1000), Ok(()));
        assert_eq!(guard.admit(&a, "new", 1600, 1310), Ok(()));
    }

    #[test]
    fn nothing_is_left_of_expired_assertions() {
        let guard = ReplayGuard::new();
        for name in ["aa", "bb", "cc"] {
            guard.admit(&client(name), "1", 1300, 1000).unwrap();
        }
        guard.admit(&client("dd"), "1", 9000, 8900).unwrap();
        let used = guard.used.lock().unwrap();
        assert_eq!(used.by_client.len(), 1);
        assert_eq!(used.by_expiry.len(), 1);
    }
}
