//! The thread that counts behind the writer. It never makes anybody wait but a request for figures, and that for a piece of
//! its work; when it fails, requests count themselves. What another node counts of its log is left to it, unless it lags.

use super::super::SEGMENT_ENTRIES;
use super::reading::{Counts, Read};
use super::{Rules, root, store as store_segment, stored};
use crate::behind;
use crate::domain::{Amount, Days, Key};
use crate::store::log::LogNumber;
use crate::store::{self, Connection, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After an error, such as a full disk.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Between two pieces of work, so that a check that arrives meanwhile finds a processor.
const PAUSE: Duration = Duration::from_micros(500);
/// One piece of work, about: a millisecond or two of it.
const PIECE_ENTRIES: u64 = 4096;
/// How far another node may be behind before its log is counted here.
const LAG_ENTRIES: u64 = 2 * SEGMENT_ENTRIES;

struct Shared {
    node: &'static str,
    counts: Mutex<Counts>,
    is_stopping: Mutex<bool>,
    stop: Condvar,
}

/// The figures of all logs, and the thread that counts the own one.
pub struct Tallies {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Tallies {
    pub fn start(store: Arc<dyn Store>, node: &'static str) -> Result<Self, StoreError> {
        let shared =
            Arc::new(Shared { node, counts: Mutex::default(), is_stopping: Mutex::new(false), stop: Condvar::new() });
        let builder = Builder { store, shared: Arc::clone(&shared), next: BTreeMap::new() };
        let thread = behind::spawn("log-tally", move || builder.run());
        let thread = thread.map_err(|error| StoreError::Engine(error.to_string()))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// What reads the figures, on a thread where waiting harms nobody.
    pub fn reader(&self) -> Reader {
        Reader(Arc::clone(&self.shared))
    }

    /// Ends the thread and waits for its end, which is a few milliseconds away.
    pub fn close(&self) {
        *self.shared.stopping() = true;
        self.shared.stop.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the statistics has panicked");
        }
    }
}

/// Reads the figures.
pub struct Reader(Arc<Shared>);

impl Reader {
    /// Hands what was counted on these days to `each`, of all logs up to their ends.
    pub fn read(
        &self,
        connection: &mut dyn Connection,
        days: Days,
        each: &mut dyn FnMut(&Key, &Amount),
    ) -> Result<Read, StoreError> {
        self.0.counts().read(connection, days, each)
    }
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> MutexGuard<'_, bool> {
        self.is_stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits; true if the thread shall end.
    fn waits(&self, time: Duration) -> bool {
        let stopping = self.stop.wait_timeout_while(self.stopping(), time, |stopping| !*stopping);
        *stopping.unwrap_or_else(PoisonError::into_inner).0
    }
}

struct Builder {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    /// Of each log the first segment that is not known to be stored.
    next: BTreeMap<LogNumber, u64>,
}

/// Whether there was anything to do.
#[derive(PartialEq, Eq)]
enum Found {
    Work,
    Nothing,
}

impl Builder {
    fn run(mut self) {
        loop {
            match self.store.search_writer() {
                Err(error) => tracing::warn!(%error, "the logs are not counted for now"),
                Ok(mut connection) => match self.build(connection.as_mut()) {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(%error, "the logs are not counted for now; requests count them"),
                },
            }
            if self.shared.waits(RETRY_AFTER) {
                return;
            }
        }
    }

    /// Counts until the thread shall end.
    fn build(&mut self, writer: &mut dyn Connection) -> Result<(), StoreError> {
        self.next.clear();
        if !self.admit(writer)? {
            return Ok(());
        }
        loop {
            let wait = if self.step(writer)? == Found::Work { PAUSE } else { LOOK_EVERY };
            if self.shared.waits(wait) {
                return writer.settle();
            }
        }
    }

    /// A piece of work in each log.
    fn step(&mut self, writer: &mut dyn Connection) -> Result<Found, StoreError> {
        let mut found = Found::Nothing;
        for (node, log) in self.store.find(|connection| store::log::all(connection))? {
            let is_own = node == self.shared.node;
            let (first, end) = self.store.find(|connection| {
                Ok((store::log::first_index(connection, log)?, store::log::end(connection, log)?.0))
            })?;
            let segment = self.next_segment(log, first)?;
            let lag = if is_own { 0 } else { LAG_ENTRIES };
            if end > segment + lag && self.work(writer, log, segment, end)? == Found::Work {
                found = Found::Work;
            }
        }
        Ok(found)
    }

    /// Drops what is to be counted anew: of all logs what was counted by the rules before and is not archived, of the own one
    /// also what does not belong to it, or is damaged. False if the thread shall end.
    fn admit(&self, writer: &mut dyn Connection) -> Result<bool, StoreError> {
        for (node, log) in self.store.find(|connection| store::log::all(connection))? {
            let is_own = node == self.shared.node;
            let (first, heads) = self.store.find(|connection| {
                Ok((store::log::first_index(connection, log)?, store::tally::heads(connection, log, 0)?))
            })?;
            for head in heads {
                let is_kept = match self.store.find(|connection| stored(connection, log, &head))? {
                    Some((_, Rules::Current)) => true,
                    Some((_, Rules::Before)) => head.first_index < first,
                    None if is_own => {
                        tracing::warn!(first_index = head.first_index, "a tally is not sound; it is dropped");
                        false
                    }
                    None => true,
                };
                if !is_kept {
                    store::tally::remove(writer, log, head.first_index)?;
                }
                if self.shared.waits(PAUSE) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The first segment that is not stored; one whose older entries are archived cannot be counted any more.
    fn next_segment(&mut self, log: LogNumber, first: u64) -> Result<u64, StoreError> {
        let known = self.next.get(&log).copied().unwrap_or(0);
        let mut next = known.max(first.next_multiple_of(SEGMENT_ENTRIES));
        for head in self.store.find(|connection| store::tally::heads(connection, log, next))? {
            if head.first_index == next {
                next += SEGMENT_ENTRIES;
            }
        }
        self.next.insert(log, next);
        Ok(next)
    }

    fn work(
        &mut self,
        writer: &mut dyn Connection,
        log: LogNumber,
        segment: u64,
        end: u64,
    ) -> Result<Found, StoreError> {
        let mut is_whole = false;
        self.store.read(&mut |connection| {
            is_whole = self.shared.counts().advance(connection, log, segment, end, PIECE_ENTRIES)?;
            Ok(())
        })?;
        if is_whole {
            let root = self.store.find(|connection| root(connection, log, segment))?;
            let mut counts = self.shared.counts();
            if let Some(tally) = counts.tally(log, segment) {
                store_segment(writer, log, segment, &root, tally)?;
            }
            counts.forget(log, segment);
        }
        let counted_all = !is_whole && self.shared.counts().next(log, segment).is_none_or(|next| next >= end);
        Ok(if counted_all { Found::Nothing } else { Found::Work })
    }
}
