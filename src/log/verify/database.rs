//! A database as a source: the log of one node, read through the store's statements on a connection that only reads.

use super::{Fault, Seal, Source, Start, StoredTile, VerifyError};
use crate::log::BATCHES_READ_AT_ONCE;
use crate::log::archive::sealed;
use crate::log::merkle::{Hash, SIZE_MAX, TILE_WIDTH};
use crate::log::tree::edge_at;
use crate::store::archive::{Archive, tiles_begin};
use crate::store::log::{LogBatch, LogNumber};
use crate::store::{self, Connection, StoreError};
use std::collections::VecDeque;

const CHECKPOINTS_AT_ONCE: u32 = 256;

pub struct Database<'a> {
    connection: &'a mut dyn Connection,
    log: LogNumber,
    ahead: VecDeque<LogBatch>,
    /// Where the next batches are looked for: right after the place of the last one and not after its last entry, so that
    /// a batch that overlaps it is seen.
    next: u64,
}

impl<'a> Database<'a> {
    /// The log of `node`, which a database that is verified has.
    pub fn open(connection: &'a mut dyn Connection, node: &str) -> Result<Self, VerifyError> {
        let log = store::log::find(connection, node).map_err(|error| VerifyError::of_store(error, 0))?;
        let log = log.ok_or_else(|| Fault::NoLog.at(0))?;
        Ok(Self { connection, log, ahead: VecDeque::new(), next: 0 })
    }

    /// The archives that the database names, oldest first.
    pub fn archives(&mut self) -> Result<Vec<Archive>, VerifyError> {
        store::archive::all(self.connection, self.log).map_err(|error| self.failed(error))
    }

    /// Where this database begins, as it says itself: at the log's first entry, or where the last of its archives ends.
    pub fn start(&mut self) -> Result<Start, VerifyError> {
        let Some(last) = self.archives()?.pop() else { return Ok(Start::default()) };
        let (log, size, width) = (self.log, last.end(), u64::from(TILE_WIDTH));
        let (base, partial) = (size - size % width, usize::try_from(size % width).unwrap_or_default());
        let mut leaves: Vec<Hash> = Vec::new();
        if partial > 0 {
            let tile = store::tree::tile(self.connection, log, base, 0).map_err(|error| self.failed(error))?;
            let hashes = tile.map(|row| row.hashes).unwrap_or_default();
            let (hashes, _) = hashes.as_chunks::<32>();
            let found =
                hashes.get(..partial).ok_or_else(|| Fault::TileMissing { level: 0, index: base / width }.at(base))?;
            leaves.extend_from_slice(found);
        }
        let edge = edge_at(self.connection, log, base, leaves).map_err(|error| self.failed(error))?;
        let seals = vec![Seal::of(&last)];
        Ok(Start { edge, latest: last.at_max, tiles_begin: Some(tiles_begin(size)), seals })
    }

    /// The index of the first entry that is here.
    pub fn first_index(&mut self) -> Result<u64, VerifyError> {
        store::log::first_index(self.connection, self.log).map_err(|error| self.failed(error))
    }

    /// How many entries the log claims to have, to tell how long a verification will take.
    pub fn length(&mut self) -> Result<u64, VerifyError> {
        let end = store::log::end(self.connection, self.log);
        Ok(end.map_err(|error| self.failed(error))?.0)
    }

    fn failed(&self, error: StoreError) -> VerifyError {
        VerifyError::of_store(error, self.next)
    }
}

impl Seal {
    /// What the log must say of an archive.
    pub fn of(archive: &Archive) -> Self {
        Self { first_index: archive.first_index, end: archive.end(), reference: sealed(archive), found: None }
    }
}

impl Source for Database<'_> {
    fn next_batch(&mut self) -> Result<Option<LogBatch>, VerifyError> {
        if self.ahead.is_empty() && self.next < SIZE_MAX {
            let ahead = &mut self.ahead;
            let read = store::log::stream(self.connection, self.log, self.next, BATCHES_READ_AT_ONCE, &mut |batch| {
                ahead.push_back(batch);
                Ok(())
            });
            read.map_err(|error| self.failed(error))?;
        }
        let batch = self.ahead.pop_front();
        if let Some(batch) = &batch {
            self.next = batch.first_index.saturating_add(1);
        }
        Ok(batch)
    }

    fn checkpoints(&mut self, size: u64) -> Result<Vec<(u64, String)>, VerifyError> {
        if size >= SIZE_MAX {
            return Ok(Vec::new());
        }
        let found = store::tree::checkpoints(self.connection, self.log, size, CHECKPOINTS_AT_ONCE);
        found.map_err(|error| self.failed(error))
    }

    fn tile(&mut self, level: u8, index: u64) -> Result<StoredTile, VerifyError> {
        let entries = u64::from(TILE_WIDTH).saturating_pow(u32::from(level) + 1);
        let first_index = index.saturating_mul(entries);
        let found = store::tree::tile(self.connection, self.log, first_index, level);
        let found = found.map_err(|error| self.failed(error))?;
        Ok(found.map_or(StoredTile::Missing, |row| StoredTile::Kept { root: row.root, hashes: row.hashes }))
    }

    fn tile_count(&mut self) -> Result<Option<u64>, VerifyError> {
        // Where others share the database, tiles that an archive made superfluous go some time after it; else none is left.
        let last = if self.connection.drops_later() { self.archives()?.pop() } else { None };
        let begin = last.map_or(0, |archive| tiles_begin(archive.end()));
        let count = store::tree::tile_count(self.connection, self.log, begin);
        count.map(Some).map_err(|error| self.failed(error))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::super::tests::{LOG, Memory, finding, old, verify_with};
    use super::super::{Kept, Report, Start, Verifier};
    use super::*;
    use crate::domain::Timestamp;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{Store, Value};
    use proptest::prelude::*;
    use std::fs;
    use std::path::Path;
    use std::sync::LazyLock;

    fn count<'a>(number: impl TryInto<u64>) -> Value<'a> {
        Value::count(number.try_into().ok().unwrap()).unwrap()
    }

    /// Writes a log into a new database, as log 1 beside an empty log 0.
    fn stored(path: &Path, log: &Memory) -> Box<dyn Connection + Send> {
        const PLACE: u64 = SIZE_MAX;
        SqliteStore::create(path, "registry.example", Timestamp::EPOCH).unwrap();
        let mut writer = SqliteStore::open(path, Timestamp::EPOCH).unwrap().writer().unwrap();
        writer.begin().unwrap();
        writer.execute("INSERT INTO log (node, number) VALUES ('other', 0), ('main', 1)", &[]).unwrap();
        for batch in &log.batches {
            let bundle = batch.bundle();
            let row = [
                count(PLACE + batch.first_index),
                count(batch.entries.len()),
                count(batch.at_min),
                count(batch.at_max),
                Value::Blob(&bundle),
            ];
            let sql = "INSERT INTO log_batch (place, size, at_min, at_max, entries) VALUES ($1, $2, $3, $4, $5)";
            writer.execute(sql, &row).unwrap();
        }
        for ((level, index), (root, hashes)) in &log.tiles {
            let place = PLACE + index * 256_u64.pow(u32::from(*level) + 1) + u64::from(*level);
            let sql = "INSERT INTO log_tile (place, root, hashes) VALUES ($1, $2, $3)";
            writer.execute(sql, &[count(place), Value::Blob(root), Value::Blob(hashes)]).unwrap();
        }
        for (size, note) in &log.checkpoints {
            let sql = "INSERT INTO log_checkpoint (place, at, note) VALUES ($1, 0, $2)";
            writer.execute(sql, &[count(PLACE + size), Value::Text(note)]).unwrap();
        }
        writer.commit().unwrap();
        writer.settle().unwrap();
        writer
    }

    fn verify(path: &Path, node: &str) -> Result<Report, VerifyError> {
        let store = SqliteStore::open_copy(path).map_err(|error| VerifyError::of_store(error, 0))?;
        let mut report = None;
        let read = store.read(&mut |connection| {
            let verifier = Verifier::new(Start::default(), &[old().key()], Kept::default()).unwrap();
            report = Some(Database::open(connection, node).and_then(|mut log| verifier.run(&mut log, &mut |_| {})));
            Ok(())
        });
        read.map_err(|error| VerifyError::of_store(error, 0))?;
        report.unwrap()
    }

    /// After a change by somebody who has the file and takes the triggers away.
    fn after(change: &'static str) -> (u64, Fault) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        let mut writer = stored(&path, &LOG.0);
        let mut triggers = Vec::new();
        let each = &mut |row: &dyn store::Row| {
            triggers.push(row.text(0)?.to_owned());
            Ok(())
        };
        writer.query("SELECT name FROM sqlite_master WHERE type = 'trigger'", &[], each).unwrap();
        for trigger in triggers {
            writer.execute(format!("DROP TRIGGER {trigger}").leak(), &[]).unwrap();
        }
        writer.execute(change, &[]).unwrap();
        finding(verify(&path, "main"))
    }

    static DATABASE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        drop(stored(&path, &LOG.0));
        fs::read(path).unwrap()
    });

    #[test]
    fn a_database_gives_the_same_report_as_its_parts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        let expected = verify_with(&LOG.0, &[old().key()], Kept::default()).unwrap();
        let writer = stored(&path, &LOG.0);
        assert_eq!(verify(&path, "main").unwrap(), expected);
        drop(writer);
        assert_eq!(verify(&path, "main").unwrap(), expected);
        assert_eq!(finding(verify(&path, "absent")), (0, Fault::NoLog));
        assert_eq!(finding(verify(&path, "other")), (0, Fault::NoCheckpoint));
    }

    #[test]
    fn a_batch_that_overlaps_another_is_found_also_between_two_reads() {
        for number in [10, 63, 64] {
            let mut log = LOG.0.clone();
            let batch = log.batches[number].clone();
            let place = batch.first_index + 1;
            log.batches.push(super::super::tests::Batch { first_index: place, ..batch.clone() });
            if batch.entries.len() == 1 {
                continue;
            }
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("registry.db");
            drop(stored(&path, &log));
            assert_eq!(finding(verify(&path, "main")), (place, Fault::Gap { found: place }));
        }
    }

    #[test]
    fn rows_in_another_form_than_the_writer_s_are_found() {
        assert_eq!(after("UPDATE log_batch SET at_max = -1"), (0, Fault::Stored("a negative count")));
        assert_eq!(after("UPDATE log_batch SET size = size + 1 WHERE size = 13").1, Fault::Head);
        assert_eq!(after("UPDATE log_tile SET hashes = x''"), (0, Fault::Tile { level: 0, index: 0 }));
        let moved = "UPDATE log_tile SET place = place + 1";
        assert_eq!(after(moved), (0, Fault::TileMissing { level: 0, index: 0 }));
        let moved = "UPDATE log_checkpoint SET place = place + 1 WHERE place = (SELECT MIN(place) FROM log_checkpoint)";
        assert_eq!(after(moved), (0, Fault::CheckpointSize { size: 1 }));
        assert_eq!(after("UPDATE log SET number = 7 WHERE node = 'main'"), (0, Fault::NoCheckpoint));
        assert_eq!(after("DELETE FROM log WHERE node = 'main'"), (0, Fault::NoLog));
        assert_eq!(after("DELETE FROM log_batch"), (0, Fault::Rollback { size: 1 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn a_flipped_bit_of_the_file_is_found_or_changes_nothing(byte: prop::sample::Index, bit in 0..8_u8) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("registry.db");
            let mut bytes = DATABASE.clone();
            let at = byte.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            fs::write(&path, bytes).unwrap();
            if let Ok(report) = verify(&path, "main") {
                let whole = verify_with(&LOG.0, &[old().key()], Kept::default()).unwrap();
                // A bit in the head of a page can hide the row of a checkpoint; what it covered is under those that follow.
                prop_assert!(report.checkpoints <= whole.checkpoints);
                prop_assert_eq!(Report { checkpoints: whole.checkpoints, ..report }, whole);
            }
        }
    }
}
