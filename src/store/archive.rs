//! Statements over archives: what one is made of, and what is dropped once it is sealed. Nothing is deleted that no recorded
//! archive holds; the schema's triggers see to that.

use super::log::LogNumber;
use super::tree::TileRow;
use super::{Connection, Row, StoreError, Value, answered};
use crate::domain::{AnsweredParties, Timestamp};

/// A tile of level 1 stands for so many entries: where one is sealed, the tiles of level 0 below it can go.
const LEVEL_1_ENTRIES: u64 = 65_536;
const LEVELS: u64 = 256;

/// A part of a log that was sealed into a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    pub first_index: u64,
    pub size: u64,
    /// Latest time of an entry in the log up to the end.
    pub at_max: Timestamp,
    pub sealed_at: Timestamp,
    pub file_name: String,
    /// SHA-256 of the file.
    pub digest: [u8; 32],
}

impl Archive {
    /// The index of the first entry that is not in it.
    pub fn end(&self) -> u64 {
        self.first_index.saturating_add(self.size)
    }
}

/// Up to here the tiles of level 0 are dropped once the entries before `end` are. The last one is kept in any case: the tree
/// is taken up from there.
pub fn tiles_begin(end: u64) -> u64 {
    let last = end.saturating_sub(1);
    last - last % LEVEL_1_ENTRIES
}

/// All archives of a log, oldest first.
pub fn all(connection: &mut dyn Connection, log: LogNumber) -> Result<Vec<Archive>, StoreError> {
    let mut found = Vec::new();
    connection.query(
        "SELECT place, size, at_max, sealed_at, file_name, digest FROM log_archive \
         WHERE place >= $1 AND place <= $2 ORDER BY place",
        &[log.place(0)?, log.last_place()?],
        &mut |row| {
            found.push(archive(log, row)?);
            Ok(())
        },
    )?;
    Ok(found)
}

/// The last archive of a log.
pub fn last(connection: &mut dyn Connection, log: LogNumber) -> Result<Option<Archive>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT place, size, at_max, sealed_at, file_name, digest FROM log_archive \
         WHERE place >= $1 AND place <= $2 ORDER BY place DESC LIMIT 1",
        &[log.place(0)?, log.last_place()?],
        &mut |row| {
            found = Some(archive(log, row)?);
            Ok(())
        },
    )?;
    Ok(found)
}

fn archive(log: LogNumber, row: &dyn Row) -> Result<Archive, StoreError> {
    Ok(Archive {
        first_index: log.index(row.count(0)?)?,
        size: row.count(1)?,
        at_max: Timestamp::from_ms(row.count(2)?),
        sealed_at: Timestamp::from_ms(row.count(3)?),
        file_name: row.text(4)?.to_owned(),
        digest: row.blob(5)?.try_into().map_err(|_| StoreError::Corrupt("an archive without a digest"))?,
    })
}

/// `answers` is how many rows tell what its checks were answered with; `None` if none are to.
pub fn insert(
    connection: &mut dyn Connection,
    log: LogNumber,
    archive: &Archive,
    answers: Option<u64>,
) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO log_archive (place, size, at_max, sealed_at, file_name, digest, answers) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        &[
            log.place(archive.first_index)?,
            Value::count(archive.size)?,
            Value::count(archive.at_max.as_ms())?,
            Value::count(archive.sealed_at.as_ms())?,
            Value::Text(&archive.file_name),
            Value::Blob(&archive.digest),
            answers.map_or(Ok(Value::Null), Value::count)?,
        ],
    )?;
    Ok(())
}

/// Records an archive in the open transaction: from its commit on, what it holds is gone for all who read, but for what its
/// checks were answered with. Where nobody shares the database it is dropped at once, elsewhere afterwards.
pub fn seal(
    connection: &mut dyn Connection,
    log: LogNumber,
    archive: &Archive,
    answered: &AnsweredParties,
) -> Result<(), StoreError> {
    let answers = u64::try_from(answered.len()).map_err(|_| StoreError::Corrupt("too many answers"))?;
    insert(connection, log, archive, Some(answers))?;
    answered::insert_all(connection, log, archive.first_index, answered)?;
    if connection.drops_later() {
        return Ok(());
    }
    connection.execute(
        "DELETE FROM log_batch WHERE place >= $1 AND place < $2",
        &[log.place(0)?, log.place(archive.end())?],
    )?;
    connection.execute(
        "DELETE FROM log_tile WHERE place >= $1 AND place < $2 AND place % $3 = 0",
        &[log.place(0)?, log.place(tiles_begin(archive.end()))?, Value::count(LEVELS)?],
    )?;
    Ok(())
}

/// How far a bounded deletion has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// There may be more at this place or after it.
    UpTo(u64),
    All,
}

/// Deletes some of the batches from `place` on that the last archive of a log and those before it hold, `rows_max` at most.
pub fn drop_batches(
    connection: &mut dyn Connection,
    log: LogNumber,
    (place, end): (u64, u64),
    rows_max: u32,
) -> Result<Dropped, StoreError> {
    let rows_max_value = Value::Int(rows_max.into());
    let (first, end) = (log.place(place)?, log.place(end)?);
    drop_some(
        connection,
        log,
        "DELETE FROM log_batch WHERE place >= $1 AND place < $2 AND place IN \
         (SELECT place FROM log_batch WHERE place >= $3 AND place < $4 ORDER BY place LIMIT $5) RETURNING place",
        &[first, end, first, end, rows_max_value],
        rows_max,
    )
}

/// As `drop_batches`, of the tiles of level 0; `end` is where those begin that stay.
pub fn drop_tiles(
    connection: &mut dyn Connection,
    log: LogNumber,
    (place, end): (u64, u64),
    rows_max: u32,
) -> Result<Dropped, StoreError> {
    let (levels, rows_max_value) = (Value::count(LEVELS)?, Value::Int(rows_max.into()));
    drop_some(
        connection,
        log,
        "DELETE FROM log_tile WHERE place IN \
         (SELECT place FROM log_tile WHERE place >= $1 AND place < $2 AND place % $3 = 0 ORDER BY place LIMIT $4) \
         RETURNING place",
        &[log.place(place)?, log.place(end)?, levels, rows_max_value],
        rows_max,
    )
}

fn drop_some(
    connection: &mut dyn Connection,
    log: LogNumber,
    sql: &'static str,
    values: &[Value<'_>],
    rows_max: u32,
) -> Result<Dropped, StoreError> {
    let (mut rows, mut last) = (0_u32, 0);
    connection.query(sql, values, &mut |row| {
        rows += 1;
        last = last.max(log.index(row.count(0)?)?);
        Ok(())
    })?;
    Ok(if rows < rows_max { Dropped::All } else { Dropped::UpTo(last + 1) })
}

/// A full tile with its place in the tree.
pub struct PlacedTile {
    pub first_index: u64,
    pub level: u8,
    pub row: TileRow,
}

impl PlacedTile {
    /// What it goes by: its first entry and its level.
    pub fn place(&self) -> u64 {
        self.first_index.saturating_add(self.level.into())
    }
}

/// Full tiles by place, from one on, `rows_max` at most.
pub fn tiles(
    connection: &mut dyn Connection,
    log: LogNumber,
    place: u64,
    rows_max: u32,
) -> Result<Vec<PlacedTile>, StoreError> {
    let mut found = Vec::new();
    connection.query(
        "SELECT place, root, hashes FROM log_tile WHERE place >= $1 AND place <= $2 ORDER BY place LIMIT $3",
        &[log.place(place)?, log.last_place()?, Value::Int(rows_max.into())],
        &mut |row| {
            let place = log.index(row.count(0)?)?;
            let level = place % LEVELS;
            let row = TileRow { root: row.blob(1)?.to_vec(), hashes: row.blob(2)?.to_vec() };
            let level_number = u8::try_from(level).map_err(|_| StoreError::Corrupt("a tile without a level"))?;
            found.push(PlacedTile { first_index: place - level, level: level_number, row });
            Ok(())
        },
    )?;
    Ok(found)
}

/// A checkpoint as it is stored.
pub struct CheckpointRow {
    pub size: u64,
    pub at: Timestamp,
    pub note: String,
}

/// Checkpoints at `size` entries and above, the smallest first, `rows_max` at most.
pub fn checkpoints(
    connection: &mut dyn Connection,
    log: LogNumber,
    size: u64,
    rows_max: u32,
) -> Result<Vec<CheckpointRow>, StoreError> {
    let mut found = Vec::new();
    connection.query(
        "SELECT place, at, note FROM log_checkpoint WHERE place >= $1 AND place <= $2 ORDER BY place LIMIT $3",
        &[log.place(size)?, log.last_place()?, Value::Int(rows_max.into())],
        &mut |row| {
            found.push(checkpoint(log, row)?);
            Ok(())
        },
    )?;
    Ok(found)
}

/// The last checkpoint of `size` entries or fewer.
pub fn checkpoint_before(
    connection: &mut dyn Connection,
    log: LogNumber,
    size: u64,
) -> Result<Option<CheckpointRow>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT place, at, note FROM log_checkpoint WHERE place >= $1 AND place <= $2 ORDER BY place DESC LIMIT 1",
        &[log.place(0)?, log.place(size)?],
        &mut |row| {
            found = Some(checkpoint(log, row)?);
            Ok(())
        },
    )?;
    Ok(found)
}

fn checkpoint(log: LogNumber, row: &dyn Row) -> Result<CheckpointRow, StoreError> {
    let (size, at) = (log.index(row.count(0)?)?, Timestamp::from_ms(row.count(1)?));
    Ok(CheckpointRow { size, at, note: row.text(2)?.to_owned() })
}

/// Copies what says whose log it is, and which schema the rows have, into an empty archive.
pub fn copy_heads(
    source: &mut dyn Connection,
    target: &mut dyn Connection,
    log: LogNumber,
    node: &str,
) -> Result<(), StoreError> {
    source.query("SELECT number, applied_at FROM schema_migration", &[], &mut |row| {
        let values = [Value::Int(row.int(0)?), Value::Int(row.int(1)?)];
        target.execute("INSERT INTO schema_migration (number, applied_at) VALUES ($1, $2)", &values).map(drop)
    })?;
    source.query("SELECT id, name, created_at FROM registry", &[], &mut |row| {
        let values = [Value::Int(row.int(0)?), Value::Text(row.text(1)?), Value::Int(row.int(2)?)];
        target.execute("INSERT INTO registry (id, name, created_at) VALUES ($1, $2, $3)", &values).map(drop)
    })?;
    let values = [Value::Text(node), Value::count(log.number())?];
    target.execute("INSERT INTO log (node, number) VALUES ($1, $2)", &values)?;
    Ok(())
}

/// The node whose log an archive holds.
pub fn node(connection: &mut dyn Connection) -> Result<Option<String>, StoreError> {
    let mut found = None;
    connection.query("SELECT node FROM log ORDER BY number DESC", &[], &mut |row| {
        found = Some(row.text(0)?.to_owned());
        Ok(())
    })?;
    Ok(found)
}
