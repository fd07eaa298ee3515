//! The writer's connection, and its right to write where other processes reach the same database. What became of a
//! transaction that was lost is found out here, under the log's lock, and never guessed.

use crate::domain::Timestamp;
use crate::store::lease::{Asked, LEASE_MS, Lease};
use crate::store::log::LogNumber;
use crate::store::{self, Connection, Store, StoreError};
use std::sync::Arc;
use std::time::Duration;

const LEASE_LOOK_EVERY: Duration = Duration::from_millis(250);
/// A process that was killed is not heard for as long as its lease lasts; one look more, and it lives.
const LEASE_LOOKS_MAX: u64 = LEASE_MS / 250 + 4;

pub(super) struct Link {
    store: Arc<dyn Store>,
    connection: Box<dyn Connection + Send>,
    log: LogNumber,
    /// None where nobody else can reach the database.
    lease: Option<Lease>,
}

impl Link {
    /// Takes a node's log, waiting for the end of a process that was killed.
    pub(super) fn open(store: Arc<dyn Store>, node: &str) -> Result<Self, StoreError> {
        let mut connection = store.writer()?;
        if !store.is_shared() {
            let log = store::log::find_or_create(connection.as_mut(), node)?;
            return Ok(Self { store, connection, log, lease: None });
        }
        for _ in 0..LEASE_LOOKS_MAX {
            match store::lease::take(connection.as_mut(), node)? {
                Asked::Granted(lease) => return Ok(Self { store, connection, log: lease.log(), lease: Some(lease) }),
                Asked::Held { heard_ms_ago } => tracing::warn!(node, heard_ms_ago, "another process has this log"),
            }
            std::thread::sleep(LEASE_LOOK_EVERY);
        }
        Err(StoreError::Engine(format!("another process is node {node} of this registry, and lives")))
    }

    pub(super) fn log(&self) -> LogNumber {
        self.log
    }

    pub(super) fn lease(&self) -> Option<Lease> {
        self.lease
    }

    pub(super) fn is_shared(&self) -> bool {
        self.lease.is_some()
    }

    pub(super) fn connection(&mut self) -> &mut dyn Connection {
        self.connection.as_mut()
    }

    /// Begins a transaction in which nobody else can write to this log.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        self.connection.begin()?;
        match &self.lease {
            Some(lease) => lease.hold(self.connection.as_mut()),
            None => Ok(()),
        }
    }

    /// Whether a transaction that ended so may be taken up again on a new connection.
    pub(super) fn can_regain(&self, error: &StoreError) -> bool {
        self.is_shared() && matches!(error, StoreError::Lost(_) | StoreError::Undone(_))
    }

    /// Connects anew and tells where the log ends. The log's lock is taken first: a commit that was on its way has then been
    /// made, or never will be. What is found counts after a commit of one's own: one that was cut off while it waited for a
    /// standby is seen by all, and the standby may not have it.
    pub(super) fn reconnect(&mut self) -> Result<(u64, Timestamp), StoreError> {
        self.connection = self.store.writer()?;
        self.begin()?;
        let end = store::log::end(self.connection.as_mut(), self.log)?;
        self.connection.commit()?;
        Ok(end)
    }

    /// Gives the log free. For a clean end.
    pub(super) fn close(&mut self) -> Result<(), StoreError> {
        if let Some(lease) = &self.lease {
            lease.release(self.connection.as_mut())?;
        }
        self.connection.settle()
    }
}
