//! Statements that a verification reads beside the entries: tiles and checkpoints, as they are stored.

use super::log::LogNumber;
use super::{Connection, StoreError, Value};

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

pub fn tile_count(connection: &mut dyn Connection, log: LogNumber) -> Result<u64, StoreError> {
    let mut count = 0;
    connection.query(
        "SELECT COUNT(*) FROM log_tile WHERE place >= $1 AND place <= $2",
        &[log.place(0)?, log.last_place()?],
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
