//! A table of bits before the index. It may say of a subject that is not listed that it might be; never the other way.

use crate::domain::SubjectHash;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells of most subjects that they are not there, with one look into a small table: a Bloom filter whose bits for a
/// subject lie in one word. A flag that goes leaves its bits; they cost a look into the shard and never an answer.
pub(super) struct Filter(Box<[AtomicU64]>);

/// 16 MiB: with 10 million records about one look in thirty is in vain.
const FILTER_WORD_BITS: u32 = 21;

impl Filter {
    pub(super) fn new() -> Self {
        Self((0..1_usize << FILTER_WORD_BITS).map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn add(&self, hash: &SubjectHash) {
        if let Some((word, bits)) = self.bits_of(hash) {
            word.fetch_or(bits, Ordering::AcqRel);
        }
    }

    pub(super) fn may_hold(&self, hash: &SubjectHash) -> bool {
        self.bits_of(hash).is_some_and(|(word, bits)| word.load(Ordering::Acquire) & bits == bits)
    }

    /// The word and four bits in it, from a part of the hash that neither the shard nor the key uses.
    fn bits_of(&self, hash: &SubjectHash) -> Option<(&AtomicU64, u64)> {
        let [.., a, b, c, d, e, f, g, h] = *hash.as_bytes();
        let place = u32::from_be_bytes([a, b, c, d]) >> (u32::BITS - FILTER_WORD_BITS);
        let bits = [e, f, g, h].iter().fold(0, |bits, byte| bits | 1_u64 << (byte & 63));
        Some((self.0.get(usize::try_from(place).ok()?)?, bits))
    }
}
