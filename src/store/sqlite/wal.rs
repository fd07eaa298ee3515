//! Folds what stands in the WAL into the main file behind the log's writer, so that a commit and the checks in it seldom wait
//! for that. A pass leaves what was written while it ran. Only the writer can take that in, between two transactions, and so
//! let the WAL begin anew; it is asked to once the WAL has grown, and does all by itself if nobody helps. Passes beside a
//! writer are sound from SQLite 3.51.3 on; the one that is built in is newer.

use super::{PAGE_BYTES, SqliteConnection};
use crate::behind;
use crate::store::StoreError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How much gathers for one pass: 4 MiB.
const PASS_PAGES: i64 = 4 * 1024 * 1024 / PAGE_BYTES;
/// From here on the writer takes in what a pass has left.
const REST_PAGES: i64 = 2 * PASS_PAGES;
/// From here on it does not wait for passes.
pub(super) const ALONE_PAGES: i64 = 4 * PASS_PAGES;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The thread that folds, as long as the writer's connection lives.
pub(super) struct Folding {
    /// None once the thread shall end.
    written: Option<SyncSender<()>>,
    rest_is_due: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Folding {
    /// On a connection of its own.
    pub(super) fn start(connection: SqliteConnection) -> Result<Self, StoreError> {
        let (written, hears) = sync_channel(1);
        let rest_is_due = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&rest_is_due);
        let thread = behind::spawn("wal-folding", move || run(&connection.inner, &hears, &shared));
        let thread = thread.map_err(|error| StoreError::Engine(error.to_string()))?;
        Ok(Self { written: Some(written), rest_is_due, thread: Some(thread) })
    }

    /// Something was committed.
    pub(super) fn committed(&self) {
        // A full channel has told it already.
        let _told = self.written.as_ref().map(|written| written.try_send(()));
    }

    /// Whether the writer should take in what stands in the WAL; it is asked once.
    pub(super) fn rest_is_due(&self) -> bool {
        self.rest_is_due.load(Ordering::Acquire) && self.rest_is_due.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Folding {
    fn drop(&mut self) {
        self.written = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that folds the WAL in has panicked");
        }
    }
}

fn run(connection: &rusqlite::Connection, written: &Receiver<()>, rest_is_due: &AtomicBool) {
    let mut is_well = true;
    while written.recv().is_ok() {
        match pass(connection) {
            Ok(is_due) => {
                if is_due {
                    rest_is_due.store(true, Ordering::Release);
                }
                is_well = true;
            }
            Err(error) if is_well => {
                tracing::warn!(%error, "the WAL is not folded in for now; the writer does it");
                is_well = false;
            }
            Err(_) => {}
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Folds in what is there, if it is enough; true if the writer should take in the rest.
fn pass(connection: &rusqlite::Connection) -> rusqlite::Result<bool> {
    // What stands in the WAL, and how much of it has been folded in.
    let pages = |sql| connection.query_row(sql, [], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)));
    let (there, folded) = pages("PRAGMA wal_checkpoint(NOOP)")?;
    if there - folded < PASS_PAGES {
        return Ok(false);
    }
    let (there, _) = pages("PRAGMA wal_checkpoint(PASSIVE)")?;
    Ok(there >= REST_PAGES)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::Stopwatch;
    use crate::domain::Timestamp;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{Connection, Store, Value};
    use std::path::{Path, PathBuf};

    /// About a page and a half in the WAL.
    const ROW_BYTES: usize = 16 * 1024;
    const WAITED_MAX: Duration = Duration::from_secs(20);

    fn created(directory: &Path) -> (PathBuf, Box<dyn Connection + Send>) {
        let path = directory.join("registry.db");
        SqliteStore::create(&path, "registry.example", Timestamp::EPOCH).unwrap();
        let mut writer = SqliteStore::open(&path, Timestamp::EPOCH).unwrap().writer().unwrap();
        writer.settle().unwrap();
        drop(writer);
        let mut writer = SqliteStore::open(&path, Timestamp::EPOCH).unwrap().writer().unwrap();
        writer.execute("CREATE TABLE filling (bytes BLOB)", &[]).unwrap();
        (path, writer)
    }

    fn fill(writer: &mut dyn Connection, rows: i64) {
        writer.begin().unwrap();
        for _ in 0..rows {
            let row = vec![7; ROW_BYTES];
            writer.execute("INSERT INTO filling (bytes) VALUES ($1)", &[Value::Blob(&row)]).unwrap();
        }
        writer.commit().unwrap();
    }

    /// What stands in the WAL, and how much of it has been folded in.
    fn pages(path: &Path) -> (i64, i64) {
        let connection = SqliteConnection::open(path, rusqlite::OpenFlags::default()).unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(1)?, row.get(2)?));
        connection.inner.query_row("PRAGMA wal_checkpoint(NOOP)", [], row).unwrap()
    }

    #[test]
    fn what_gathers_is_folded_in_though_the_writer_does_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (path, mut writer) = created(directory.path());
        fill(writer.as_mut(), PASS_PAGES + 1);
        let watch = Stopwatch::start();
        loop {
            let (there, folded) = pages(&path);
            assert!((PASS_PAGES..ALONE_PAGES).contains(&there), "the writer has folded {there} pages in by itself");
            if folded == there {
                break;
            }
            assert!(watch.elapsed() < WAITED_MAX, "{folded} of {there} pages are folded in");
            std::thread::sleep(LOOK_EVERY);
        }
        // So that the WAL begins anew.
        fill(writer.as_mut(), 1);
        assert!(pages(&path).0 < PASS_PAGES);
    }

    #[test]
    fn the_wal_stays_small_while_one_transaction_follows_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let (path, mut writer) = created(directory.path());
        let rows = 4;
        for _ in 0..4 * ALONE_PAGES / rows {
            fill(writer.as_mut(), rows);
        }
        let bytes = std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
        let bytes_max = u64::try_from((ALONE_PAGES + 8 * rows) * PAGE_BYTES).unwrap();
        assert!(bytes <= bytes_max, "the WAL had {bytes} bytes");
    }

    #[test]
    fn after_a_clean_end_all_is_in_the_main_file_and_nobody_folds_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let (path, mut writer) = created(directory.path());
        fill(writer.as_mut(), PASS_PAGES + 1);
        writer.settle().unwrap();
        assert_eq!(std::fs::metadata(path.with_extension("db-wal")).unwrap().len(), 0);
        drop(writer);
        assert!(!path.with_extension("db-wal").exists());
    }
}
