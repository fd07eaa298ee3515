//! A connection to a database of SQLite: how it is opened, and its transactions.

use super::rows::SqliteRow;
use super::wal::Folding;
use crate::behind;
use crate::domain::Timestamp;
use crate::store::{Connection, Row, Statement, StoreError, Value};
use std::path::Path;

/// A commit writes each page that it touches whole, and a step of an import touches one or more of each of a dozen trees; a busy
/// batch of entries fills a few. Smaller ones would cost more statements of the system than they save bytes.
pub(super) const PAGE_BYTES: i64 = 8_192;
/// The WAL of what is built behind the log goes into its main file whenever it has so much; that of a registry, see `wal`.
const FOLDED_EVERY_BYTES: i64 = 4 * 1024 * 1024;
/// How many steps SQLite takes between two moments in which a thread behind the writer gives way: some tenths of a millisecond.
const GIVES_WAY_AFTER_STEPS: i32 = 1_000;
pub(super) const STATEMENTS_CACHED_MAX: usize = 64;

pub(super) struct SqliteConnection {
    /// Of a registry's writer.
    pub(super) folding: Option<Folding>,
    /// Nothing has been done in the open transaction yet.
    is_fresh: bool,
    /// The open part is all that the transaction holds.
    is_part_all: bool,
    pub(super) inner: rusqlite::Connection,
}

impl From<rusqlite::Connection> for SqliteConnection {
    fn from(inner: rusqlite::Connection) -> Self {
        Self { folding: None, is_fresh: false, is_part_all: false, inner }
    }
}

impl SqliteConnection {
    pub(super) fn open(path: &Path, flags: rusqlite::OpenFlags) -> Result<Self, StoreError> {
        let inner = rusqlite::Connection::open_with_flags(path, flags)?;
        // Has an effect on a new database only.
        inner.pragma_update(None, "page_size", PAGE_BYTES)?;
        let mode: String = inner.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        inner.pragma_update(None, "synchronous", "FULL")?;
        inner.pragma_update(None, "foreign_keys", true)?;
        // The data directory is the only place that must be writable.
        inner.pragma_update(None, "temp_store", "MEMORY")?;
        let synchronous: i64 = inner.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
        if mode != "wal" || synchronous != 2 {
            return Err(StoreError::Engine(format!("journal_mode is {mode}, synchronous is {synchronous}")));
        }
        keep_statements(&inner)?;
        let connection = Self::from(inner);
        connection.fold_every(FOLDED_EVERY_BYTES)?;
        Ok(connection)
    }

    /// For what is built behind the log.
    pub(super) fn gives_way(mut self) -> Result<Self, StoreError> {
        let never_ends_it = || {
            behind::give_way();
            false
        };
        self.inner.progress_handler(GIVES_WAY_AFTER_STEPS, Some(never_ends_it))?;
        Ok(self)
    }

    /// A database keeps the pages that it was made with.
    pub(super) fn page_bytes(&self) -> Result<i64, StoreError> {
        Ok(self.inner.query_row("PRAGMA page_size", [], |row| row.get(0))?)
    }

    /// A commit after which the WAL has so much takes it into the main file.
    pub(super) fn fold_every(&self, bytes: i64) -> Result<(), StoreError> {
        Ok(self.inner.pragma_update(None, "wal_autocheckpoint", bytes / self.page_bytes()?)?)
    }

    /// Whether all that stands in the WAL is in the main file.
    pub(super) fn is_folded(&self) -> Result<bool, StoreError> {
        let pages = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        let (there, folded) = self.inner.query_row("PRAGMA wal_checkpoint(NOOP)", [], pages)?;
        Ok(there == folded)
    }

    /// Whether the file says that it is of a form, such as a search index or an archive.
    pub(super) fn is_of(&self, form: i64) -> bool {
        let version = self.inner.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
        version.is_ok_and(|version| version == form)
    }
}

impl Connection for SqliteConnection {
    fn now(&mut self) -> Result<Timestamp, StoreError> {
        let mut now = Err(StoreError::Corrupt("no clock"));
        self.query("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)", &[], &mut |row| {
            now = row.count(0).map(Timestamp::from_ms);
            Ok(())
        })?;
        now
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.execute("BEGIN IMMEDIATE", &[])?;
        self.is_fresh = true;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.execute("COMMIT", &[])?;
        self.folding.iter().for_each(Folding::committed);
        Ok(())
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        self.execute("ROLLBACK", &[]).map(drop)
    }

    /// A part that nothing precedes needs no savepoint, for whose sake SQLite copies each page before it changes it.
    fn begin_part(&mut self) -> Result<(), StoreError> {
        self.is_part_all = self.is_fresh;
        if self.is_part_all {
            return Ok(());
        }
        self.execute("SAVEPOINT part", &[]).map(drop)
    }

    fn keep_part(&mut self) -> Result<(), StoreError> {
        if std::mem::take(&mut self.is_part_all) {
            return Ok(());
        }
        self.execute("RELEASE SAVEPOINT part", &[]).map(drop)
    }

    fn undo_part(&mut self) -> Result<(), StoreError> {
        if std::mem::take(&mut self.is_part_all) {
            self.rollback()?;
            return self.begin();
        }
        self.execute("ROLLBACK TO SAVEPOINT part", &[])?;
        self.keep_part()
    }

    fn is_far(&self) -> bool {
        false
    }

    /// The transaction keeps everybody else from the whole database.
    fn hold_log(&mut self, number: u64, epoch: u64) -> Result<bool, StoreError> {
        let mut is_held = false;
        let sql = "SELECT epoch FROM log WHERE number = $1 AND epoch = $2";
        self.query(sql, &[Value::count(number)?, Value::count(epoch)?], &mut |_| {
            is_held = true;
            Ok(())
        })?;
        Ok(is_held)
    }

    fn rest(&mut self) {
        if !self.folding.as_ref().is_some_and(Folding::rest_is_due) {
            return;
        }
        // Where that fails nothing is lost: it stands in the WAL.
        if let Err(error) = self.query("PRAGMA wal_checkpoint(PASSIVE)", &[], &mut |_| Ok(())) {
            tracing::warn!(%error, "what stands in the WAL could not be taken into the main file");
        }
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        // Two cannot fold at once.
        self.folding = None;
        self.query("PRAGMA wal_checkpoint(TRUNCATE)", &[], &mut |_| Ok(()))
    }

    fn drops_later(&self) -> bool {
        false
    }

    fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        self.is_fresh = false;
        let mut statement = self.inner.prepare_cached(sql)?;
        execute(&mut statement, values)
    }

    fn execute_all(&mut self, statements: &[Statement<'_>]) -> Result<Vec<u64>, StoreError> {
        self.is_fresh = false;
        let mut touched = Vec::with_capacity(statements.len());
        for alike in statements.chunk_by(|one, next| one.sql == next.sql) {
            let Some(first) = alike.first() else { continue };
            let mut prepared = self.inner.prepare_cached(first.sql)?;
            for statement in alike {
                touched.push(execute(&mut prepared, &statement.values)?);
            }
        }
        Ok(touched)
    }

    fn query(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.is_fresh = false;
        let mut statement = self.inner.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            each(&SqliteRow(row))?;
        }
        Ok(())
    }
}

fn execute(statement: &mut rusqlite::Statement<'_>, values: &[Value<'_>]) -> Result<u64, StoreError> {
    let touched = statement.execute(rusqlite::params_from_iter(values))?;
    u64::try_from(touched).map_err(|_| StoreError::Corrupt("too many rows"))
}

/// Statements are kept as they were first prepared. Without the planner's guarantee of stable plans each one whose plan might do
/// with another value, such as a limit, would be prepared anew each time that it is run.
pub(super) fn keep_statements(connection: &rusqlite::Connection) -> Result<(), StoreError> {
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED_MAX);
    Ok(())
}
