//! The embedded driver: SQLite in WAL mode with `synchronous=FULL`, both read back at start. It refuses versions with
//! the WAL corruption bug, and it must be the only process on its data directory (the caller holds the lock file).

mod copies;
mod migrations;
pub mod register;
mod rows;
mod wal;

use super::{Connection, Row, Statement, Store, StoreError, Value};
use crate::behind;
use crate::domain::Timestamp;
use copies::{has_wal, immutable_uri};
use migrations::{MIGRATIONS, SCHEMA, applied, migrate, newest};
use rows::SqliteRow;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use wal::{ALONE_BYTES, Folding};

/// 3.51.3: older versions can corrupt a WAL database.
const VERSION_MIN: i32 = 3_051_003;
const SEARCH_SCHEMA: &str = include_str!("../search.sql");
/// Of `SEARCH_SCHEMA`: a file of another version is made anew, without the tallies of archived entries that it may hold.
const SEARCH_VERSION: i64 = 3;
const SEARCH_FILE: &str = "search.sqlite3";
/// Says that a file is an archive, and of which form; a registry's database says 0.
const ARCHIVE_VERSION: i64 = 1;
/// A commit writes each page that it touches whole, and a step of an import touches one or more of each of a dozen trees; a busy
/// batch of entries fills a few. Smaller ones would cost more statements of the system than they save bytes.
const PAGE_BYTES: i64 = 8_192;
/// The WAL of what is built behind the log goes into its main file whenever it has so much; that of a registry, see `wal`.
const FOLDED_EVERY_BYTES: i64 = 4 * 1024 * 1024;
/// How many steps SQLite takes between two moments in which a thread behind the writer gives way: some tenths of a millisecond.
const GIVES_WAY_AFTER_STEPS: i32 = 1_000;
const STATEMENTS_CACHED_MAX: usize = 64;
const READERS_KEPT_MAX: usize = 16;
/// 64 MiB in pages of KiB, negative as SQLite wants it.
const WRITER_CACHE_KIB: i64 = -65_536;

pub struct SqliteStore {
    path: PathBuf,
    access: Access,
    idle: Mutex<Vec<SqliteConnection>>,
}

/// How the file may be touched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// This process owns it.
    Owned,
    /// Never written. What a `-wal` file beside it holds is part of it.
    Copy,
    /// Never written, nothing beside it, nobody else writes it: works on read-only media too.
    LoneCopy,
}

impl SqliteStore {
    /// Makes a new database; refuses to touch an existing file.
    pub fn create(path: &Path, registry: &str, now: Timestamp) -> Result<(), StoreError> {
        if path.exists() {
            return Err(StoreError::Engine(format!("{} exists already", path.display())));
        }
        let flags = rusqlite::OpenFlags::default();
        let mut connection = SqliteConnection::open(path, flags)?;
        connection.begin()?;
        connection.inner.execute_batch(SCHEMA)?;
        let at = Value::count(now.as_ms())?;
        for number in (1..).take(MIGRATIONS.len() + 1) {
            connection.execute(
                "INSERT INTO schema_migration (number, applied_at) VALUES ($1, $2)",
                &[Value::Int(number), at],
            )?;
        }
        connection
            .execute("INSERT INTO registry (id, name, created_at) VALUES (1, $1, $2)", &[Value::Text(registry), at])?;
        connection.execute("INSERT INTO change_head (id, number) VALUES (1, 0)", &[])?;
        connection.commit()
    }

    /// Opens an existing database and brings its schema up to date.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        if rusqlite::version_number() < VERSION_MIN {
            return Err(StoreError::Engine(format!("SQLite {} is too old", rusqlite::version())));
        }
        let store = Self { path: path.to_path_buf(), access: Access::Owned, idle: Mutex::new(Vec::new()) };
        migrate(&mut store.open_writer()?, now)?;
        store.prepare_search()?;
        Ok(store)
    }

    /// Opens a copy of a database, or an archive, to read it only. The schema of a copy must be this program's, since it is
    /// not brought up to date; that of an archive never changes.
    pub fn open_copy(path: &Path) -> Result<Self, StoreError> {
        let store = Self::unchecked_copy(path);
        let mut connection = store.open_reader()?;
        if connection.is_of(ARCHIVE_VERSION) {
            return Ok(store);
        }
        let (applied, newest) = (applied(&mut connection)?, newest()?);
        if applied != newest {
            return Err(StoreError::Engine(format!("the database has migration {applied}, this program has {newest}")));
        }
        Ok(store)
    }

    fn unchecked_copy(path: &Path) -> Self {
        let access = if has_wal(path) { Access::Copy } else { Access::LoneCopy };
        Self { path: path.to_path_buf(), access, idle: Mutex::new(Vec::new()) }
    }

    /// Whether the file says that it is an archive.
    pub fn is_archive(&self) -> Result<bool, StoreError> {
        Ok(self.open_reader()?.is_of(ARCHIVE_VERSION))
    }

    fn search_path(&self) -> PathBuf {
        Self::search_of(&self.path)
    }

    /// Sees to it that the search index can be used. What is no such index, or is damaged, is made anew: it holds nothing
    /// that cannot be made again, but for tallies of archived entries, and of those a backup has others.
    fn prepare_search(&self) -> Result<(), StoreError> {
        let usable = self.search_path().exists() && self.open_search().is_ok_and(|found| found.is_of(SEARCH_VERSION));
        if usable {
            return Ok(());
        }
        for suffix in ["", "-wal", "-shm"] {
            let path = self.path.with_file_name(format!("{SEARCH_FILE}{suffix}"));
            if path.exists() {
                std::fs::remove_file(&path).map_err(|error| StoreError::Engine(format!("{SEARCH_FILE}: {error}")))?;
            }
        }
        let mut connection = self.open_search()?;
        connection.begin()?;
        connection.inner.execute_batch(SEARCH_SCHEMA)?;
        connection.inner.pragma_update(None, "user_version", SEARCH_VERSION)?;
        connection.commit()
    }

    fn open_search(&self) -> Result<SqliteConnection, StoreError> {
        let flags = rusqlite::OpenFlags::default();
        let connection = SqliteConnection::open(&self.search_path(), flags)?;
        // Derived data is worth no wait for the disk; in WAL mode it is never torn all the same.
        connection.inner.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(connection)
    }

    fn open_writer(&self) -> Result<SqliteConnection, StoreError> {
        if self.access != Access::Owned {
            return Err(StoreError::Engine("a copy is only read".to_owned()));
        }
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = SqliteConnection::open(&self.path, flags)?;
        connection.inner.pragma_update(None, "cache_size", WRITER_CACHE_KIB)?;
        Ok(connection)
    }

    fn open_reader(&self) -> Result<SqliteConnection, StoreError> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let inner = match self.access {
            Access::Owned | Access::Copy => rusqlite::Connection::open_with_flags(&self.path, flags)?,
            Access::LoneCopy => {
                let flags = flags | rusqlite::OpenFlags::SQLITE_OPEN_URI;
                rusqlite::Connection::open_with_flags(immutable_uri(&self.path)?, flags)?
            }
        };
        inner.pragma_update(None, "temp_store", "MEMORY")?;
        keep_statements(&inner)?;
        match self.access {
            // All that is read is of one moment, even if this is no copy and somebody goes on writing.
            Access::Copy => inner.execute_batch("BEGIN")?,
            Access::LoneCopy => {}
            Access::Owned => {
                let search = self.search_path();
                if let Err(error) = inner.execute("ATTACH DATABASE $1 AS search", [search.to_string_lossy()]) {
                    tracing::warn!(%error, "the search index cannot be opened; searches read the log");
                }
            }
        }
        Ok(inner.into())
    }
}

impl Store for SqliteStore {
    fn writer(&self) -> Result<Box<dyn Connection + Send>, StoreError> {
        let mut writer = self.open_writer()?;
        writer.fold_every(ALONE_BYTES)?;
        writer.folding = Some(Folding::start(self.open_writer()?, &self.path)?);
        Ok(Box::new(writer))
    }

    fn search_writer(&self) -> Result<Box<dyn Connection + Send>, StoreError> {
        self.prepare_search()?;
        Ok(Box::new(self.open_search()?.gives_way()?))
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn keep_up(&self, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    fn drop_archived(&self, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn Connection) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let idle = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.open_reader()?,
        };
        work(&mut connection)?;
        if let Ok(mut idle) = self.idle.lock()
            && idle.len() < READERS_KEPT_MAX
        {
            idle.push(connection);
        }
        Ok(())
    }
}

struct SqliteConnection {
    /// Of a registry's writer.
    folding: Option<Folding>,
    /// Nothing has been done in the open transaction yet.
    is_fresh: bool,
    /// The open part is all that the transaction holds.
    is_part_all: bool,
    inner: rusqlite::Connection,
}

impl From<rusqlite::Connection> for SqliteConnection {
    fn from(inner: rusqlite::Connection) -> Self {
        Self { folding: None, is_fresh: false, is_part_all: false, inner }
    }
}

impl SqliteConnection {
    fn open(path: &Path, flags: rusqlite::OpenFlags) -> Result<Self, StoreError> {
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
    fn gives_way(mut self) -> Result<Self, StoreError> {
        let never_ends_it = || {
            behind::give_way();
            false
        };
        self.inner.progress_handler(GIVES_WAY_AFTER_STEPS, Some(never_ends_it))?;
        Ok(self)
    }

    /// A database keeps the pages that it was made with.
    fn page_bytes(&self) -> Result<i64, StoreError> {
        Ok(self.inner.query_row("PRAGMA page_size", [], |row| row.get(0))?)
    }

    /// A commit after which the WAL has so much takes it into the main file.
    fn fold_every(&self, bytes: i64) -> Result<(), StoreError> {
        Ok(self.inner.pragma_update(None, "wal_autocheckpoint", bytes / self.page_bytes()?)?)
    }

    /// Whether all that stands in the WAL is in the main file.
    fn is_folded(&self) -> Result<bool, StoreError> {
        let pages = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        let (there, folded) = self.inner.query_row("PRAGMA wal_checkpoint(NOOP)", [], pages)?;
        Ok(there == folded)
    }

    /// Whether the file says that it is of a form, such as a search index or an archive.
    fn is_of(&self, form: i64) -> bool {
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
fn keep_statements(connection: &rusqlite::Connection) -> Result<(), StoreError> {
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED_MAX);
    Ok(())
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) {
            return Self::Corrupt("pages that SQLite cannot read");
        }
        Self::Engine(error.to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use rusqlite::StatementStatus::RePrepare;
    use std::fs;

    /// A database with one row that stands in the `-wal` file alone, and the writer that keeps it there.
    fn unsettled(directory: &Path) -> Box<dyn Connection + Send> {
        let path = directory.join("registry.db");
        SqliteStore::create(&path, "registry.example", Timestamp::EPOCH).unwrap();
        let mut writer = SqliteStore::open(&path, Timestamp::EPOCH).unwrap().writer().unwrap();
        writer.settle().unwrap();
        writer.begin().unwrap();
        writer.execute("INSERT INTO log (node, number) VALUES ($1, 0)", &[Value::Text("main")]).unwrap();
        writer.commit().unwrap();
        writer
    }

    fn logs(store: &dyn Store) -> i64 {
        let count = |connection: &mut dyn Connection| {
            let mut found = 0;
            connection.query("SELECT COUNT(*) FROM log", &[], &mut |row| {
                found = row.int(0)?;
                Ok(())
            })?;
            Ok(found)
        };
        store.find(count).unwrap()
    }

    fn names(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn no_statement_is_prepared_anew_for_another_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        SqliteStore::create(&path, "registry.example", Timestamp::EPOCH).unwrap();
        let store = SqliteStore::open(&path, Timestamp::EPOCH).unwrap();
        for mut connection in [store.open_writer().unwrap(), store.open_reader().unwrap()] {
            let sql = "SELECT number FROM log WHERE node > $1 ORDER BY node LIMIT $2";
            for rows_max in 1..=3 {
                connection.query(sql, &[Value::Text("main"), Value::Int(rows_max)], &mut |_| Ok(())).unwrap();
            }
            assert_eq!(connection.inner.prepare_cached(sql).unwrap().get_status(RePrepare), 0);
        }
    }

    #[test]
    fn a_copy_is_read_with_its_wal_and_not_changed() {
        let (live, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let writer = unsettled(live.path());
        let copy = copies.path().join("a copy?.db");
        fs::copy(live.path().join("registry.db"), &copy).unwrap();
        let before = fs::read(&copy).unwrap();
        assert_eq!(logs(&SqliteStore::open_copy(&copy).unwrap()), 0);
        assert_eq!(names(copies.path()), ["a copy?.db"], "nothing is made beside a lone copy");
        let wal = copies.path().join("a copy?.db-wal");
        fs::copy(live.path().join("registry.db-wal"), &wal).unwrap();
        let wal_before = fs::read(&wal).unwrap();
        let store = SqliteStore::open_copy(&copy).unwrap();
        assert_eq!(logs(&store), 1);
        assert!(store.writer().is_err());
        drop(store);
        assert_eq!((fs::read(&copy).unwrap(), fs::read(&wal).unwrap()), (before, wal_before));
        drop(writer);
    }

    #[test]
    fn what_is_no_database_or_of_another_version_is_not_opened_as_a_copy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("other");
        assert!(SqliteStore::open_copy(&path).is_err());
        fs::write(&path, "not a database at all, but longer than a header of SQLite".repeat(20)).unwrap();
        assert!(SqliteStore::open_copy(&path).is_err());
        let mut writer = unsettled(directory.path());
        writer.execute("UPDATE schema_migration SET number = number + 999", &[]).unwrap();
        let refused = SqliteStore::open_copy(&directory.path().join("registry.db")).err().unwrap();
        assert!(refused.to_string().contains("migration 100"), "{refused}");
    }
}
