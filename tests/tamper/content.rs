//! All that a database tells of its log, read row by row, damaged or not, to compare what was before with what is after.

use rusqlite::Connection;
use std::collections::BTreeSet;
use std::path::Path;

#[derive(PartialEq, Eq)]
pub struct Content {
    /// Each as a set: where a page lies decides in which order its rows are read, and tells nothing.
    pub logs: BTreeSet<(String, i64)>,
    /// Place, size, earliest and latest time, entries.
    pub batches: BTreeSet<(i64, i64, i64, i64, Vec<u8>)>,
    /// Place, root, hashes.
    pub tiles: BTreeSet<(i64, Vec<u8>, Vec<u8>)>,
    /// Place and note.
    pub checkpoints: BTreeSet<(i64, String)>,
}

impl Content {
    pub fn read(database: &Path) -> rusqlite::Result<Self> {
        let database = Connection::open(database)?;
        let mut logs = database.prepare("SELECT node, number FROM log")?;
        let mut batches = database.prepare("SELECT place, size, at_min, at_max, entries FROM log_batch")?;
        let mut tiles = database.prepare("SELECT place, root, hashes FROM log_tile")?;
        let mut checkpoints = database.prepare("SELECT place, note FROM log_checkpoint")?;
        Ok(Self {
            logs: logs.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?,
            batches: batches
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?
                .collect::<Result<_, _>>()?,
            tiles: tiles.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<Result<_, _>>()?,
            checkpoints: checkpoints.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?,
        })
    }

    /// The same entries and tiles, and no checkpoint that was not there. One that is gone was not the last word on
    /// anything: those that are left vouch for the same entries.
    pub fn tells_nothing_else_than(&self, before: &Self) -> bool {
        self.logs == before.logs
            && self.batches == before.batches
            && self.tiles == before.tiles
            && self.checkpoints.is_subset(&before.checkpoints)
    }
}
