//! Which keys of a log are trusted: those given from outside, and those that a trusted key vouched for by signing the same
//! checkpoint. A key is never trusted only because an entry announces it.

use super::Fault;
use crate::log::note::VerifierKey;

pub(super) struct Trust {
    origin: String,
    keys: Vec<VerifierKey>,
    /// For each key the group it is in: keys that signed the same checkpoint stand in for each other.
    groups: Vec<usize>,
    /// The key that was announced last, until the first checkpoint after it.
    announced: Option<Announced>,
    /// The key that must sign every checkpoint of the log itself: the last announced one, or, in a source that begins later, the
    /// first that signs alone. A key that was given up is good for nothing new.
    current: Option<usize>,
    /// For each key the first index whose checkpoint was signed by it while nobody vouched for it.
    signed_from: Vec<Option<u64>>,
}

struct Announced {
    key: usize,
    /// Of how many keys before it.
    after: usize,
}

/// A log changes its key some times a year.
const KEYS_MAX: usize = 4096;
/// The group of the keys given from outside.
const TRUSTED: usize = 0;

impl Trust {
    /// `None` without keys, or with keys of several logs.
    pub(super) fn new(given: &[VerifierKey]) -> Option<Self> {
        let origin = given.first()?.name().to_owned();
        let of_one_log = given.iter().all(|key| key.name() == origin);
        let (keys, groups, signed_from) = (Vec::new(), Vec::new(), Vec::new());
        let mut trust = Self { origin, keys, groups, announced: None, current: None, signed_from };
        for key in given {
            trust.add(key.clone(), TRUSTED);
        }
        of_one_log.then_some(trust)
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Trusted or announced.
    pub(super) fn known(&self) -> &[VerifierKey] {
        &self.keys
    }

    pub(super) fn trusted(&self) -> Vec<VerifierKey> {
        let trusted = self.keys.iter().zip(&self.groups).filter(|(_, group)| **group == TRUSTED);
        trusted.map(|(key, _)| key.clone()).collect()
    }

    fn add(&mut self, key: VerifierKey, group: usize) -> usize {
        if let Some(place) = self.keys.iter().position(|known| *known == key) {
            return place;
        }
        self.keys.push(key);
        self.groups.push(group);
        self.signed_from.push(None);
        self.keys.len() - 1
    }

    /// An entry says that the log has this key from now on; `is_first` if no checkpoint stands before it, so that there is no
    /// older key to vouch: of a new log, or of one that is older than its checkpoints.
    pub(super) fn announce(&mut self, key: &str, is_first: bool) -> Result<(), Fault> {
        let key = VerifierKey::parse(key).filter(|key| key.name() == self.origin && self.keys.len() < KEYS_MAX);
        let key = key.ok_or(Fault::KeyEntry)?;
        let after = if is_first { 0 } else { self.keys.len() };
        // Each key begins in a group of its own; 0 is that of the trusted.
        let group = self.keys.len() + 1;
        let key = self.add(key, group);
        self.announced = Some(Announced { key, after });
        Ok(())
    }

    /// Takes note of who signed a checkpoint of the log itself. The first one after a change of keys needs the new key and
    /// one from before.
    pub(super) fn signed_by_log(&mut self, signed: &[usize], from: u64) -> Result<(), Fault> {
        if let Some(Announced { key, after }) = self.announced.take() {
            let by_older = after == 0 || signed.iter().any(|signer| *signer < after && *signer != key);
            if !signed.contains(&key) || !by_older {
                return Err(Fault::Rotation);
            }
            self.current = Some(key);
        }
        match (self.current, signed) {
            (Some(current), _) if !signed.contains(&current) => return Err(Fault::RetiredKey),
            (None, [alone]) => self.current = Some(*alone),
            (Some(_) | None, _) => {}
        }
        self.signed(signed, from);
        Ok(())
    }

    /// Takes note of who signed a checkpoint.
    pub(super) fn signed(&mut self, signed: &[usize], from: u64) {
        let of = |groups: &[usize], signer: &usize| groups.get(*signer).copied();
        let groups: Vec<usize> = signed.iter().filter_map(|signer| of(&self.groups, signer)).collect();
        let Some(first) = groups.iter().min().copied() else { return };
        for group in &mut self.groups {
            if groups.contains(group) {
                *group = first;
            }
        }
        for signer in signed {
            if let Some(since) = self.signed_from.get_mut(*signer) {
                since.get_or_insert(from);
            }
        }
    }

    /// The first index whose checkpoint no trusted key vouches for.
    pub(super) fn unvouched(&self) -> Option<u64> {
        let groups = self.groups.iter().zip(&self.signed_from);
        groups.filter(|(group, _)| **group != TRUSTED).filter_map(|(_, since)| *since).min()
    }
}
