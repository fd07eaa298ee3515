//! Dropping what archives hold, after they were recorded: whole parts of the log's table, and the rows left in others by and
//! by. It must never hold up a commit, nor take a row from a reader who began before its archive was there.

use super::connection::PostgresConnection;
use super::partitions::{self, Month};
use crate::domain::Timestamp;
use crate::store::archive::{self, Dropped, drop_batches, drop_tiles, tiles_begin};
use crate::store::log::{self, LogNumber};
use crate::store::{Connection, StoreError, Value};
use std::thread::sleep;
use std::time::Duration;

/// Deleted in one transaction, which takes some milliseconds.
const ROWS_AT_ONCE: u32 = 500;
/// A part is dropped when its month has been over for so long, so that no clock that lags brings it back.
const AFTER_MS: u64 = 86_400_000;
/// All who come later wait for whoever asks for a whole table: it asks for so long only, and is soon done with it.
const LIMITS: &str = "SET LOCAL lock_timeout = '100ms'; SET LOCAL statement_timeout = '2s';";
/// How often it asks for a table that others read, and how long it leaves them alone between.
const ATTEMPTS_MAX: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// Up to where the logs are in archives, as it was at one moment.
struct Sealed {
    /// Every log with the end of its last archive.
    ends: Vec<(LogNumber, u64)>,
    /// What began after this, by the database's clock, sees these archives.
    seen_from: Timestamp,
}

pub(super) fn drop_archived(connection: &mut PostgresConnection, now: Timestamp) -> Result<(), StoreError> {
    let sealed = Sealed::read(connection)?;
    let parts = partitions::months(connection)?;
    let over = Timestamp::from_ms(now.as_ms().saturating_sub(AFTER_MS));
    for month in parts {
        if month.is_over(over)? && sealed.has_all_of(connection, &month)? {
            sealed.drop_part(connection, &month)?;
        }
    }
    sealed.ends.iter().try_for_each(|(log, end)| drop_rows(connection, *log, *end))
}

impl Sealed {
    fn read(connection: &mut PostgresConnection) -> Result<Self, StoreError> {
        let mut ends = Vec::new();
        for (_, log) in log::all(connection)? {
            ends.push((log, archive::last(connection, log)?.map_or(0, |archive| archive.end())));
        }
        // Read last: the database may have recorded more by now, but no less.
        Ok(Self { ends, seen_from: connection.now()? })
    }

    /// Whether every row of a part lies in an archive: none is in the places around them, of whatever log.
    fn has_all_of(&self, connection: &mut PostgresConnection, month: &Month) -> Result<bool, StoreError> {
        let mut begin = Value::Int(i64::MIN);
        for (log, end) in &self.ends {
            if !is_empty(connection, month, begin, log.place(0)?)? {
                return Ok(false);
            }
            begin = log.place(*end)?;
        }
        is_empty(connection, month, begin, Value::Int(i64::MAX))
    }

    fn drop_part(&self, connection: &mut PostgresConnection, month: &Month) -> Result<(), StoreError> {
        let mut attempts = 1;
        loop {
            match self.try_drop_part(connection, month) {
                Err(StoreError::Undone(_)) if attempts < ATTEMPTS_MAX => {
                    connection.rollback()?;
                    attempts += 1;
                    sleep(PAUSE);
                }
                done => return done,
            }
        }
    }

    /// Nobody reads or writes the table while it is looked whether the part can go, and until it is gone.
    fn try_drop_part(&self, connection: &mut PostgresConnection, month: &Month) -> Result<(), StoreError> {
        connection.begin()?;
        partitions::hold(connection)?;
        if has_older_readers(connection, self.seen_from)? {
            return Err(StoreError::Undone("somebody has been reading since before the archive".to_owned()));
        }
        let table = month.table();
        connection.run(LIMITS)?;
        connection.run("LOCK TABLE ONLY log_batch IN ACCESS EXCLUSIVE MODE")?;
        // Another node may have dropped it while this one waited.
        if partitions::is_part(connection, month)? {
            connection.run(&format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))?;
            if self.has_all_of(connection, month)? {
                connection.run(&format!("ALTER TABLE log_batch DETACH PARTITION {table}; DROP TABLE {table};"))?;
            }
        }
        connection.commit()
    }
}

/// Whether a part has no row in these places. The time finds the part, the place is its key.
fn is_empty(
    connection: &mut PostgresConnection,
    month: &Month,
    begin: Value<'_>,
    end: Value<'_>,
) -> Result<bool, StoreError> {
    let mut is_empty = true;
    connection.query(
        "SELECT place FROM log_batch WHERE at_max >= $1 AND at_max < $2 AND place >= $3 AND place < $4 \
         ORDER BY place LIMIT 1",
        &[Value::Int(month.start_ms()?), Value::Int(month.end_ms()?), begin, end],
        &mut |_| {
            is_empty = false;
            Ok(())
        },
    )?;
    Ok(is_empty)
}

/// Whether a transaction is open that may see the time before. A table that is dropped is gone for it too, though it does not
/// see the archive.
fn has_older_readers(connection: &mut PostgresConnection, seen_from: Timestamp) -> Result<bool, StoreError> {
    let mut has = false;
    connection.query(
        "SELECT pid FROM pg_catalog.pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
         AND backend_type = 'client backend' AND EXTRACT(EPOCH FROM xact_start) * 1000 < $1::BIGINT + 1 LIMIT 1",
        &[Value::count(seen_from.as_ms())?],
        &mut |_| {
            has = true;
            Ok(())
        },
    )?;
    Ok(has)
}

fn drop_rows(connection: &mut PostgresConnection, log: LogNumber, end: u64) -> Result<(), StoreError> {
    if end == 0 {
        return Ok(());
    }
    in_steps(connection, |connection, place| drop_batches(connection, log, (place, end), ROWS_AT_ONCE))?;
    let end = tiles_begin(end);
    in_steps(connection, |connection, place| drop_tiles(connection, log, (place, end), ROWS_AT_ONCE))
}

/// Each step is a transaction of its own. Two who do it at once take turns.
fn in_steps(
    connection: &mut PostgresConnection,
    step: impl Fn(&mut PostgresConnection, u64) -> Result<Dropped, StoreError>,
) -> Result<(), StoreError> {
    let mut place = 0;
    loop {
        connection.begin()?;
        partitions::hold(connection)?;
        let dropped = step(connection, place)?;
        connection.commit()?;
        match dropped {
            Dropped::UpTo(next) => place = next,
            Dropped::All => return Ok(()),
        }
    }
}
