//! Start-up: every active flag goes from the store into the index, on several threads. Records are first gathered by
//! ranges of shards, so that then each shard is made once, in its size, instead of growing record by record.

use super::record::{RecordRef, key_of, records_in};
use super::{Index, SHARDS, shard_of};
use crate::domain::FlagId;
use crate::store::{self, Store, StoreError};
use memmap2::MmapMut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Ranges of ids that are handed to the threads; many, so that none waits long for the last.
const ID_RANGES: u128 = 64;
/// Ranges of shards. While one is made into shards its records are in memory twice.
const PARTS: usize = 128;
const SHARDS_IN_PART: usize = SHARDS / PARTS;
/// Every thread fills one of these for each part; a record is far smaller.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Records one after the other, in memory of their own: an allocator would keep it for later, and for no use.
struct Chunk {
    map: MmapMut,
    filled: usize,
}

impl Chunk {
    fn new() -> Result<Self, StoreError> {
        let map = MmapMut::map_anon(CHUNK_BYTES).map_err(|error| StoreError::Engine(error.to_string()))?;
        Ok(Self { map, filled: 0 })
    }

    /// False if there is no room left.
    fn push(&mut self, record: &[u8]) -> bool {
        let Some(place) = self.map.get_mut(self.filled..self.filled + record.len()) else { return false };
        place.copy_from_slice(record);
        self.filled += record.len();
        true
    }

    fn records(&self) -> impl Iterator<Item = RecordRef<'_>> {
        records_in(self.map.get(..self.filled).unwrap_or_default())
    }
}

pub(super) fn load(index: &Index, store: &dyn Store, threads: usize) -> Result<(), StoreError> {
    let Some((first, last)) = store.find(|connection| store::flags::id_range(connection))? else { return Ok(()) };
    let parts = Parts((0..PARTS).map(|_| Mutex::default()).collect());
    let ranges = Ranges::new(first, last);
    on_threads(threads, || gather(index, store, &ranges, &parts))?;
    let next = AtomicUsize::new(0);
    on_threads(threads, || {
        while let Some(part) = parts.0.get(next.fetch_add(1, Ordering::Relaxed)) {
            make_shards(index, &Parts::take(part)?);
        }
        Ok(())
    })
}

fn on_threads(threads: usize, work: impl Fn() -> Result<(), StoreError> + Sync) -> Result<(), StoreError> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(&work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or(Err(StoreError::Corrupt("a flag that stops the loader"))))
    })
}

/// The ids between two, cut into equal ranges that are given out one by one.
struct Ranges {
    first: u128,
    last: u128,
    step: u128,
    next: AtomicUsize,
}

impl Ranges {
    fn new(first: FlagId, last: FlagId) -> Self {
        let [first, last] = [first, last].map(|id| u128::from_be_bytes(*id.as_bytes()));
        Self { first, last, step: (last - first) / ID_RANGES + 1, next: AtomicUsize::new(0) }
    }

    fn next(&self) -> Option<(FlagId, FlagId)> {
        let place = u128::try_from(self.next.fetch_add(1, Ordering::Relaxed)).ok()?;
        let start = self.first.checked_add(self.step.checked_mul(place)?)?;
        let end = start.saturating_add(self.step - 1).min(self.last);
        (start <= self.last).then(|| (FlagId::from_bytes(start.to_be_bytes()), FlagId::from_bytes(end.to_be_bytes())))
    }
}

/// What all threads have gathered, by part.
struct Parts(Vec<Mutex<Vec<Chunk>>>);

impl Parts {
    fn put(&self, part: usize, chunk: Chunk) -> Result<(), StoreError> {
        let mut chunks = self.0.get(part).ok_or(STOPPED)?.lock().map_err(|_| STOPPED)?;
        chunks.push(chunk);
        Ok(())
    }

    fn take(part: &Mutex<Vec<Chunk>>) -> Result<Vec<Chunk>, StoreError> {
        Ok(std::mem::take(&mut *part.lock().map_err(|_| STOPPED)?))
    }
}

const STOPPED: StoreError = StoreError::Corrupt("a flag that stops another loader");

fn gather(index: &Index, store: &dyn Store, ranges: &Ranges, parts: &Parts) -> Result<(), StoreError> {
    let mut open = (0..PARTS).map(|_| Chunk::new()).collect::<Result<Vec<_>, _>>()?;
    while let Some((first, last)) = ranges.next() {
        store.read(&mut |connection| {
            store::flags::load_listed(connection, first, last, &mut |flag| {
                index.for_each_record(&flag, |hash, record| {
                    index.filter.add(hash);
                    let part = shard_of(key_of(hash)) / SHARDS_IN_PART;
                    let Some(chunk) = open.get_mut(part) else { return Err(STOPPED) };
                    if chunk.push(record) {
                        return Ok(());
                    }
                    parts.put(part, std::mem::replace(chunk, Chunk::new()?))?;
                    if chunk.push(record) { Ok(()) } else { Err(StoreError::Corrupt("a flag larger than any")) }
                })
            })
        })?;
    }
    open.into_iter().enumerate().try_for_each(|(part, chunk)| parts.put(part, chunk))
}

/// Counts first, so that each shard is allocated once, in its size.
fn make_shards(index: &Index, chunks: &[Chunk]) {
    let records = || chunks.iter().flat_map(Chunk::records);
    let mut sizes = vec![0_usize; SHARDS_IN_PART];
    let mut count = 0;
    for record in records() {
        if let Some(size) = sizes.get_mut(shard_of(record.key) % SHARDS_IN_PART) {
            *size += record.bytes.len();
        }
        count += 1;
    }
    let mut shards: Vec<Vec<u8>> = sizes.into_iter().map(Vec::with_capacity).collect();
    for record in records() {
        if let Some(shard) = shards.get_mut(shard_of(record.key) % SHARDS_IN_PART) {
            shard.extend_from_slice(record.bytes);
        }
    }
    let Some(first) = records().next().map(|record| shard_of(record.key) / SHARDS_IN_PART * SHARDS_IN_PART) else {
        return;
    };
    for (place, bytes) in index.shards.iter().skip(first).zip(shards) {
        if !bytes.is_empty() {
            place.store(Some(Arc::new(bytes.into_boxed_slice())));
        }
    }
    index.records.fetch_add(count, Ordering::Relaxed);
}
