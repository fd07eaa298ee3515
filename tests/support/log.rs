//! What a log is opened with and given in a test without a server: a key from a seed, a clock that stands, records of
//! one bank.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use canhbao::clock::ManualClock;
use canhbao::domain::party::{ClientId, PartyId};
use canhbao::domain::{
    Actor, Category, Change, Flag, FlagId, KeptAnswer, Made, Proposal, Replaces, RequestId, Source, SourceKind,
    Subject, Timestamp, Urgency, Verdict,
};
use canhbao::log::note::{SignError, Signer, VerifierKey};
use canhbao::log::{Act, Entry, Limits, Opening, Publish, Record, Signers};
use std::sync::{Arc, Mutex};

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

/// Notes which changes were published, in order.
#[derive(Clone, Default)]
pub struct Published(pub Arc<Mutex<Vec<u64>>>);

impl Publish for Published {
    fn known(&self) -> u64 {
        self.0.lock().unwrap().last().copied().unwrap_or(0)
    }

    fn publish(&mut self, changes: Vec<Made>, _: u64) {
        self.0.lock().unwrap().extend(changes.iter().map(|made| made.number));
    }
}

pub fn actor() -> Actor {
    Actor { party: PartyId::parse("970436").unwrap(), client: ClientId::parse("core-1").unwrap() }
}

pub fn entry(at_ms: u64, number: u128) -> Entry {
    Entry::new(
        Act::Check,
        Timestamp::from_ms(at_ms),
        RequestId::from_bytes(number.to_be_bytes()),
        actor().party,
        actor().client,
    )
}

pub fn reading(at_ms: u64, number: u128) -> Record {
    Record::reading(&entry(at_ms, number)).unwrap()
}

pub fn flag(id: u8) -> Flag {
    let proposal = Proposal {
        subject: Subject::from_canonical("account:970436:123456789").unwrap(),
        verdict: Verdict::Warn,
        category: Category::Mule,
        case: "C-1".to_owned(),
        reason: "test".to_owned(),
        legal_basis: None,
        expires_at: None,
        urgency: Urgency::Urgent,
        linked: Vec::new(),
        source: Source { kind: SourceKind::Police, reference: None },
        unit: None,
        coordinating: Vec::new(),
    };
    Flag::propose(FlagId::from_bytes([id; 16]), proposal, actor(), Timestamp::from_ms(1_000)).unwrap()
}

pub fn raising(id: u8, keep: Option<KeptAnswer>) -> Record {
    let change = Change::Flag { replaces: Replaces::Nothing, flag: Box::new(flag(id)) };
    Record::changing(entry(1_000, id.into()), change, keep)
}
