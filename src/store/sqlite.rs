//! The embedded driver: SQLite in WAL mode with `synchronous=FULL`, both read back at start. It refuses versions with
//! the WAL corruption bug, and it must be the only process on its data directory (the caller holds the lock file).

use super::{Connection, Row, Store, StoreError, Value};
use crate::domain::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// 3.51.3: older versions can corrupt a WAL database.
const VERSION_MIN: i32 = 3_051_003;
const SCHEMA: &str = include_str!("../../schema.sql");
const SEARCH_SCHEMA: &str = include_str!("search.sql");
/// Of `SEARCH_SCHEMA`: a file of another version is made anew.
const SEARCH_VERSION: i64 = 1;
const SEARCH_FILE: &str = "search.sqlite3";
/// What brings a database made by an older version up to `SCHEMA`: entry k is migration k + 2.
const MIGRATIONS: &[&str] = &[];
/// A batch of entries mostly fits into a page, so that a commit writes one or two of them.
const PAGE_BYTES: i64 = 16_384;
const STATEMENTS_CACHED_MAX: usize = 64;
const READERS_KEPT_MAX: usize = 16;
/// 64 MiB in pages of KiB, negative as SQLite wants it.
const WRITER_CACHE_KIB: i64 = -65_536;

pub struct SqliteStore {
    path: PathBuf,
    idle: Mutex<Vec<SqliteConnection>>,
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
        let store = Self { path: path.to_path_buf(), idle: Mutex::new(Vec::new()) };
        migrate(&mut store.open_writer()?, now)?;
        store.prepare_search()?;
        Ok(store)
    }

    /// The search index lies beside the database.
    fn search_path(&self) -> PathBuf {
        self.path.with_file_name(SEARCH_FILE)
    }

    /// Sees to it that the search index can be used. What is no such index, or is damaged, holds nothing that cannot be
    /// made again, and is made anew.
    fn prepare_search(&self) -> Result<(), StoreError> {
        let usable = self.search_path().exists() && self.open_search().is_ok_and(|found| found.is_search_index());
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
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = SqliteConnection::open(&self.path, flags)?;
        connection.inner.pragma_update(None, "cache_size", WRITER_CACHE_KIB)?;
        Ok(connection)
    }

    fn open_reader(&self) -> Result<SqliteConnection, StoreError> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let inner = rusqlite::Connection::open_with_flags(&self.path, flags)?;
        inner.pragma_update(None, "temp_store", "MEMORY")?;
        inner.set_prepared_statement_cache_capacity(STATEMENTS_CACHED_MAX);
        let search = self.search_path();
        if let Err(error) = inner.execute("ATTACH DATABASE $1 AS search", [search.to_string_lossy()]) {
            tracing::warn!(%error, "the search index cannot be opened; searches read the log");
        }
        Ok(SqliteConnection { inner })
    }
}

impl Store for SqliteStore {
    fn writer(&self) -> Result<Box<dyn Connection + Send>, StoreError> {
        Ok(Box::new(self.open_writer()?))
    }

    fn search_writer(&self) -> Result<Box<dyn Connection + Send>, StoreError> {
        self.prepare_search()?;
        Ok(Box::new(self.open_search()?))
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

/// Runs what is missing, each migration in a transaction of its own.
fn migrate(connection: &mut SqliteConnection, now: Timestamp) -> Result<(), StoreError> {
    let mut applied = 0;
    connection.query("SELECT COALESCE(MAX(number), 0) FROM schema_migration", &[], &mut |row| {
        applied = row.int(0)?;
        Ok(())
    })?;
    let newest = i64::try_from(MIGRATIONS.len() + 1).map_err(|_| StoreError::Corrupt("too many migrations"))?;
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

struct SqliteConnection {
    inner: rusqlite::Connection,
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
        inner.set_prepared_statement_cache_capacity(STATEMENTS_CACHED_MAX);
        Ok(Self { inner })
    }

    /// Whether the file is a search index of this version.
    fn is_search_index(&self) -> bool {
        let version = self.inner.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
        version.is_ok_and(|version| version == SEARCH_VERSION)
    }
}

impl Connection for SqliteConnection {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.execute("BEGIN IMMEDIATE", &[]).map(drop)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.execute("COMMIT", &[]).map(drop)
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        self.execute("ROLLBACK", &[]).map(drop)
    }

    fn begin_part(&mut self) -> Result<(), StoreError> {
        self.execute("SAVEPOINT part", &[]).map(drop)
    }

    fn keep_part(&mut self) -> Result<(), StoreError> {
        self.execute("RELEASE SAVEPOINT part", &[]).map(drop)
    }

    fn undo_part(&mut self) -> Result<(), StoreError> {
        self.execute("ROLLBACK TO SAVEPOINT part", &[])?;
        self.keep_part()
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        self.query("PRAGMA wal_checkpoint(TRUNCATE)", &[], &mut |_| Ok(()))
    }

    fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let mut statement = self.inner.prepare_cached(sql)?;
        let touched = statement.execute(rusqlite::params_from_iter(values))?;
        u64::try_from(touched).map_err(|_| StoreError::Corrupt("too many rows"))
    }

    fn query(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.inner.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            each(&SqliteRow(row))?;
        }
        Ok(())
    }
}

struct SqliteRow<'a>(&'a rusqlite::Row<'a>);

impl Row for SqliteRow<'_> {
    fn int(&self, column: usize) -> Result<i64, StoreError> {
        self.0.get_ref(column)?.as_i64().map_err(|_| StoreError::Corrupt("no integer where one belongs"))
    }

    fn optional_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        if self.0.get_ref(column)? == ValueRef::Null { Ok(None) } else { self.int(column).map(Some) }
    }

    fn text(&self, column: usize) -> Result<&str, StoreError> {
        self.0.get_ref(column)?.as_str().map_err(|_| StoreError::Corrupt("no text where one belongs"))
    }

    fn optional_text(&self, column: usize) -> Result<Option<&str>, StoreError> {
        if self.0.get_ref(column)? == ValueRef::Null { Ok(None) } else { self.text(column).map(Some) }
    }

    fn blob(&self, column: usize) -> Result<&[u8], StoreError> {
        self.0.get_ref(column)?.as_blob().map_err(|_| StoreError::Corrupt("no bytes where some belong"))
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Value::Null => ValueRef::Null,
            Value::Int(number) => ValueRef::Integer(number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error.to_string())
    }
}
