//! The thread that builds the search index of a node's log behind its writer. It reads committed batches alone, takes its
//! time, and never makes anybody wait; when it fails, searches read more of the log. Segments of other nodes' logs are theirs
//! to make and to drop: here they are only admitted, if they are sound.

use super::super::entries_of;
use super::segment::{Draft, SEGMENT_ENTRIES, Seal};
use crate::behind;
use crate::store::log::{LogBatch, LogNumber};
use crate::store::{self, Connection, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it looks for new entries.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After an error, such as a full disk.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Between two pieces of work, so that a check that arrives meanwhile finds a processor.
const PAUSE: Duration = Duration::from_micros(500);
/// One piece of work, about: a millisecond of it.
const PIECE_ENTRIES: u64 = 2048;
const PIECE_BATCHES_MAX: u64 = 64;

/// The segments that searches may look up, each known to be of its log.
#[derive(Clone)]
pub struct Covered(Arc<Shared>);

impl Covered {
    pub(super) fn holds(&self, log: LogNumber, first_index: u64) -> bool {
        self.0.is_covered(log, first_index)
    }
}

struct Shared {
    log: LogNumber,
    /// Each by its log and its first entry.
    segments: RwLock<BTreeSet<(LogNumber, u64)>>,
    /// Entries that no segment covers, as far as the thread has looked.
    behind: AtomicU64,
    is_stopping: Mutex<bool>,
    stop: Condvar,
}

/// The search index of a node's own log, and what it knows of those of the others.
pub struct SearchIndex {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SearchIndex {
    /// Starts the thread for the log of `node`, which must have one.
    pub fn start(store: Arc<dyn Store>, node: &'static str) -> Result<Self, StoreError> {
        let (log, end) = store.find(|connection| {
            let log = store::log::find(connection, node)?.ok_or(StoreError::Corrupt("no log of the own node"))?;
            Ok((log, store::log::end(connection, log)?.0))
        })?;
        let shared = Arc::new(Shared {
            log,
            segments: RwLock::default(),
            behind: AtomicU64::new(end),
            is_stopping: Mutex::new(false),
            stop: Condvar::new(),
        });
        let builder = Builder { store, shared: Arc::clone(&shared), unsound: BTreeMap::new() };
        let thread = behind::spawn("log-search", move || builder.run());
        let thread = thread.map_err(|error| StoreError::Engine(error.to_string()))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    pub fn covered(&self) -> Covered {
        Covered(Arc::clone(&self.shared))
    }

    /// Entries that searches must read in the log itself.
    pub fn behind(&self) -> u64 {
        self.shared.behind.load(Ordering::Relaxed)
    }

    /// Ends the thread and waits for its end, which is a few milliseconds away.
    pub fn close(&self) {
        *self.shared.stopping() = true;
        self.shared.stop.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the search index has panicked");
        }
    }
}

impl Shared {
    fn stopping(&self) -> MutexGuard<'_, bool> {
        self.is_stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits; true if the thread shall end.
    fn waits(&self, time: Duration) -> bool {
        let stopping = self.stop.wait_timeout_while(self.stopping(), time, |stopping| !*stopping);
        *stopping.unwrap_or_else(PoisonError::into_inner).0
    }

    fn cover(&self, log: LogNumber, first_index: u64) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).insert((log, first_index));
    }

    fn is_covered(&self, log: LogNumber, first_index: u64) -> bool {
        self.segments.read().is_ok_and(|segments| segments.contains(&(log, first_index)))
    }
}

/// What the index says, if it can be read: what cannot is made anew from the log.
fn readable<T>(read: Result<T, StoreError>) -> Option<T> {
    read.inspect_err(|error| tracing::warn!(%error, "a segment of the search index cannot be read")).ok()
}

struct Builder {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    /// The seals of other logs' segments that were looked at and are not sound; they may be made anew.
    unsound: BTreeMap<(LogNumber, u64), Vec<u8>>,
}

/// Why the work ended.
enum Ended {
    Stopped,
    Failed(StoreError),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Builder {
    fn run(mut self) {
        loop {
            match self.build() {
                Err(Ended::Failed(error)) => {
                    tracing::warn!(%error, "the search index is not built for now; searches read the log");
                }
                Err(Ended::Stopped) | Ok(()) => return,
            }
            if self.shared.waits(RETRY_AFTER) {
                return;
            }
        }
    }

    fn build(&mut self) -> Result<(), Ended> {
        let mut connection = self.store.search_writer()?;
        let result = self.admit(connection.as_mut()).and_then(|()| self.follow(connection.as_mut()));
        if matches!(result, Err(Ended::Stopped)) {
            connection.settle()?;
        }
        result
    }

    /// Admits the segments whose seal fits the log and what they hold, one after the other, and drops the others: they are
    /// damaged, or of a log that went on otherwise.
    fn admit(&self, connection: &mut dyn Connection) -> Result<(), Ended> {
        let log = self.shared.log;
        // After an error the index may have been made anew.
        self.shared.segments.write().unwrap_or_else(PoisonError::into_inner).clear();
        for (first_index, seal) in store::search::segments(connection, log)? {
            if self
                .recomputed_seal(connection, log, first_index)?
                .is_some_and(|recomputed| recomputed.as_slice() == seal)
            {
                self.shared.cover(log, first_index);
            } else {
                tracing::warn!(first_index, "a segment of the search index is not sound; it is made anew");
                store::search::remove(connection, log, first_index)?;
            }
        }
        Ok(())
    }

    /// Admits the segments of other logs that have come, as the own ones are at the start.
    fn admit_others(&mut self, connection: &mut dyn Connection) -> Result<(), Ended> {
        let logs = self.store.find(|connection| store::log::all(connection))?;
        for (_, log) in logs.into_iter().filter(|(_, log)| *log != self.shared.log) {
            for (first_index, seal) in store::search::segments(connection, log)? {
                let is_known = self.unsound.get(&(log, first_index)) == Some(&seal);
                if is_known || self.shared.is_covered(log, first_index) {
                    continue;
                }
                let recomputed = self.recomputed_seal(connection, log, first_index)?;
                if recomputed.is_some_and(|recomputed| recomputed.as_slice() == seal) {
                    self.unsound.remove(&(log, first_index));
                    self.shared.cover(log, first_index);
                } else {
                    tracing::warn!(
                        first_index,
                        "a segment of another log's search index is not sound; the log is read"
                    );
                    self.unsound.insert((log, first_index), seal);
                }
            }
        }
        Ok(())
    }

    /// The seal that belongs to what is stored of a segment; `None` if something is missing or cannot be read.
    fn recomputed_seal(
        &self,
        connection: &mut dyn Connection,
        log: LogNumber,
        first_index: u64,
    ) -> Result<Option<[u8; 32]>, Ended> {
        let Some(last) = self.entry(log, first_index + SEGMENT_ENTRIES - 1)? else { return Ok(None) };
        let Some(summary) = readable(store::search::summary(connection, log, first_index)) else { return Ok(None) };
        let mut seal = Seal::start(first_index, &last, &summary.unwrap_or_default());
        for bucket in 0..=u8::MAX {
            let mut is_there = false;
            let read = store::search::postings(connection, log, first_index, bucket, &mut |postings| {
                is_there = true;
                seal.add(postings);
            });
            if readable(read).is_none() || !is_there {
                return Ok(None);
            }
            if bucket % 16 == 15 && self.shared.waits(PAUSE) {
                return Err(Ended::Stopped);
            }
        }
        Ok(Some(seal.finish()))
    }

    /// An entry's bytes, if the database still has it.
    fn entry(&self, log: LogNumber, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.find(|connection| {
            let mut found = None;
            let Some(head) = store::log::batch_at(connection, log, index)? else { return Ok(None) };
            let offset = usize::try_from(index - head.first_index).unwrap_or(usize::MAX);
            store::log::stream(connection, log, head.first_index, 1, &mut |batch| {
                found = entries_of(&batch.entries).nth(offset).flatten().map(<[u8]>::to_vec);
                Ok(())
            })?;
            Ok(found)
        })
    }

    /// Indexes what is there and what comes, oldest first.
    fn follow(&mut self, connection: &mut dyn Connection) -> Result<(), Ended> {
        let (mut next, _) = self.ends()?;
        loop {
            next -= next % SEGMENT_ENTRIES;
            while self.shared.is_covered(self.shared.log, next) {
                next += SEGMENT_ENTRIES;
            }
            self.segment(connection, next)?;
            next += SEGMENT_ENTRIES;
        }
    }

    /// Where the entries in the database begin and end.
    fn ends(&self) -> Result<(u64, u64), StoreError> {
        let log = self.shared.log;
        self.store.find(|connection| {
            let mut first = 0;
            store::log::stream(connection, log, 0, 1, &mut |batch| {
                first = batch.first_index;
                Ok(())
            })?;
            Ok((first, store::log::end(connection, log)?.0))
        })
    }

    /// Takes up the entries of one segment as they come, and stores it when it is whole.
    fn segment(&mut self, connection: &mut dyn Connection, first_index: u64) -> Result<(), Ended> {
        let (mut draft, mut next) = (Draft::new(first_index), first_index);
        let segment_end = first_index + SEGMENT_ENTRIES;
        let (mut last, mut at_once) = (Vec::new(), 1);
        while next < segment_end {
            let batches = self.batches(next, at_once)?;
            let has_caught_up = u64::try_from(batches.len()).unwrap_or(u64::MAX) < at_once;
            let size_max = batches.iter().map(|batch| batch.size).max().unwrap_or(1).max(1);
            at_once = (PIECE_ENTRIES / size_max).clamp(1, PIECE_BATCHES_MAX);
            for batch in batches {
                for (index, bytes) in (batch.first_index..segment_end).zip(entries_of(&batch.entries)) {
                    let bytes = bytes.ok_or(StoreError::Corrupt("a torn batch"))?;
                    if index < next {
                        continue;
                    }
                    draft.add(index, bytes).ok_or(StoreError::Corrupt("an entry that cannot be read"))?;
                    if index + 1 == segment_end {
                        last = bytes.to_vec();
                    }
                }
                next = next.max(batch.first_index + batch.size);
            }
            if has_caught_up {
                self.shared.behind.store(self.uncovered()?, Ordering::Relaxed);
                self.admit_others(connection)?;
            }
            if self.shared.waits(if has_caught_up { LOOK_EVERY } else { PAUSE }) {
                return Err(Ended::Stopped);
            }
        }
        let segment = draft.finish(&last, || std::thread::sleep(PAUSE));
        store::search::replace(connection, self.shared.log, &segment)?;
        self.shared.cover(self.shared.log, first_index);
        Ok(())
    }

    /// The batch that holds `index`, if there is one, and those after it, `at_once` in all.
    fn batches(&self, index: u64, at_once: u64) -> Result<Vec<LogBatch>, StoreError> {
        let log = self.shared.log;
        self.store.find(|connection| {
            let head = store::log::batch_at(connection, log, index)?;
            let start = head.filter(|head| head.first_index + head.size > index).map_or(index, |head| head.first_index);
            let mut batches = Vec::new();
            let at_once = u32::try_from(at_once).unwrap_or(1);
            store::log::stream(connection, log, start, at_once, &mut |batch| {
                batches.push(batch);
                Ok(())
            })?;
            Ok(batches)
        })
    }

    fn uncovered(&self) -> Result<u64, StoreError> {
        let (first, end) = self.ends()?;
        // The first segment may have lost its older entries.
        let (log, from) = (self.shared.log, first - first % SEGMENT_ENTRIES);
        let segments =
            self.shared.segments.read().map_or(0, |segments| segments.range((log, from)..=(log, u64::MAX)).count());
        let segments = u64::try_from(segments).unwrap_or(u64::MAX);
        let lost = if self.shared.is_covered(log, from) { first - from } else { 0 };
        Ok((end - first).saturating_sub(segments.saturating_mul(SEGMENT_ENTRIES).saturating_sub(lost)))
    }
}
