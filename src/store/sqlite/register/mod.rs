//! The file of the officers' view of the flags, one for each node on either engine. It is derived data: what is no such file,
//! is damaged or of another registry is made anew, and nothing in it is ever shown without a look at the store.

mod clauses;
mod cleaning;
mod counting;
mod find;
mod texts;
mod unsynced;
mod write;

pub use cleaning::{Candidates, Crowded, Live, Moments, Seen, StaleFlag};
pub use counting::{Counting, Counts, Standing};
pub use find::{Asked, Budget, Effort, Moment, Piece};
pub use write::{Covered, GoesOn, Version, WrittenPage};

use super::{STATEMENTS_CACHED_MAX, SqliteConnection};
use crate::clock::Stopwatch;
use crate::store::{Connection, StoreError};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use texts::Texts;
use unsynced::Unsynced;

pub const REGISTER_FILE: &str = "register.sqlite3";
const SCHEMA: &str = include_str!("schema.sql");
/// Of `SCHEMA`: a file of another version is made anew.
const VERSION: i64 = 5;
const READERS_KEPT_MAX: usize = 8;
/// 64 MiB in pages of KiB, negative as SQLite wants it.
const WRITER_CACHE_KIB: i64 = -65_536;
/// Subjects come in no order, so that each touches a page of its own.
const PAGE_BYTES: i64 = 4_096;
/// What goes into the file goes to the disk at once, where the log's commits may have to wait behind it.
const FOLDED_EVERY_BYTES: i64 = 1024 * 1024;
/// Readers look at the file's pages where the system has them.
const MAPPED_BYTES_MAX: i64 = 1 << 30;

pub struct RegisterFile {
    path: PathBuf,
    /// Readers hold it while they read; who makes the file anew waits for them.
    idle: RwLock<Mutex<Vec<Reader>>>,
}

/// A connection that only reads.
pub struct Reader(SqliteConnection);

/// The one connection that writes.
pub struct Writer {
    connection: SqliteConnection,
    /// Pages that are written and not yet committed.
    open_pages: u32,
    texts: Texts,
    unsynced: Unsynced,
    /// Since more was there to be put in than goes in at once.
    hurried: Stopwatch,
    /// To bring it to the disk. It is closed after the connection; readers then lose the locks that keep other processes out, as
    /// the data directory's lock does.
    main: File,
}

impl Reader {
    /// For statements that are fixed.
    pub fn connection(&mut self) -> &mut dyn Connection {
        &mut self.0
    }
}

impl RegisterFile {
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_path_buf(), idle: RwLock::default() }
    }

    /// Opens the file to write it; `None` if there is none that can be used.
    pub fn open(&self) -> Option<Writer> {
        if !self.path.exists() {
            return None;
        }
        let opened = Unsynced::beside(&self.path).and_then(|unsynced| {
            let unsynced = unsynced.ok_or(StoreError::Corrupt("a register that was not on the disk"))?;
            let connection = self.open_writer()?;
            if !connection.is_of(VERSION) {
                return Err(StoreError::Corrupt("a register of another form"));
            }
            self.writer(connection, unsynced)
        });
        match opened {
            Ok(writer) => Some(writer),
            Err(error) => {
                tracing::warn!(%error, "the officers' view cannot be used; it is made anew");
                None
            }
        }
    }

    /// Puts an empty file in place of what is there.
    pub fn create(&self, covered: &Covered) -> Result<Writer, StoreError> {
        let mut idle = self.idle.write().unwrap_or_else(PoisonError::into_inner);
        idle.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        for suffix in ["", "-wal", "-shm"] {
            let mut path = self.path.as_os_str().to_owned();
            path.push(suffix);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(&error)),
                Ok(()) | Err(_) => {}
            }
        }
        let mut unsynced = Unsynced::of(&self.path);
        unsynced.unmark()?;
        create_private(&self.path)?;
        let inner = rusqlite::Connection::open(&self.path)?;
        inner.pragma_update(None, "page_size", PAGE_BYTES)?;
        let mut connection = SqliteConnection::from(inner);
        connection.begin()?;
        connection.inner.execute_batch(SCHEMA)?;
        connection.inner.pragma_update(None, "user_version", VERSION)?;
        covered.insert(&mut connection)?;
        connection.commit()?;
        drop(connection);
        self.writer(self.open_writer()?, unsynced)
    }

    /// Whether what is there can be read. It takes a second for a million flags.
    pub fn is_sound(&self) -> bool {
        let check = |reader: &mut Reader| {
            let answer: String = reader.0.inner.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            Ok(answer == "ok" && reader.0.is_of(VERSION))
        };
        self.read(check).unwrap_or(false)
    }

    /// Lends a connection that only reads, in one state of the file.
    pub fn read<T>(&self, work: impl FnOnce(&mut Reader) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.idle.read().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut reader = match kept {
            Some(reader) => reader,
            None => self.open_reader()?,
        };
        reader.0.inner.execute_batch("BEGIN")?;
        let found = work(&mut reader)?;
        reader.0.inner.execute_batch("COMMIT")?;
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < READERS_KEPT_MAX {
            idle.push(reader);
        }
        Ok(found)
    }

    /// Closes the connections that nobody uses.
    pub fn rest(&self) {
        let idle = self.idle.read().unwrap_or_else(PoisonError::into_inner);
        idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn open_writer(&self) -> Result<SqliteConnection, StoreError> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = SqliteConnection::open(&self.path, flags)?;
        connection.inner.pragma_update(None, "cache_size", WRITER_CACHE_KIB)?;
        connection.fold_every(FOLDED_EVERY_BYTES)?;
        connection.gives_way()
    }

    fn writer(&self, connection: SqliteConnection, unsynced: Unsynced) -> Result<Writer, StoreError> {
        let main = File::open(&self.path).map_err(|error| failed(&error))?;
        Writer::of(connection, unsynced, main)
    }

    fn open_reader(&self) -> Result<Reader, StoreError> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let inner = rusqlite::Connection::open_with_flags(&self.path, flags)?;
        inner.pragma_update(None, "temp_store", "MEMORY")?;
        inner.pragma_update(None, "mmap_size", MAPPED_BYTES_MAX)?;
        inner.set_prepared_statement_cache_capacity(STATEMENTS_CACHED_MAX);
        Ok(Reader(inner.into()))
    }
}

/// For its owner alone, as the file names subjects.
fn create_private(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map(drop).map_err(|error| failed(&error))
}

fn failed(error: &std::io::Error) -> StoreError {
    StoreError::Engine(format!("{REGISTER_FILE}: {error}"))
}
