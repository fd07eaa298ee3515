//! Follows what other nodes change in a shared database, tells them that this node lives, and knows how fresh the list in
//! memory is. A check is never answered from a list that may lack what was changed longer ago than `STALE_AFTER`.

use super::keeping::Keeping;
use super::publisher::Publisher;
use crate::clock::{Clock, Stopwatch};
use crate::domain::Made;
use crate::store::lease::Lease;
use crate::store::{self, Connection, Store, StoreError};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(100);
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// The promise to banks: what was changed on any node answers on every node after this long, or the node does not answer.
pub(super) const STALE_AFTER: Duration = Duration::from_secs(1);
/// A node that has not heard from the database for this long should get no requests.
pub(super) const UNREADY_AFTER: Duration = Duration::from_secs(5);

pub(super) struct Follower {
    state: Arc<State>,
    stop: SyncSender<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct State {
    started: Stopwatch,
    clock: Arc<dyn Clock>,
    /// When the last look began that succeeded, in milliseconds after `started`.
    heard_ms: AtomicU64,
    /// The same by the clock: a machine that was suspended has a stopwatch that stood still.
    heard_at_ms: AtomicU64,
    /// What this node has told cannot be made true any more: its process must end.
    is_over: AtomicBool,
}

struct Following {
    store: Arc<dyn Store>,
    publisher: Arc<Publisher>,
    keeping: Keeping,
    lease: Lease,
    state: Arc<State>,
    /// For heartbeats; none while the database is gone.
    connection: Option<Box<dyn Connection + Send>>,
    is_well: bool,
}

impl Follower {
    /// Catches up with the database, then goes on following it on a thread of its own.
    pub(super) fn start(
        store: Arc<dyn Store>,
        publisher: Arc<Publisher>,
        clock: Arc<dyn Clock>,
        lease: Lease,
    ) -> Result<Self, StoreError> {
        let started = Stopwatch::start();
        let state = Arc::new(State {
            started,
            clock: Arc::clone(&clock),
            heard_ms: AtomicU64::new(0),
            heard_at_ms: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let keeping = Keeping::new(Arc::clone(&store), clock);
        let mut following =
            Following { store, publisher, keeping, lease, state: shared, connection: None, is_well: true };
        following.look()?;
        following.beat()?;
        let (stop, stopped) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("follower".to_owned())
            .spawn(move || following.run(&stopped))
            .map_err(|error| StoreError::Engine(error.to_string()))?;
        Ok(Self { state, stop, thread: Mutex::new(Some(thread)) })
    }

    /// Since when other nodes' changes may be missing here.
    pub(super) fn unheard_for(&self) -> Duration {
        self.state.unheard_for()
    }

    /// Another process has taken this node's log, the list cannot be followed from where it is here, or nobody follows it.
    pub(super) fn is_over(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        self.state.is_over.load(Ordering::Acquire) || thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    pub(super) fn stop(&self) {
        // A full channel has been told already.
        let _told = self.stop.try_send(());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the follower had stopped before");
        }
    }
}

impl State {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn unheard_for(&self) -> Duration {
        let by_stopwatch = self.now_ms().saturating_sub(self.heard_ms.load(Ordering::Acquire));
        let by_clock = self.clock.now().as_ms().saturating_sub(self.heard_at_ms.load(Ordering::Acquire));
        Duration::from_millis(by_stopwatch.max(by_clock))
    }
}

impl Following {
    fn run(mut self, stopped: &Receiver<()>) {
        let mut beaten = Stopwatch::start();
        while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            let mut done = self.look();
            if done.is_ok() && beaten.elapsed() >= BEAT_EVERY {
                done = self.beat();
                beaten = Stopwatch::start();
            }
            if done.is_ok() {
                self.keeping.look();
            }
            if self.note(done) {
                return;
            }
        }
    }

    /// Says once that the database is gone, and once that it is back; true if there is nothing left to follow.
    fn note(&mut self, done: Result<(), StoreError>) -> bool {
        match done {
            Ok(()) if self.is_well => {}
            Ok(()) => tracing::info!("the list follows the database again"),
            Err(error @ (StoreError::Fenced | StoreError::Corrupt(_))) => {
                tracing::error!(%error, "the list cannot be followed any more");
                self.state.is_over.store(true, Ordering::Release);
                return true;
            }
            Err(error) => {
                self.connection = None;
                if self.is_well {
                    tracing::error!(%error, "the list does not follow the database");
                }
                self.is_well = false;
                return false;
            }
        }
        self.is_well = true;
        false
    }

    /// Reads what was changed since the last look. What it finds was true at its beginning. A database that has taken over
    /// without the last changes would give their numbers to others, which would then be missing here for good.
    fn look(&mut self) -> Result<(), StoreError> {
        let (began_ms, began_at_ms) = (self.state.now_ms(), self.state.clock.now().as_ms());
        let known = self.publisher.known();
        let (changes, last) = self.store.find_at_once(|connection| {
            let last = store::changes::head(connection)?;
            if last < known {
                return Err(StoreError::Corrupt("fewer changes than were told before"));
            }
            let changes = if last > known { store::changes::since(connection, known, last)? } else { Vec::new() };
            Ok((changes, last))
        })?;
        self.publisher.publish(changes.into_iter().map(Made::elsewhere).collect(), last);
        self.state.heard_ms.store(began_ms, Ordering::Release);
        self.state.heard_at_ms.store(began_at_ms, Ordering::Release);
        Ok(())
    }

    fn beat(&mut self) -> Result<(), StoreError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.store.writer()?),
        };
        self.lease.beat(connection.as_mut())?;
        let live = store::lease::live(connection.as_mut())?;
        self.publisher.share_quotas(live);
        Ok(())
    }
}
