//! Files beside the database: archives of a log, and copies of the whole that are made while somebody writes. What is copied
//! is of one moment, and the writer is never made to wait for it.

use super::connection::{PAGE_BYTES, STATEMENTS_CACHED_MAX};
use super::migrations::archive_schema;
use super::{ARCHIVE_VERSION, Access, SEARCH_FILE, SEARCH_SCHEMA, SEARCH_VERSION, SqliteConnection, SqliteStore};
use crate::store::{Connection, StoreError};
use rusqlite::OpenFlags;
use rusqlite::backup::{Backup, StepResult};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// 4 MiB, then a breath, so that the disk is also there for the writer.
const PAGES_AT_ONCE: i32 = 512;
const PAUSE: Duration = Duration::from_millis(2);
const OWNER_READS_AND_WRITES: u32 = 0o600;

impl SqliteStore {
    /// Makes an empty archive.
    pub fn create_archive(path: &Path) -> Result<Box<dyn Connection + Send>, StoreError> {
        let schema = archive_schema().ok_or(StoreError::Corrupt("no schema of an archive"))?;
        create(path, ARCHIVE_VERSION, &schema)
    }

    /// Makes an empty search index beside a database that was copied.
    pub fn create_search(database: &Path) -> Result<Box<dyn Connection + Send>, StoreError> {
        create(&Self::search_of(database), SEARCH_VERSION, SEARCH_SCHEMA)
    }

    /// Where the search index of a database lies.
    pub fn search_of(database: &Path) -> PathBuf {
        database.with_file_name(SEARCH_FILE)
    }

    /// Does `work` with the search index of a database, which a server may be writing to; without one if there is none.
    pub fn with_search<T>(
        database: &Path,
        work: impl FnOnce(Option<&mut dyn Connection>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let path = Self::search_of(database);
        if !path.exists() {
            return work(None);
        }
        let before = written(&path)?;
        let store = Self::unchecked_copy(&path);
        let mut connection = store.open_reader()?;
        if !connection.is_of(SEARCH_VERSION) {
            return Err(StoreError::Engine("it is damaged, or of another version".to_owned()));
        }
        let done = work(Some(&mut connection))?;
        store.must_be_as(before)?;
        Ok(done)
    }

    /// A connection of its own that only reads.
    pub fn reader(&self) -> Result<Box<dyn Connection + Send>, StoreError> {
        Ok(Box::new(self.open_reader()?))
    }

    /// Copies a database, which a server may be writing to, into a new file. `progress` is told the pages that are copied, and
    /// all there are.
    pub fn back_up(from: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
        if to.exists() {
            return Err(StoreError::Engine(format!("{} exists already", to.display())));
        }
        let before = written(from)?;
        // Nothing is written to the source: it may be evidence, or lie on a read-only medium.
        let store = Self::open_copy(from)?;
        let mut source = store.open_reader()?;
        // A copy that does not hold on to one moment, from a first read on, would begin anew with every commit of the writer.
        crate::store::registry::name(&mut source)?;
        let mut target = rusqlite::Connection::open_with_flags(to, OpenFlags::default())?;
        let backup = Backup::new(&source.inner, &mut target)?;
        loop {
            let step = backup.step(PAGES_AT_ONCE)?;
            let now = backup.progress();
            let [all, left] = [now.pagecount, now.remaining].map(|pages| u64::try_from(pages).unwrap_or_default());
            progress(all.saturating_sub(left), all);
            if step == StepResult::Done {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        store.must_be_as(before)?;
        drop(backup);
        // The log proves itself; of the rest, this alone tells that no disk damaged it.
        let found: String = target.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if found == "ok" { Ok(()) } else { Err(StoreError::Engine(format!("the database is damaged: {found}"))) }
    }

    /// Without a `-wal` file nobody had the file open, and it was read without a lock: nobody may have written to it since.
    fn must_be_as(&self, before: (u64, SystemTime)) -> Result<(), StoreError> {
        let path = &self.path;
        if self.access == Access::LoneCopy && (has_wal(path) || written(path)? != before) {
            return Err(StoreError::Engine(format!("{}: somebody wrote to it meanwhile; do it again", path.display())));
        }
        Ok(())
    }
}

/// Makes a file with nothing but tables. It is not journaled, since only a whole one counts: the caller syncs it at the end.
fn create(path: &Path, version: i64, schema: &str) -> Result<Box<dyn Connection + Send>, StoreError> {
    // SQLite would make it for everybody to read.
    let made = std::fs::File::options().write(true).create_new(true).mode(OWNER_READS_AND_WRITES).open(path);
    made.map_err(|error| StoreError::Engine(format!("{}: {error}", path.display())))?;
    let inner = rusqlite::Connection::open_with_flags(path, OpenFlags::default())?;
    inner.pragma_update(None, "page_size", PAGE_BYTES)?;
    inner.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
    inner.pragma_update(None, "synchronous", "OFF")?;
    inner.pragma_update(None, "user_version", version)?;
    inner.set_prepared_statement_cache_capacity(STATEMENTS_CACHED_MAX);
    inner.execute_batch(schema)?;
    Ok(Box::new(SqliteConnection::from(inner)))
}

/// How long a file is and when it was last written to.
fn written(path: &Path) -> Result<(u64, SystemTime), StoreError> {
    let found = std::fs::metadata(path).and_then(|found| Ok((found.len(), found.modified()?)));
    found.map_err(|error| StoreError::Engine(format!("{}: {error}", path.display())))
}

/// Whether a database has a `-wal` file beside it, as it does while somebody has it open.
pub(super) fn has_wal(path: &Path) -> bool {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    Path::new(&wal).exists()
}

/// With SQLite's promise that nobody changes the file, so that it needs no lock and nothing beside it.
pub(super) fn immutable_uri(path: &Path) -> Result<String, StoreError> {
    let path = std::path::absolute(path).map_err(|error| StoreError::Engine(error.to_string()))?;
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' => uri.push(char::from(*byte)),
            _ if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(format!("{uri}?immutable=1"))
}
