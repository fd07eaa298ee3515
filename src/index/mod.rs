//! The list in memory: from a subject's keyed hash to the flags that answer for it. Readers take no lock and never wait.
//! It holds no subject in clear, and nothing changes it but `insert` (at start-up, from the store) and `publish` (a
//! committed change), which build the same records.

mod filter;
mod load;
mod record;

use crate::clock::Stopwatch;
use crate::domain::{
    Category, Change, Flag, FlagId, ListedFlag, Subject, SubjectHash, SubjectHasher, SubjectKind, Timestamp, Verdict,
};
use crate::store::{self, Store, StoreError};
use arc_swap::ArcSwapOption;
use filter::Filter;
use record::{RecordRef, key_of, records_in, write_record};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// With 10 million flags a shard holds about twenty, and a change copies about two kilobytes.
const SHARD_BITS: u32 = 19;
const SHARDS: usize = 1 << SHARD_BITS;
/// Flags shown for one subject, the weightiest first; an entry of the log must hold those of sixteen subjects.
const HITS_MAX: usize = 100;

/// One flag that answers for a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub id: FlagId,
    pub version: u32,
    pub verdict: Verdict,
    pub category: Category,
    /// The kind of the subject that the flag is about, if it only links to this one.
    pub linked_from: Option<SubjectKind>,
    pub since: Timestamp,
    pub expires_at: Timestamp,
    pub case: String,
    pub document: Option<String>,
}

type Shard = ArcSwapOption<Box<[u8]>>;
/// Shards by their places.
type Before = HashMap<usize, Option<Arc<Box<[u8]>>>>;

pub struct Index {
    filter: Filter,
    shards: Box<[Shard]>,
    hasher: SubjectHasher,
    /// Number of the last change that is wholly in.
    version: AtomicU64,
    /// Odd while a change is being put in.
    turns: AtomicU64,
    /// While a change is being put in: what it replaces, so that nobody has to wait for it or sees half of it.
    before: ArcSwapOption<Before>,
    records: AtomicUsize,
}

impl Index {
    /// Reads every active flag from the store, on `threads` threads.
    pub fn load(store: &dyn Store, hasher: SubjectHasher, threads: usize) -> Result<Self, StoreError> {
        let watch = Stopwatch::start();
        let index = Self {
            filter: Filter::new(),
            shards: (0..SHARDS).map(|_| Shard::empty()).collect(),
            hasher,
            version: AtomicU64::new(store.find(|connection| store::changes::head(connection))?),
            turns: AtomicU64::new(0),
            before: ArcSwapOption::empty(),
            records: AtomicUsize::new(0),
        };
        load::load(&index, store, threads)?;
        tracing::info!(records = index.len(), seconds = watch.elapsed().as_secs_f64(), "index loaded");
        Ok(index)
    }

    /// Number of subjects' records; a flag has one, and one more for each linked subject.
    pub fn len(&self) -> usize {
        self.records.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn list_version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub fn hash(&self, subject: &Subject) -> SubjectHash {
        self.hasher.hash(&subject.canonical())
    }

    /// Runs `read` against one state of the list and tells which: that of the last change that is wholly in.
    pub fn at_one_version<T>(&self, read: impl Fn(&View<'_>) -> T) -> (T, u64) {
        loop {
            let turn = self.turns.load(Ordering::Acquire);
            let version = self.list_version();
            let before = if turn.is_multiple_of(2) { None } else { self.before.load_full() };
            let found = read(&View { index: self, before });
            // Otherwise changes went in or began to while it read: each time that it looks again, others have been made.
            if self.turns.load(Ordering::Acquire) == turn {
                return (found, version);
            }
        }
    }

    /// The flags that answer for a subject at a moment, the weightiest first.
    pub fn lookup(&self, hash: &SubjectHash, now: Timestamp) -> Vec<Hit> {
        self.at_one_version(|view| view.lookup(hash, now)).0
    }

    /// Puts committed changes in, in their order; `version` is the number of the last one. No two calls run at once.
    pub fn publish(&self, changes: &[&Change], version: u64) {
        self.before.store(Some(Arc::new(self.shards_before(changes))));
        self.turns.fetch_add(1, Ordering::AcqRel);
        for change in changes {
            self.apply(change);
        }
        self.version.store(version, Ordering::Release);
        self.turns.fetch_add(1, Ordering::AcqRel);
        self.before.store(None);
    }

    /// The shards that changes will replace, as they are.
    fn shards_before(&self, changes: &[&Change]) -> Before {
        changes
            .iter()
            .flat_map(|change| change.flags())
            .filter(|flag| !is_new_proposal(flag))
            .flat_map(Flag::subjects_touched)
            .filter_map(|subject| {
                let place = shard_of(key_of(&self.hash(subject)));
                Some((place, self.shards.get(place)?.load_full()))
            })
            .collect()
    }

    fn apply(&self, change: &Change) {
        for flag in change.flags() {
            if is_new_proposal(flag) {
                continue;
            }
            for subject in flag.subjects_touched() {
                self.remove(&self.hash(subject), flag.id);
            }
            if let Some(listed) = flag.listed() {
                self.insert(&listed);
            }
        }
    }

    fn insert(&self, flag: &ListedFlag<'_>) {
        self.for_each_record(flag, |hash, record| {
            self.filter.add(hash);
            if let Some(shard) = self.shard(hash) {
                shard.rcu(|old| {
                    let old = old.as_ref().map_or(&[][..], |bytes| bytes);
                    Some(Arc::new([old, record].concat().into_boxed_slice()))
                });
                self.records.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), Infallible>(())
        })
        .unwrap_or_else(|never| match never {});
    }

    /// The flag's records: one for its own subject, one for each linked subject.
    fn for_each_record<E>(
        &self,
        flag: &ListedFlag<'_>,
        mut each: impl FnMut(&SubjectHash, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let kind = Subject::kind_of_canonical(&flag.subject);
        let own = std::iter::once((&flag.subject, None));
        let mut record = Vec::with_capacity(256);
        for (subject, linked_from) in own.chain(flag.linked.iter().map(|linked| (linked, kind))) {
            let hash = self.hasher.hash(subject);
            record.clear();
            write_record(&mut record, &hash, flag, linked_from);
            each(&hash, &record)?;
        }
        Ok(())
    }

    fn remove(&self, hash: &SubjectHash, id: FlagId) {
        let Some(shard) = self.shard(hash) else { return };
        let key = key_of(hash);
        let mut removed = 0;
        shard.rcu(|old| {
            let old = old.as_ref()?;
            let is_it = |record: &RecordRef<'_>| record.key == key && record.flag_id() == Some(id);
            removed = records_in(old).filter(is_it).count();
            let kept: Vec<&[u8]> = records_in(old).filter(|record| !is_it(record)).map(|record| record.bytes).collect();
            (!kept.is_empty()).then(|| Arc::new(kept.concat().into_boxed_slice()))
        });
        self.records.fetch_sub(removed, Ordering::Relaxed);
    }

    fn shard(&self, hash: &SubjectHash) -> Option<&Shard> {
        self.shards.get(shard_of(key_of(hash)))
    }
}

/// The list as it was when the last change was wholly in.
pub struct View<'a> {
    index: &'a Index,
    before: Option<Arc<Before>>,
}

impl View<'_> {
    /// The flags that answer for a subject at a moment, the weightiest first.
    pub fn lookup(&self, hash: &SubjectHash, now: Timestamp) -> Vec<Hit> {
        // What it lacks was never in: nothing takes a subject out of the filter.
        if !self.index.filter.may_hold(hash) {
            return Vec::new();
        }
        let place = shard_of(key_of(hash));
        if let Some(shard) = self.before.as_ref().and_then(|before| before.get(&place)) {
            return hits_in(shard.as_ref(), hash, now);
        }
        self.index.shards.get(place).map_or_else(Vec::new, |shard| hits_in(shard.load().as_ref(), hash, now))
    }
}

/// Nothing of it can be here but what a later version has put in, which then comes again.
fn is_new_proposal(flag: &Flag) -> bool {
    flag.version == 1 && flag.listed().is_none()
}

fn hits_in(shard: Option<&Arc<Box<[u8]>>>, hash: &SubjectHash, now: Timestamp) -> Vec<Hit> {
    let Some(records) = shard else { return Vec::new() };
    let key = key_of(hash);
    let mut hits: Vec<Hit> = records_in(records)
        .filter(|record| record.key == key)
        .filter_map(|record| record.hit())
        .filter(|hit| now < hit.expires_at)
        .collect();
    hits.sort_by(|a, b| b.verdict.cmp(&a.verdict).then(a.id.cmp(&b.id)));
    hits.truncate(HITS_MAX);
    hits
}

/// Which shard holds the records with a key: its first bits.
fn shard_of(key: &[u8]) -> usize {
    let place = key.first_chunk::<4>().map_or(0, |first| u32::from_be_bytes(*first) >> (u32::BITS - SHARD_BITS));
    usize::try_from(place).unwrap_or(usize::MAX)
}
