//! The officers' view of the flags, built behind the log's writer: it finds flags for lists and searches, and nothing it says
//! is shown without a look at the store. It makes nobody wait but who asks it, and those not for long.

mod builder;
mod handed;

use crate::behind;
use crate::domain::Made;
use crate::store::sqlite::register::{Reader, RegisterFile};
use crate::store::{Store, StoreError};
use builder::Builder;
use handed::Handed;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// So long a reader waits for the changes that it must not miss.
const CATCH_UP_TIME_MAX: Duration = Duration::from_millis(500);

pub struct Register {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    file: RegisterFile,
    state: Mutex<State>,
    /// Something of the state has changed.
    turn: Condvar,
}

#[derive(Default)]
struct State {
    /// All changes up to this number are in the view.
    covered: u64,
    /// There is a change of this number.
    told: u64,
    /// The last changes, as far as they were handed over.
    handed: Handed,
    /// A reader must not miss the change of this number.
    wanted: u64,
    /// A reader could not read.
    is_doubted: bool,
    is_stopping: bool,
}

impl Register {
    /// Starts the thread that builds it, in the file at `path`.
    pub fn start(store: Arc<dyn Store>, path: &Path) -> Result<Self, StoreError> {
        let shared = Shared { file: RegisterFile::at(path), state: Mutex::default(), turn: Condvar::new() };
        let shared = Arc::new(shared);
        let builder = Builder::new(store, Arc::clone(&shared));
        let thread = behind::spawn("register", move || builder.run());
        let thread = thread.map_err(|error| StoreError::Engine(error.to_string()))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// There are changes up to this number, the last of which may be given.
    pub fn tell(&self, changes: Vec<Made>, version: u64) {
        let mut state = self.shared.state();
        state.handed.put(changes);
        state.told = state.told.max(version);
        drop(state);
        self.shared.turn.notify_all();
    }

    /// All changes up to this number can be found.
    pub fn covered(&self) -> u64 {
        self.shared.state().covered
    }

    /// Reads one state of the view. It waits until the changes up to `version` are in, but not for long: while many are put in,
    /// some may be missing, and `Reader::covered` tells. Never to be called where others wait for this thread.
    pub fn read<T>(
        &self,
        version: u64,
        work: impl FnOnce(&mut Reader) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let is_behind = |state: &mut State| state.covered < version && !state.is_stopping;
        let mut state = self.shared.state();
        if state.covered < version {
            state.wanted = state.wanted.max(version);
            self.shared.turn.notify_all();
        }
        let waited = self.shared.turn.wait_timeout_while(state, CATCH_UP_TIME_MAX, is_behind);
        drop(waited);
        let found = self.shared.file.read(work);
        if found.is_err() {
            self.shared.state().is_doubted = true;
            self.shared.turn.notify_all();
        }
        found
    }

    /// Ends the thread and waits for its end.
    pub fn close(&self) {
        self.shared.state().is_stopping = true;
        self.shared.turn.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the officers' view has panicked");
        }
    }
}

impl Drop for Register {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits(&self, time: Duration, while_true: impl FnMut(&mut State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.turn.wait_timeout_while(self.state(), time, while_true);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
