//! The one thread that works on imports: the oldest that needs it, until none does. After a crash it goes on after the last
//! step that is in the log.

use super::import_files::remove;
use super::import_steps::{Steps, Stop};
use super::{Error, Registry};
use crate::behind;
use crate::domain::import::{ImportState, RowKey};
use crate::domain::party::PartyId;
use crate::domain::{ImportId, Standing};
use crate::store::{self, StoreError};
use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Flags of the list that are looked through at once.
const SCAN_ROWS: u32 = 20_000;
/// Before what failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Whatever comes to this process wakes the thread; other nodes cannot, nor does one that is lost tell of it.
const IDLE_ALONE: Duration = Duration::from_secs(3600);
const IDLE_WITH_OTHERS: Duration = Duration::from_secs(5);

/// What the thread waits for.
#[derive(Default)]
pub(super) struct Signal {
    state: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Default)]
struct Wanted {
    work: bool,
    stop: bool,
}

impl Signal {
    pub(super) fn wake(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).work = true;
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stop
    }

    /// False when there will be no more work.
    fn wait(&self, time_max: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(state, time_max, |state| !state.work && !state.stop);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.work = false;
        !state.stop
    }
}

impl Registry {
    /// Removes the files that an earlier process left and that nobody needs. It waits for the disk, and nobody may be served yet.
    pub fn sweep_imports(&self) -> Result<(), Error> {
        let needed = self.needed_files()?;
        let swept = self.imports.files.sweep(&needed, self.now(), 0);
        swept.map_err(|error| Error::Internal(format!("imports: {error}")))
    }

    /// Starts the thread, which first goes on with what an earlier process left.
    pub fn start_imports(&'static self) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::Internal(format!("imports: {error}"));
        let waits = tokio::runtime::Builder::new_current_thread().build().map_err(failed)?;
        let thread = behind::spawn("imports", move || {
            let mut rest = Duration::ZERO;
            while self.imports.signal.wait(rest) {
                rest = match self.work_on_next(&waits) {
                    Ok(true) => Duration::ZERO,
                    Ok(false) => {
                        self.sweep_files();
                        if self.follower.is_some() { IDLE_WITH_OTHERS } else { IDLE_ALONE }
                    }
                    Err(Stop::Closing) => return,
                    Err(Stop::Failed(error)) => {
                        tracing::warn!(error, "an import stopped; it goes on soon");
                        RETRY_AFTER
                    }
                    Err(Stop::File(fault)) => {
                        tracing::error!(reason = fault.reason, "an import stopped for its file's sake");
                        RETRY_AFTER
                    }
                };
            }
        });
        thread.map(drop).map_err(failed)
    }

    /// Works on all imports that need it, before anybody is served. It waits for the disk.
    pub fn work_off_imports(&self) -> Result<(), Error> {
        let waits = tokio::runtime::Builder::new_current_thread().build();
        let waits = waits.map_err(|error| Error::Internal(format!("imports: {error}")))?;
        loop {
            match self.work_on_next(&waits) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(Stop::Closing) => return Err(Error::Unavailable("The registry is shutting down.")),
                Err(Stop::Failed(reason)) => return Err(Error::Internal(reason)),
                Err(Stop::File(fault)) => return Err(Error::Internal(fault.reason)),
            }
        }
    }

    fn needed_files(&self) -> Result<HashSet<ImportId>, StoreError> {
        let node = self.node;
        self.store.find(|connection| store::imports::unread_of(connection, node))
    }

    fn sweep_files(&self) {
        let swept = self.needed_files().map_err(|error| error.to_string());
        let swept = swept
            .and_then(|needed| self.imports.files.sweep_old(&needed, self.now()).map_err(|error| error.to_string()));
        if let Err(error) = swept {
            tracing::warn!(error, "files that nobody needs could not be looked for");
        }
    }

    /// Works on the oldest import that needs it; false if there is none.
    fn work_on_next(&self, waits: &tokio::runtime::Runtime) -> Result<bool, Stop> {
        let node = self.node;
        let next = self.store.find(|connection| store::imports::next_of(connection, node))?;
        let Some(import) = next else { return Ok(false) };
        let mut steps = Steps::new(self, waits, import);
        match steps.import.state {
            ImportState::Approving | ImportState::Rejecting => steps.carry_out()?,
            ImportState::Received | ImportState::Running => {
                let taken = steps.take_rows();
                if let Err(Stop::File(fault)) = taken {
                    steps.settle()?;
                    let failed = steps.import.failed(fault, self.now());
                    steps.write(failed, None, Vec::new())?;
                    steps.settle()?;
                } else {
                    taken?;
                }
                remove(&self.imports.files.of(steps.import.id));
            }
            ImportState::Done | ImportState::Failed | ImportState::Approved | ImportState::Rejected => {}
        }
        Ok(true)
    }

    /// Which of `keys` flags have that are proposed or in force and that the unit `by` sees: of the others it must not learn.
    pub(super) fn listed_among(&self, keys: &HashSet<RowKey>, by: &PartyId) -> Result<HashSet<RowKey>, Stop> {
        let (now, mut after, mut listed) = (self.now(), None, HashSet::new());
        let units = self.access.units_below(by);
        let units: HashSet<&str> = units.iter().map(PartyId::as_str).collect();
        loop {
            let (mut found, mut of_others) = (Vec::new(), Vec::new());
            let mut last = None;
            self.store.read(&mut |connection| {
                last = store::flags::subjects_after(connection, after, now, SCAN_ROWS, &mut |flag| {
                    let key = RowKey::of(flag.subject, flag.case);
                    if keys.contains(&key) {
                        if units.contains(flag.unit) {
                            found.push(key);
                        } else {
                            of_others.push((flag.id, key));
                        }
                    }
                })?;
                // It may coordinate them.
                for (id, key) in of_others.drain(..) {
                    let flag = store::flags::find(connection, id)?;
                    if flag.is_some_and(|flag| self.standing_of(by, &flag) != Standing::None) {
                        found.push(key);
                    }
                }
                Ok(())
            })?;
            listed.extend(found);
            if self.imports.signal.is_stopping() {
                return Err(Stop::Closing);
            }
            match last {
                Some(last) => after = Some(last),
                None => return Ok(listed),
            }
        }
    }
}
