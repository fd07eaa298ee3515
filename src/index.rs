//! The list in memory: from a subject's keyed hash to the flags that answer for it. Readers take no lock and never wait.
//! It holds no subject in clear, and nothing changes it but `insert` (at start-up, from the store) and `publish` (a
//! committed change), which build the same records.

use crate::clock::Stopwatch;
use crate::domain::{
    Category, Change, FlagId, ListedFlag, Subject, SubjectHash, SubjectHasher, SubjectKind, Timestamp, Verdict,
};
use crate::store::{self, Store, StoreError};
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// With 10 million flags a shard holds about twenty, and a change copies about two kilobytes.
const SHARD_BITS: u32 = 19;
const SHARDS: usize = 1 << SHARD_BITS;
/// Key ranges that start-up hands to its threads; many, so that none waits long for the last.
const LOAD_RANGES: u128 = 64;
/// How often a reader looks again for a moment without a change.
const READ_TRIES_MAX: usize = 8;
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

pub struct Index {
    filter: Filter,
    shards: Box<[Shard]>,
    hasher: SubjectHasher,
    /// Number of the last change that is wholly in.
    version: AtomicU64,
    /// Odd while a change is being put in.
    turns: AtomicU64,
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
            records: AtomicUsize::new(0),
        };
        if let Some((first, last)) = store.find(|connection| store::flags::id_range(connection))? {
            index.load_ranges(store, first, last, threads)?;
        }
        tracing::info!(records = index.len(), seconds = watch.elapsed().as_secs_f64(), "index loaded");
        Ok(index)
    }

    fn load_ranges(&self, store: &dyn Store, first: FlagId, last: FlagId, threads: usize) -> Result<(), StoreError> {
        let [first, last] = [first, last].map(|id| u128::from_be_bytes(*id.as_bytes()));
        let step = (last - first) / LOAD_RANGES + 1;
        let next_range = AtomicU64::new(0);
        let work = || -> Result<(), StoreError> {
            loop {
                let range = u128::from(next_range.fetch_add(1, Ordering::Relaxed));
                let start = first.saturating_add(step.saturating_mul(range));
                if range >= LOAD_RANGES || start > last {
                    return Ok(());
                }
                let end = start.saturating_add(step - 1).min(last);
                store.read(&mut |connection| {
                    let [start, end] = [start, end].map(|id| FlagId::from_bytes(id.to_be_bytes()));
                    store::flags::load_listed(connection, start, end, &mut |flag| {
                        self.insert(&flag);
                        Ok(())
                    })
                })?;
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or(Err(StoreError::Corrupt("a flag that stops the loader")))
            })
        })
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

    /// Runs `read` against one state of the list and tells which. While changes come in without a pause the state may
    /// hold, beyond all changes up to that number, some of the one being put in.
    pub fn at_one_version<T>(&self, read: impl Fn() -> T) -> (T, u64) {
        for _ in 1..READ_TRIES_MAX {
            let turn = self.turns.load(Ordering::Acquire);
            let version = self.list_version();
            if turn.is_multiple_of(2) {
                let found = read();
                if self.turns.load(Ordering::Acquire) == turn {
                    return (found, version);
                }
            }
            std::hint::spin_loop();
        }
        let version = self.list_version();
        (read(), version)
    }

    /// The flags that answer for a subject at a moment, the weightiest first.
    pub fn lookup(&self, hash: &SubjectHash, now: Timestamp) -> Vec<Hit> {
        if !self.filter.may_hold(hash) {
            return Vec::new();
        }
        let Some(shard) = self.shard(hash) else { return Vec::new() };
        let shard = shard.load();
        let Some(records) = shard.as_ref() else { return Vec::new() };
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

    /// Puts committed changes in, in their order.
    pub fn publish(&self, changes: &[(u64, Change)]) {
        let Some((last, _)) = changes.last() else { return };
        self.turns.fetch_add(1, Ordering::AcqRel);
        for (_, change) in changes {
            self.apply(change);
        }
        self.version.store(*last, Ordering::Release);
        self.turns.fetch_add(1, Ordering::AcqRel);
    }

    fn apply(&self, change: &Change) {
        for flag in change.flags() {
            for subject in std::iter::once(&flag.subject).chain(&flag.linked) {
                self.remove(&self.hash(subject), flag.id);
            }
            if let Some(listed) = flag.listed() {
                self.insert(&listed);
            }
        }
    }

    fn insert(&self, flag: &ListedFlag<'_>) {
        let kind = Subject::kind_of_canonical(&flag.subject);
        let own = std::iter::once((&flag.subject, None));
        for (subject, linked_from) in own.chain(flag.linked.iter().map(|linked| (linked, kind))) {
            let hash = self.hasher.hash(subject);
            let Some(shard) = self.shard(&hash) else { continue };
            let mut record = Vec::with_capacity(128);
            write_record(&mut record, &hash, flag, linked_from);
            self.filter.add(&hash);
            shard.rcu(|old| {
                let old = old.as_ref().map_or(&[][..], |bytes| bytes);
                Some(Arc::new([old, &record].concat().into_boxed_slice()))
            });
            self.records.fetch_add(1, Ordering::Relaxed);
        }
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
        let (first, _) = hash.as_bytes().split_first_chunk::<4>()?;
        let place = u32::from_be_bytes(*first) >> (u32::BITS - SHARD_BITS);
        self.shards.get(usize::try_from(place).ok()?)
    }
}

const KEY_BYTES: usize = 16;

/// 128 bits of the keyed hash: that two subjects share them is as likely as guessing a key.
fn key_of(hash: &SubjectHash) -> &[u8] {
    let (key, _) = hash.as_bytes().split_at_checked(KEY_BYTES).unwrap_or_default();
    key
}

/// Tells of most subjects that they are not there, with one look into a small table: a Bloom filter whose bits for a
/// subject lie in one word. A flag that goes leaves its bits; they cost a look into the shard and never an answer.
struct Filter(Box<[AtomicU64]>);

/// 16 MiB: with 10 million records about one look in thirty is in vain.
const FILTER_WORD_BITS: u32 = 21;

impl Filter {
    fn new() -> Self {
        Self((0..1_usize << FILTER_WORD_BITS).map(|_| AtomicU64::new(0)).collect())
    }

    fn add(&self, hash: &SubjectHash) {
        if let Some((word, bits)) = self.bits_of(hash) {
            word.fetch_or(bits, Ordering::AcqRel);
        }
    }

    fn may_hold(&self, hash: &SubjectHash) -> bool {
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

/// A record: length of the rest u16 · key 16 · flag id 16 · version u32 · verdict u8 · category u8 · linked-from kind u8
/// (0: none) · since and expires_at, 48 bits each · case (u16 and text) · document (u8 present, u16 and text).
fn write_record(out: &mut Vec<u8>, hash: &SubjectHash, flag: &ListedFlag<'_>, linked_from: Option<SubjectKind>) {
    let verdict = if linked_from.is_some() { flag.verdict.by_link() } else { flag.verdict };
    out.extend([0, 0]);
    out.extend_from_slice(key_of(hash));
    out.extend_from_slice(flag.id.as_bytes());
    out.extend(flag.version.to_be_bytes());
    out.extend([verdict.code(), flag.category.code(), linked_from.map_or(0, SubjectKind::code)]);
    write_time(out, flag.since);
    write_time(out, flag.expires_at);
    write_text(out, &flag.case);
    match &flag.document {
        None => out.push(0),
        Some(document) => {
            out.push(1);
            write_text(out, document);
        }
    }
    let length = u16::try_from(out.len() - 2).unwrap_or(u16::MAX);
    if let Some(place) = out.first_chunk_mut::<2>() {
        *place = length.to_be_bytes();
    }
}

/// The last moment that RFC 3339 can write needs 48 bits.
fn write_time(out: &mut Vec<u8>, time: Timestamp) {
    let [_, _, bytes @ ..] = time.as_ms().to_be_bytes();
    out.extend(bytes);
}

fn read_time([a, b, c, d, e, f]: [u8; 6]) -> Timestamp {
    Timestamp::from_ms(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
}

/// Texts of flags are limited to a few hundred bytes where they enter, far below 16 bits.
fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

struct RecordRef<'a> {
    /// The whole record, its length included.
    bytes: &'a [u8],
    key: &'a [u8],
    rest: &'a [u8],
}

fn records_in(mut bytes: &[u8]) -> impl Iterator<Item = RecordRef<'_>> {
    std::iter::from_fn(move || {
        let (length, _) = bytes.split_first_chunk::<2>()?;
        let (record, after) = bytes.split_at_checked(2 + usize::from(u16::from_be_bytes(*length)))?;
        bytes = after;
        let (key, rest) = record.get(2..)?.split_at_checked(KEY_BYTES)?;
        Some(RecordRef { bytes: record, key, rest })
    })
}

impl RecordRef<'_> {
    fn flag_id(&self) -> Option<FlagId> {
        self.rest.first_chunk::<16>().map(|id| FlagId::from_bytes(*id))
    }

    fn hit(&self) -> Option<Hit> {
        let (id, rest) = self.rest.split_first_chunk::<16>()?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let ([verdict, category, linked_from], rest) = rest.split_first_chunk::<3>()?;
        let (since, rest) = rest.split_first_chunk::<6>()?;
        let (expires_at, rest) = rest.split_first_chunk::<6>()?;
        let (case, rest) = read_text(rest)?;
        Some(Hit {
            id: FlagId::from_bytes(*id),
            version: u32::from_be_bytes(*version),
            verdict: Verdict::from_code(*verdict)?,
            category: Category::from_code(*category)?,
            linked_from: SubjectKind::from_code(*linked_from),
            since: read_time(*since),
            expires_at: read_time(*expires_at),
            case: case.to_owned(),
            document: match rest.split_first()? {
                (0, _) => None,
                (_, rest) => Some(read_text(rest)?.0.to_owned()),
            },
        })
    }
}

fn read_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}
