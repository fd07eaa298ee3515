//! The embedded driver: SQLite in WAL mode with `synchronous=FULL`, both read back at start. It refuses versions with
//! the WAL corruption bug, and it must be the only process on its data directory (the caller holds the lock file).

mod connection;
mod copies;
mod migrations;
pub mod register;
mod rows;
mod wal;

use super::{Connection, Store, StoreError, Value};
use crate::domain::Timestamp;
use connection::{STATEMENTS_CACHED_MAX, SqliteConnection, keep_statements};
use copies::{has_wal, immutable_uri};
use migrations::{MIGRATIONS, SCHEMA, applied, migrate, newest};
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
