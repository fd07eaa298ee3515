//! What a log is opened with in a test without a server: a key from a seed, and a clock that stands.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use canhbao::clock::ManualClock;
use canhbao::domain::Timestamp;
use canhbao::log::note::{SignError, Signer, VerifierKey};
use canhbao::log::{Limits, Opening, Signers};
use std::sync::Arc;

pub const ORIGIN: &str = "test.example/main";

pub struct SeedKey(Ed25519KeyPair);

impl SeedKey {
    pub fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    pub fn verifier(&self) -> VerifierKey {
        VerifierKey::new(ORIGIN, self.public_key()).unwrap()
    }
}

impl Signer for SeedKey {
    fn name(&self) -> &str {
        ORIGIN
    }

    fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(self.0.sign(message).as_ref().try_into().unwrap())
    }
}

/// Node `main` with one key.
pub fn opening(limits: Limits) -> Opening {
    opening_with(limits, 1, None)
}

/// Node `main` with the key of one seed and, after a rotation, that of another before it.
pub fn opening_with(limits: Limits, seed: u8, previous: Option<u8>) -> Opening {
    let previous: Option<Box<dyn Signer>> = match previous {
        Some(seed) => Some(Box::new(SeedKey::new(seed))),
        None => None,
    };
    Opening {
        node: "main",
        signers: Signers { current: Box::new(SeedKey::new(seed)), previous, sign_uncovered: false },
        clock: Arc::new(ManualClock::at(Timestamp::from_ms(1))),
        limits,
    }
}
