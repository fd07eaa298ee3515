//! Takes what stands in the WAL into the main file beside the log's writer, so that no commit, and no check in it, waits for that.
//! What is written meanwhile is left, and only the writer can take that in and let the WAL begin anew, since it alone knows that
//! nothing follows: it does so as soon as nobody waits for it, so that the main file is seldom between two states. SQLite brings
//! the main file to the disk only then; most of it has been brought there before, piece by piece beside the writer. If nobody
//! helps the writer does all by itself. Passes beside a writer are sound from SQLite 3.51.3 on; the one that is built in is newer.

use super::SqliteConnection;
use crate::behind;
use crate::store::StoreError;
use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How much gathers for one pass: the main file is between two states only as long as a pass takes.
const PASS_BYTES: i64 = 4 * 1024 * 1024;
/// A pass goes to the disk in so many pieces, since a commit may have to wait there behind one of them. SQLite has readers for
/// four places in the WAL at once.
const PIECES: i64 = 4;
/// From here on the writer does not wait for passes.
pub(super) const ALONE_BYTES: i64 = 4 * PASS_BYTES;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The thread that folds, as long as the writer's connection lives.
pub(super) struct Folding {
    /// None once the thread shall end.
    written: Option<SyncSender<()>>,
    rest_is_due: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Folding {
    /// On a connection of its own to the database at `path`.
    pub(super) fn start(connection: SqliteConnection, path: &Path) -> Result<Self, StoreError> {
        let pass_pages = PASS_BYTES / connection.page_bytes()?;
        let mut idle = Vec::new();
        for _ in 1..PIECES {
            let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
            idle.push(rusqlite::Connection::open_with_flags(path, flags)?);
        }
        let main = File::open(path).map_err(|error| StoreError::Engine(format!("{}: {error}", path.display())))?;
        // Never closed: that would take away the locks that SQLite has on this file (fcntl(2)).
        let main: &'static File = Box::leak(Box::new(main));
        let (written, hears) = sync_channel(1);
        let rest_is_due = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&rest_is_due);
        let fold = Fold { connection: connection.inner, main, pass_pages, holding: VecDeque::new(), idle };
        let work = move || run(fold, &hears, &shared);
        let thread = behind::spawn("wal-folding", work).map_err(|error| StoreError::Engine(error.to_string()))?;
        Ok(Self { written: Some(written), rest_is_due, thread: Some(thread) })
    }

    /// Something was committed.
    pub(super) fn committed(&self) {
        // A full channel has told it already.
        let _told = self.written.as_ref().map(|written| written.try_send(()));
    }

    /// Whether the writer should take in what passes have left; it is asked once.
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

/// What the thread works with.
struct Fold {
    connection: rusqlite::Connection,
    main: &'static File,
    pass_pages: i64,
    /// Readers that stay where the WAL ended when a piece of a pass had gathered, the oldest first: a pass goes no further.
    holding: VecDeque<rusqlite::Connection>,
    idle: Vec<rusqlite::Connection>,
}

fn run(mut fold: Fold, written: &Receiver<()>, rest_is_due: &AtomicBool) {
    let mut is_well = true;
    while written.recv().is_ok() {
        // A reader that began to stay before the writer has rested would keep it from taking in all that there is.
        if !rest_is_due.load(Ordering::Acquire) {
            match fold.look() {
                Ok(is_due) => {
                    is_well = true;
                    rest_is_due.store(is_due, Ordering::Release);
                }
                Err(error) if is_well => {
                    tracing::warn!(%error, "the WAL is not folded in for now; the writer does it");
                    is_well = false;
                }
                Err(_) => {}
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

impl Fold {
    /// Folds in what is there, if it is enough; true if the writer should take in the rest.
    fn look(&mut self) -> Result<bool, StoreError> {
        let (there, folded) = self.pages("PRAGMA wal_checkpoint(NOOP)")?;
        if there - folded < self.pass_pages {
            self.hold(there - folded)?;
            return Ok(false);
        }
        while let Some(reader) = self.holding.pop_front() {
            let folded = self.piece();
            // One that could not be freed is closed, which frees it too.
            reader.execute_batch("COMMIT")?;
            self.idle.push(reader);
            folded?;
        }
        let (there, folded) = self.piece()?;
        // A long reader may hold it up.
        Ok(there == folded)
    }

    /// Has a reader stay here if another piece has gathered.
    fn hold(&mut self, gathered: i64) -> Result<(), StoreError> {
        let pieces = i64::try_from(self.holding.len()).unwrap_or(PIECES) + 1;
        if gathered >= pieces * self.pass_pages / PIECES
            && let Some(reader) = self.idle.pop()
        {
            // What begins a transaction is the first look.
            reader.execute_batch("BEGIN")?;
            reader.query_row("SELECT COUNT(*) FROM registry", [], |_| Ok(()))?;
            self.holding.push_back(reader);
        }
        Ok(())
    }

    fn piece(&self) -> Result<(i64, i64), StoreError> {
        let pages = self.pages("PRAGMA wal_checkpoint(PASSIVE)")?;
        self.main.sync_data().map_err(|error| StoreError::Engine(error.to_string()))?;
        Ok(pages)
    }

    /// How many pages stand in the WAL, and how many of them have been folded in.
    fn pages(&self, sql: &str) -> Result<(i64, i64), StoreError> {
        Ok(self.connection.query_row(sql, [], |row| Ok((row.get(1)?, row.get(2)?)))?)
    }
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

    const ROW_BYTES: i64 = 16 * 1024;
    /// Rows that are enough for a pass.
    const PASS_ROWS: i64 = PASS_BYTES / ROW_BYTES;
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

    /// With a writer for which no thread folds.
    fn unfolded(directory: &Path) -> (PathBuf, SqliteStore, SqliteConnection) {
        let path = directory.join("registry.db");
        SqliteStore::create(&path, "registry.example", Timestamp::EPOCH).unwrap();
        let store = SqliteStore::open(&path, Timestamp::EPOCH).unwrap();
        let mut writer = store.open_writer().unwrap();
        writer.fold_every(ALONE_BYTES).unwrap();
        writer.execute("CREATE TABLE filling (bytes BLOB)", &[]).unwrap();
        (path, store, writer)
    }

    fn fill(writer: &mut dyn Connection, rows: i64) {
        writer.begin().unwrap();
        for _ in 0..rows {
            let row = vec![7; usize::try_from(ROW_BYTES).unwrap()];
            writer.execute("INSERT INTO filling (bytes) VALUES ($1)", &[Value::Blob(&row)]).unwrap();
        }
        writer.commit().unwrap();
    }

    /// How many bytes of pages stand in the WAL, and how many of them have been folded in.
    fn bytes(path: &Path) -> (i64, i64) {
        let connection = SqliteConnection::open(path, rusqlite::OpenFlags::default()).unwrap();
        let page = connection.page_bytes().unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)? * page, row.get::<_, i64>(2)? * page));
        connection.inner.query_row("PRAGMA wal_checkpoint(NOOP)", [], row).unwrap()
    }

    #[test]
    fn what_gathers_is_folded_in_beside_the_writer_and_once_it_has_rested_the_wal_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, mut writer) = created(directory.path());
        fill(writer.as_mut(), PASS_ROWS + 1);
        let watch = Stopwatch::start();
        loop {
            let (there, folded) = bytes(&path);
            assert!((PASS_BYTES..ALONE_BYTES).contains(&there), "the writer has folded {there} bytes in by itself");
            if folded == there {
                break;
            }
            assert!(watch.elapsed() < WAITED_MAX, "{folded} of {there} bytes are folded in");
            std::thread::sleep(LOOK_EVERY);
        }
        writer.rest();
        fill(writer.as_mut(), 1);
        assert!(bytes(&path).0 < PASS_BYTES);
    }

    #[test]
    fn what_comes_while_a_pass_runs_is_taken_in_by_the_writer_when_it_rests() {
        let directory = tempfile::tempdir().unwrap();
        let (path, mut writer) = created(directory.path());
        let watch = Stopwatch::start();
        let mut before = 0;
        // Something follows each pass at once, so that without the writer's rests the WAL would never begin anew.
        loop {
            fill(writer.as_mut(), 4);
            writer.rest();
            let (there, _) = bytes(&path);
            if there < before {
                break;
            }
            before = there;
            assert!(watch.elapsed() < WAITED_MAX && there < ALONE_BYTES, "{there} bytes stand in the WAL");
        }
    }

    #[test]
    fn a_writer_that_never_rests_keeps_the_wal_small_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let (path, mut writer) = created(directory.path());
        let rows = 4;
        for _ in 0..4 * ALONE_BYTES / ROW_BYTES / rows {
            fill(writer.as_mut(), rows);
        }
        let length = std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
        assert!(length <= u64::try_from(2 * ALONE_BYTES).unwrap(), "the WAL had {length} bytes");
    }

    #[test]
    fn after_a_clean_end_all_is_in_the_main_file_and_nobody_folds_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let (path, mut writer) = created(directory.path());
        fill(writer.as_mut(), PASS_ROWS + 1);
        writer.settle().unwrap();
        assert_eq!(std::fs::metadata(path.with_extension("db-wal")).unwrap().len(), 0);
        drop(writer);
        assert!(!path.with_extension("db-wal").exists());
    }

    #[test]
    fn nobody_stays_in_the_wal_between_a_pass_and_the_writer_s_rest() {
        let directory = tempfile::tempdir().unwrap();
        let (path, store, mut writer) = unfolded(directory.path());
        writer.folding = Some(Folding::start(store.open_writer().unwrap(), &path).unwrap());
        fill(&mut writer, PASS_ROWS + 1);
        let watch = Stopwatch::start();
        while !writer.folding.as_ref().unwrap().rest_is_due.load(Ordering::Acquire) {
            assert!(watch.elapsed() < WAITED_MAX);
            std::thread::sleep(LOOK_EVERY);
        }
        // Enough for a reader to stay here, and then something after it.
        fill(&mut writer, PASS_ROWS / 2);
        std::thread::sleep(5 * LOOK_EVERY);
        fill(&mut writer, 1);
        writer.rest();
        let (there, folded) = bytes(&path);
        assert_eq!(there, folded);
    }

    #[test]
    fn a_pass_goes_in_by_the_pieces_that_have_gathered() {
        let directory = tempfile::tempdir().unwrap();
        let (path, store, mut writer) = unfolded(directory.path());
        let reader = || store.open_reader().unwrap().inner;
        let main: &'static File = Box::leak(Box::new(File::open(&path).unwrap()));
        let mut fold = Fold {
            connection: store.open_writer().unwrap().inner,
            main,
            pass_pages: PASS_BYTES / writer.page_bytes().unwrap(),
            holding: VecDeque::new(),
            idle: (1..PIECES).map(|_| reader()).collect(),
        };
        assert!(!fold.look().unwrap());
        for piece in 1..PIECES {
            fill(&mut writer, PASS_ROWS / PIECES);
            assert!(!fold.look().unwrap() && !fold.look().unwrap());
            assert_eq!(i64::try_from(fold.holding.len()), Ok(piece));
        }
        // Each piece goes as far as the next reader stays, and no further.
        let (there, folded) = fold.piece().unwrap();
        assert!(folded > 0 && folded < there / 2, "{folded} of {there}");
        fill(&mut writer, 2 * PASS_ROWS / PIECES);
        assert!(fold.look().unwrap());
        assert!(fold.holding.is_empty());
        let (there, folded) = fold.pages("PRAGMA wal_checkpoint(NOOP)").unwrap();
        assert_eq!(there, folded);
    }
}
