//! Statements over the logs' Merkle trees: full tiles and signed checkpoints.

use super::log::LogNumber;
use super::{Connection, StoreError, Value};
use crate::domain::Timestamp;

/// A full tile's root and hashes, in whatever form they are stored.
pub struct TileRow {
    pub root: Vec<u8>,
    pub hashes: Vec<u8>,
}

/// The full tile of `level` whose first entry is `first_index`.
pub fn tile(
    connection: &mut dyn Connection,
    log: LogNumber,
    first_index: u64,
    level: u8,
) -> Result<Option<TileRow>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT root, hashes FROM log_tile WHERE place = $1",
        &[log.place(first_index.saturating_add(level.into()))?],
        &mut |row| {
            found = Some(TileRow { root: row.blob(0)?.to_vec(), hashes: row.blob(1)?.to_vec() });
            Ok(())
        },
    )?;
    Ok(found)
}

pub fn insert_tile(
    connection: &mut dyn Connection,
    log: LogNumber,
    first_index: u64,
    level: u8,
    tile: &TileRow,
) -> Result<(), StoreError> {
    let place = log.place(first_index.saturating_add(level.into()))?;
    connection.execute(
        "INSERT INTO log_tile (place, root, hashes) VALUES ($1, $2, $3)",
        &[place, Value::Blob(&tile.root), Value::Blob(&tile.hashes)],
    )?;
    Ok(())
}

/// What stands for a full tile one level up.
pub fn tile_root(
    connection: &mut dyn Connection,
    log: LogNumber,
    first_index: u64,
    level: u8,
) -> Result<Option<[u8; 32]>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT root FROM log_tile WHERE place = $1",
        &[log.place(first_index.saturating_add(level.into()))?],
        &mut |row| {
            found = Some(row.blob(0)?.try_into().map_err(|_| StoreError::Corrupt("a tile without a root"))?);
            Ok(())
        },
    )?;
    Ok(found)
}

/// The index of the first entry below the last full tile of level 0. Every higher tile has its place before that of the
/// last of level 0 below it.
pub fn last_tile(connection: &mut dyn Connection, log: LogNumber) -> Result<Option<u64>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT place FROM log_tile WHERE place >= $1 AND place <= $2 ORDER BY place DESC LIMIT 1",
        &[log.place(0)?, log.last_place()?],
        &mut |row| {
            found = Some(log.index(row.count(0)?)?);
            Ok(())
        },
    )?;
    Ok(found)
}

pub fn insert_checkpoint(
    connection: &mut dyn Connection,
    log: LogNumber,
    size: u64,
    at: Timestamp,
    note: &str,
) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO log_checkpoint (place, at, note) VALUES ($1, $2, $3)",
        &[log.place(size)?, Value::count(at.as_ms())?, Value::Text(note)],
    )?;
    Ok(())
}

/// The signed note of the last checkpoint.
pub fn last_checkpoint(connection: &mut dyn Connection, log: LogNumber) -> Result<Option<String>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT note FROM log_checkpoint WHERE place >= $1 AND place <= $2 ORDER BY place DESC LIMIT 1",
        &[log.place(0)?, log.last_place()?],
        &mut |row| {
            found = Some(row.text(0)?.to_owned());
            Ok(())
        },
    )?;
    Ok(found)
}

/// How many full tiles are stored, without those of level 0 before `begin`: they may be gone, or not yet.
pub fn tile_count(connection: &mut dyn Connection, log: LogNumber, begin: u64) -> Result<u64, StoreError> {
    const LEVELS: i64 = 256;
    let mut count = 0;
    connection.query(
        "SELECT COUNT(*) FROM log_tile WHERE place >= $1 AND place <= $2 AND NOT (place < $3 AND place % $4 = 0)",
        &[log.place(0)?, log.last_place()?, log.place(begin)?, Value::Int(LEVELS)],
        &mut |row| {
            count = row.count(0)?;
            Ok(())
        },
    )?;
    Ok(count)
}

/// Checkpoints at `size` entries and above, the smallest first, `rows_max` at most: size and signed note.
pub fn checkpoints(
    connection: &mut dyn Connection,
    log: LogNumber,
    size: u64,
    rows_max: u32,
) -> Result<Vec<(u64, String)>, StoreError> {
    let mut found = Vec::new();
    connection.query(
        "SELECT place, note FROM log_checkpoint WHERE place >= $1 AND place <= $2 ORDER BY place LIMIT $3",
        &[log.place(size)?, log.last_place()?, Value::Int(rows_max.into())],
        &mut |row| {
            found.push((log.index(row.count(0)?)?, row.text(1)?.to_owned()));
            Ok(())
        },
    )?;
    Ok(found)
}
