//! Who may write a node's log, where several processes reach one database. A process takes the log with a new epoch, and
//! holds its row in every transaction until the commit: so a second process, a paused one and a late commit of a dead
//! connection exclude each other, and no log is ever forked.

use super::log::{self, LogNumber};
use super::{Connection, StoreError, Value};

/// A process that was not heard for so long has ended, or will find that it has been replaced.
pub const LEASE_MS: u64 = 5_000;

/// The right to write a log, until another process takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    log: LogNumber,
    epoch: u64,
}

/// What asking for a log led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Granted(Lease),
    /// Another process has it, and was heard so long ago.
    Held {
        heard_ms_ago: u64,
    },
}

impl Lease {
    pub fn log(&self) -> LogNumber {
        self.log
    }

    /// Keeps every other process from writing this log until the open transaction ends.
    pub fn hold(&self, connection: &mut dyn Connection) -> Result<(), StoreError> {
        let is_held = connection.hold_log(self.log.number(), self.epoch)?;
        if is_held { Ok(()) } else { Err(StoreError::Fenced) }
    }

    /// Tells the others that this process lives.
    pub fn beat(&self, connection: &mut dyn Connection) -> Result<(), StoreError> {
        let now = connection.now()?;
        self.mark(connection, now.as_ms())
    }

    /// Gives the log free, so that the next process need not wait.
    pub fn release(&self, connection: &mut dyn Connection) -> Result<(), StoreError> {
        self.mark(connection, 0)
    }

    fn mark(&self, connection: &mut dyn Connection, heard_at: u64) -> Result<(), StoreError> {
        let rows = connection.execute(
            "UPDATE log SET heard_at = $1 WHERE number = $2 AND epoch = $3",
            &[Value::count(heard_at)?, Value::count(self.log.number())?, Value::count(self.epoch)?],
        )?;
        if rows == 1 { Ok(()) } else { Err(StoreError::Fenced) }
    }
}

/// Asks for a node's log, which is made if there is none. Where the database's clock was set back, what was heard by the old
/// time keeps nobody out: who lives is heard by the new time within a second, and the epoch keeps the log whole.
pub fn take(connection: &mut dyn Connection, node: &str) -> Result<Asked, StoreError> {
    let log = log::find_or_create(connection, node)?;
    let now = connection.now()?.as_ms();
    let mut taken = None;
    connection.query(
        "UPDATE log SET epoch = epoch + 1, heard_at = $1 \
         WHERE number = $2 AND (heard_at <= $3 OR heard_at > $4) RETURNING epoch",
        &[
            Value::count(now)?,
            Value::count(log.number())?,
            Value::count(now.saturating_sub(LEASE_MS))?,
            Value::count(now.saturating_add(LEASE_MS))?,
        ],
        &mut |row| {
            taken = Some(Lease { log, epoch: row.count(0)? });
            Ok(())
        },
    )?;
    if let Some(lease) = taken {
        return Ok(Asked::Granted(lease));
    }
    let mut heard_at = now;
    connection.query("SELECT heard_at FROM log WHERE number = $1", &[Value::count(log.number())?], &mut |row| {
        heard_at = row.count(0)?;
        Ok(())
    })?;
    Ok(Asked::Held { heard_ms_ago: now.saturating_sub(heard_at) })
}

/// After which moment and up to which one `log.heard_at` stands of a process that lives.
pub(super) fn heard_within(connection: &mut dyn Connection) -> Result<(u64, u64), StoreError> {
    let now = connection.now()?.as_ms();
    Ok((now.saturating_sub(LEASE_MS), now.saturating_add(LEASE_MS)))
}

/// How many logs have a process that was heard lately.
pub fn live(connection: &mut dyn Connection) -> Result<u64, StoreError> {
    let (from, to) = heard_within(connection)?;
    let mut live = 0;
    connection.query(
        "SELECT COUNT(*) FROM log WHERE heard_at > $1 AND heard_at <= $2",
        &[Value::count(from)?, Value::count(to)?],
        &mut |row| {
            live = row.count(0)?;
            Ok(())
        },
    )?;
    Ok(live)
}
