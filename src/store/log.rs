//! Statements over the access log: append a batch, continue after a restart, find and stream entries' bytes.

use super::{Connection, Row, StoreError, Value};
use crate::domain::Timestamp;

/// Entries that are committed together, as one row.
pub struct LogBatch {
    pub first_index: u64,
    pub size: u64,
    pub at_min: Timestamp,
    /// Latest time in the log up to the end of this batch.
    pub at_max: Timestamp,
    /// For each entry a 16-bit big-endian length and its bytes.
    pub entries: Vec<u8>,
}

pub fn append(connection: &mut dyn Connection, node: &str, batch: &LogBatch) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO log_batch (node, first_index, size, at_min, at_max, entries) VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            Value::Text(node),
            Value::count(batch.first_index)?,
            Value::count(batch.size)?,
            Value::count(batch.at_min.as_ms())?,
            Value::count(batch.at_max.as_ms())?,
            Value::Blob(&batch.entries),
        ],
    )?;
    Ok(())
}

/// Where a log goes on: the number of entries, and the latest time in it.
pub fn end(connection: &mut dyn Connection, node: &str) -> Result<(u64, Timestamp), StoreError> {
    let mut found = (0, Timestamp::EPOCH);
    connection.query(
        "SELECT first_index + size, at_max FROM log_batch WHERE node = $1 ORDER BY first_index DESC LIMIT 1",
        &[Value::Text(node)],
        &mut |row| {
            found = (row.count(0)?, Timestamp::from_ms(row.count(1)?));
            Ok(())
        },
    )?;
    Ok(found)
}

/// The first batch that holds `index` or a later one: its first index and its `at_max`.
pub fn batch_at(
    connection: &mut dyn Connection,
    node: &str,
    index: u64,
) -> Result<Option<(u64, u64, Timestamp)>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT first_index, size, at_max FROM log_batch WHERE node = $1 AND first_index <= $2 \
         ORDER BY first_index DESC LIMIT 1",
        &[Value::Text(node), Value::count(index)?],
        &mut |row| {
            found = Some((row.count(0)?, row.count(1)?, Timestamp::from_ms(row.count(2)?)));
            Ok(())
        },
    )?;
    Ok(found)
}

/// Streams batches in order, from the one that starts at `first_index`, `batches_max` at most.
pub fn stream(
    connection: &mut dyn Connection,
    node: &str,
    first_index: u64,
    batches_max: u32,
    each: &mut dyn FnMut(LogBatch) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    connection.query(
        "SELECT first_index, size, at_min, at_max, entries FROM log_batch WHERE node = $1 AND first_index >= $2 \
         ORDER BY first_index LIMIT $3",
        &[Value::Text(node), Value::count(first_index)?, Value::Int(batches_max.into())],
        &mut |row: &dyn Row| {
            each(LogBatch {
                first_index: row.count(0)?,
                size: row.count(1)?,
                at_min: Timestamp::from_ms(row.count(2)?),
                at_max: Timestamp::from_ms(row.count(3)?),
                entries: row.blob(4)?.to_vec(),
            })
        },
    )
}
