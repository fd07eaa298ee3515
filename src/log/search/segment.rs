//! What the index keeps of 65,536 entries: where their terms stand, which acts, verdicts and parties occur, and the seal
//! that binds it to the log it was made from. The forms are those of src/store/search.sql.

use super::super::leaf_hash;
use super::super::view::EntryView;
use super::filter::LogFilter;
use crate::domain::Verdict;
use crate::store::search::Segment;
use sha2::{Digest, Sha256};
use std::collections::HashSet;

pub const SEGMENT_ENTRIES: u64 = 65_536;
const POSTING_BYTES: usize = 10;
const TERM_BYTES: usize = 8;
const ACTS_BYTES: usize = 32;

/// The hash is keyed already, so that its beginning is as good as a hash of it.
pub(super) fn subject_term(hash: &[u8; 32]) -> u64 {
    hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

pub(super) fn flag_term(id: &[u8]) -> u64 {
    term(b'f', id)
}

pub(super) fn operator_term(operator: &[u8]) -> u64 {
    term(b'o', operator)
}

pub(super) fn client_term(client: &[u8]) -> u64 {
    term(b'c', client)
}

/// FNV-1a, and the last step of SplitMix64, since the first byte chooses the bucket. It is written to disk, so it never
/// changes. Who makes two texts collide has made searches for them slower, and nothing else.
fn term(kind: u8, bytes: &[u8]) -> u64 {
    let step = |state: u64, byte: &u8| (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut mixed = bytes.iter().fold(step(0xcbf2_9ce4_8422_2325, &kind), step);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

pub(super) fn bucket_of(term: u64) -> u8 {
    let [bucket, ..] = term.to_be_bytes();
    bucket
}

/// A segment in the making; its entries come in order.
pub(super) struct Draft {
    first_index: u64,
    /// By bucket, each term with the offset of its entry, packed into one number since they are sorted by it.
    terms: Vec<Vec<u128>>,
    acts: [u8; ACTS_BYTES],
    verdicts: u8,
    parties: HashSet<Box<[u8]>, foldhash::fast::RandomState>,
}

impl Draft {
    pub(super) fn new(first_index: u64) -> Self {
        let terms = (0..=u8::MAX).map(|_| Vec::new()).collect();
        Self { first_index, terms, acts: [0; ACTS_BYTES], verdicts: 0, parties: HashSet::default() }
    }

    /// Takes an entry up; `None` if it is none, or of another segment.
    pub(super) fn add(&mut self, index: u64, bytes: &[u8]) -> Option<()> {
        let offset = u16::try_from(index.checked_sub(self.first_index)?).ok()?;
        let entry = EntryView::read(bytes)?;
        self.put(client_term(entry.client), offset);
        if let Some(operator) = entry.operator {
            self.put(operator_term(operator), offset);
        }
        for subject in entry.subjects() {
            self.put(subject_term(subject.hash), offset);
            for flag in subject.flags() {
                self.put(flag_term(flag), offset);
            }
        }
        if let Some(byte) = self.acts.get_mut(usize::from(entry.act.code()? / 8)) {
            *byte |= 1 << (entry.act.code()? % 8);
        }
        self.verdicts |= verdict_bit(entry.verdict);
        if !self.parties.contains(entry.party) {
            self.parties.insert(entry.party.into());
        }
        Some(())
    }

    fn put(&mut self, term: u64, offset: u16) {
        if let Some(bucket) = self.terms.get_mut(usize::from(bucket_of(term))) {
            bucket.push((u128::from(term) << 16) | u128::from(offset));
        }
    }

    /// The whole segment; `last` are the bytes of its last entry. `pause` is called between pieces of the work.
    pub(super) fn finish(self, last: &[u8], pause: impl Fn()) -> Segment {
        let mut summary = self.acts.to_vec();
        summary.push(self.verdicts);
        for party in &self.parties {
            summary.push(u8::try_from(party.len()).unwrap_or(u8::MAX));
            summary.extend(party);
        }
        let mut postings = Vec::with_capacity(self.terms.len());
        for (place, mut terms) in self.terms.into_iter().enumerate() {
            terms.sort_unstable();
            terms.dedup();
            let mut bytes = Vec::with_capacity(terms.len() * POSTING_BYTES);
            for packed in terms {
                let [_, _, _, _, _, _, posting @ ..] = packed.to_be_bytes();
                bytes.extend::<[u8; POSTING_BYTES]>(posting);
            }
            postings.push(bytes);
            if place % 16 == 15 {
                pause();
            }
        }
        let mut seal = Seal::start(self.first_index, last, &summary);
        for postings in &postings {
            seal.add(postings);
            pause();
        }
        Segment { first_index: self.first_index, seal: seal.finish(), summary, postings }
    }
}

/// The hash that binds all that is kept of a segment to the entry at its end. Each part goes in with its length before it.
pub(super) struct Seal(Sha256);

impl Seal {
    /// `last` are the bytes of the segment's last entry.
    pub(super) fn start(first_index: u64, last: &[u8], summary: &[u8]) -> Self {
        let mut seal = Self(Sha256::new());
        seal.0.update(first_index.to_be_bytes());
        seal.0.update(leaf_hash(last));
        seal.add(summary);
        seal
    }

    /// The buckets' postings, in order.
    pub(super) fn add(&mut self, part: &[u8]) {
        self.0.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.0.update(part);
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

fn verdict_bit(verdict: Option<Verdict>) -> u8 {
    1 << verdict.map_or(0, Verdict::code)
}

/// Whether a segment with this summary can hold what the filter asks for; a summary that cannot be read excludes nothing.
pub(super) fn may_hold(summary: &[u8], filter: &LogFilter) -> bool {
    let Some((acts, [verdicts, parties @ ..])) = summary.split_at_checked(ACTS_BYTES) else { return true };
    let has_act = filter
        .act
        .and_then(super::super::Act::code)
        .is_none_or(|code| acts.get(usize::from(code / 8)).is_none_or(|byte| byte & (1 << (code % 8)) != 0));
    let has_verdict = filter.verdict.is_none_or(|verdict| verdicts & verdict_bit(Some(verdict)) != 0);
    let has_party = filter.party.as_ref().is_none_or(|party| names(parties, party.as_str()));
    has_act && has_verdict && has_party
}

fn names(mut parties: &[u8], party: &str) -> bool {
    while let [length, rest @ ..] = parties {
        let Some((name, rest)) = rest.split_at_checked(usize::from(*length)) else { return true };
        if name == party.as_bytes() {
            return true;
        }
        parties = rest;
    }
    false
}

/// The offsets at which a term stands, in order.
pub(super) fn offsets(postings: &[u8], term: u64) -> Vec<u16> {
    let (postings, _) = postings.as_chunks::<POSTING_BYTES>();
    let wanted = term.to_be_bytes();
    let first = postings.partition_point(|posting| posting.first_chunk::<TERM_BYTES>() < Some(&wanted));
    let from_first = postings.get(first..).unwrap_or_default().iter();
    from_first
        .take_while(|posting| posting.first_chunk::<TERM_BYTES>() == Some(&wanted))
        .filter_map(|posting| posting.last_chunk().map(|offset| u16::from_be_bytes(*offset)))
        .collect()
}
