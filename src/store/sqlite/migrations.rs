//! The schema of the embedded database, and what brings an older one up to it. A migration that has run is never changed.

use super::SqliteConnection;
use crate::domain::Timestamp;
use crate::store::{Connection, StoreError, Value};

pub(super) const SCHEMA: &str = include_str!("../../../schema.sql");
/// What brings a database made by an older version up to `SCHEMA`: entry k is migration k + 2.
pub(super) const MIGRATIONS: &[&str] = &[TREE];
const TREE: &str = "
CREATE TABLE log_tile (place INTEGER NOT NULL PRIMARY KEY, root BLOB NOT NULL, hashes BLOB NOT NULL) STRICT;
CREATE TABLE log_checkpoint (place INTEGER NOT NULL PRIMARY KEY, at INTEGER NOT NULL, note TEXT NOT NULL) STRICT;
CREATE TRIGGER log_tile_is_never_updated BEFORE UPDATE ON log_tile
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_tile_is_never_deleted BEFORE DELETE ON log_tile
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_checkpoint_is_never_updated BEFORE UPDATE ON log_checkpoint
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_checkpoint_is_never_deleted BEFORE DELETE ON log_checkpoint
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
";

/// Runs what is missing, each migration in a transaction of its own.
pub(super) fn migrate(connection: &mut SqliteConnection, now: Timestamp) -> Result<(), StoreError> {
    let (applied, newest) = (applied(connection)?, newest()?);
    if applied > newest {
        return Err(StoreError::Engine(format!("the database has migration {applied}, this program knows {newest}")));
    }
    for (number, sql) in (2..).zip(MIGRATIONS) {
        if number <= applied {
            continue;
        }
        connection.begin()?;
        connection.inner.execute_batch(sql)?;
        connection.execute(
            "INSERT INTO schema_migration (number, applied_at) VALUES ($1, $2)",
            &[Value::Int(number), Value::count(now.as_ms())?],
        )?;
        connection.commit()?;
    }
    Ok(())
}

pub(super) fn applied(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let mut applied = 0;
    connection.query("SELECT COALESCE(MAX(number), 0) FROM schema_migration", &[], &mut |row| {
        applied = row.int(0)?;
        Ok(())
    })?;
    Ok(applied)
}

pub(super) fn newest() -> Result<i64, StoreError> {
    i64::try_from(MIGRATIONS.len() + 1).map_err(|_| StoreError::Corrupt("too many migrations"))
}
