//! Statements over the access log: append a batch, continue after a restart, find and stream entries' bytes.

use super::{Connection, Row, StoreError, Value};
use crate::domain::Timestamp;

/// A log's entries have places from `number * LOG_PLACES` on, so that one integer orders and finds every batch.
const LOG_PLACES: u64 = 1 << 40;
/// So many nodes could make their logs at once and each take the number that another one wanted.
const NUMBERINGS_MAX: u32 = 64;

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

/// One log in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogNumber(u64);

impl LogNumber {
    pub(super) fn number(self) -> u64 {
        self.0
    }

    pub(super) fn place(self, index: u64) -> Result<Value<'static>, StoreError> {
        if index >= LOG_PLACES {
            return Err(StoreError::Corrupt("a log of more than 2^40 entries"));
        }
        Value::count(self.0 * LOG_PLACES + index)
    }

    pub(super) fn last_place(self) -> Result<Value<'static>, StoreError> {
        self.place(LOG_PLACES - 1)
    }

    pub(super) fn index(self, place: u64) -> Result<u64, StoreError> {
        place.checked_sub(self.0 * LOG_PLACES).ok_or(StoreError::Corrupt("a batch of another log"))
    }
}

/// The log of a node, if it has one.
pub fn find(connection: &mut dyn Connection, node: &str) -> Result<Option<LogNumber>, StoreError> {
    let mut found = None;
    connection.query("SELECT number FROM log WHERE node = $1", &[Value::Text(node)], &mut |row| {
        found = Some(LogNumber(row.count(0)?));
        Ok(())
    })?;
    Ok(found)
}

/// All logs of the database with the names of their nodes, in the order of their numbers.
pub fn all(connection: &mut dyn Connection) -> Result<Vec<(String, LogNumber)>, StoreError> {
    let mut found = Vec::new();
    connection.query("SELECT node, number FROM log ORDER BY number", &[], &mut |row| {
        found.push((row.text(0)?.to_owned(), LogNumber(row.count(1)?)));
        Ok(())
    })?;
    Ok(found)
}

/// The log of a node, made if it has none. Another node that makes its own at the same moment may take the number that was
/// to be this one's.
pub fn find_or_create(connection: &mut dyn Connection, node: &str) -> Result<LogNumber, StoreError> {
    for _ in 0..NUMBERINGS_MAX {
        if let Some(log) = find(connection, node)? {
            return Ok(log);
        }
        connection.execute(
            "INSERT INTO log (node, number) SELECT $1, COALESCE(MAX(number) + 1, 0) FROM log WHERE TRUE \
             ON CONFLICT DO NOTHING",
            &[Value::Text(node)],
        )?;
    }
    find(connection, node)?.ok_or(StoreError::Corrupt("a log that does not stay"))
}

pub fn append(connection: &mut dyn Connection, log: LogNumber, batch: &LogBatch) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO log_batch (place, size, at_min, at_max, entries) VALUES ($1, $2, $3, $4, $5)",
        &[
            log.place(batch.first_index)?,
            Value::count(batch.size)?,
            Value::count(batch.at_min.as_ms())?,
            Value::count(batch.at_max.as_ms())?,
            Value::Blob(&batch.entries),
        ],
    )?;
    Ok(())
}

/// What is known of a batch without its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHead {
    pub first_index: u64,
    pub size: u64,
    pub at_max: Timestamp,
}

/// The last batch that starts at `index` or before. What archives hold is gone, here and in what follows, though its rows may
/// still lie there.
pub fn batch_at(connection: &mut dyn Connection, log: LogNumber, index: u64) -> Result<Option<BatchHead>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT place, size, at_max FROM log_batch WHERE place <= $1 AND place >= COALESCE((SELECT place + size \
         FROM log_archive WHERE place >= $2 AND place <= $3 ORDER BY place DESC LIMIT 1), $4) \
         ORDER BY place DESC LIMIT 1",
        &[log.place(index)?, log.place(0)?, log.last_place()?, log.place(0)?],
        &mut |row| {
            found = Some(BatchHead {
                first_index: log.index(row.count(0)?)?,
                size: row.count(1)?,
                at_max: Timestamp::from_ms(row.count(2)?),
            });
            Ok(())
        },
    )?;
    Ok(found)
}

/// The first entry that is still in the database; 0 if none is.
pub fn first_index(connection: &mut dyn Connection, log: LogNumber) -> Result<u64, StoreError> {
    let mut first = 0;
    connection.query(
        "SELECT place FROM log_batch WHERE place <= $1 AND place >= COALESCE((SELECT place + size \
         FROM log_archive WHERE place >= $2 AND place <= $3 ORDER BY place DESC LIMIT 1), $4) \
         ORDER BY place LIMIT 1",
        &[log.last_place()?, log.place(0)?, log.last_place()?, log.place(0)?],
        &mut |row| {
            first = log.index(row.count(0)?)?;
            Ok(())
        },
    )?;
    Ok(first)
}

/// Where a log goes on: the number of its entries, and the latest time in it.
pub fn end(connection: &mut dyn Connection, log: LogNumber) -> Result<(u64, Timestamp), StoreError> {
    let last = batch_at(connection, log, LOG_PLACES - 1)?;
    Ok(last.map_or((0, Timestamp::EPOCH), |batch| (batch.first_index + batch.size, batch.at_max)))
}

/// Streams batches in order, from the first that starts at `index` or later, `batches_max` at most.
pub fn stream(
    connection: &mut dyn Connection,
    log: LogNumber,
    index: u64,
    batches_max: u32,
    each: &mut dyn FnMut(LogBatch) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    stream_to(connection, log, (index, LOG_PLACES - 1), batches_max, each)
}

/// As `stream`, up to the batch that holds the entry at `last`.
pub fn stream_to(
    connection: &mut dyn Connection,
    log: LogNumber,
    (index, last): (u64, u64),
    batches_max: u32,
    each: &mut dyn FnMut(LogBatch) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    // An archive that ends after `index` is one of this log.
    connection.query(
        "SELECT place, size, at_min, at_max, entries FROM log_batch WHERE place <= $1 AND place >= COALESCE((SELECT \
         place + size FROM log_archive WHERE place <= $2 AND place + size > $3 ORDER BY place DESC LIMIT 1), $4) \
         ORDER BY place LIMIT $5",
        &[log.place(last)?, log.last_place()?, log.place(index)?, log.place(index)?, Value::Int(batches_max.into())],
        &mut |row| each(read_batch(log, row)?),
    )
}

/// Streams the batches in order that start in these places and have an entry of `at` or before. The first place is none that
/// an archive holds.
pub fn stream_of(
    connection: &mut dyn Connection,
    log: LogNumber,
    (first, last): (u64, u64),
    at: Timestamp,
    each: &mut dyn FnMut(LogBatch) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    connection.query(
        "SELECT place, size, at_min, at_max, entries FROM log_batch WHERE place >= $1 AND place <= $2 AND at_min <= $3 \
         ORDER BY place",
        &[log.place(first)?, log.place(last)?, Value::count(at.as_ms())?],
        &mut |row| each(read_batch(log, row)?),
    )
}

fn read_batch(log: LogNumber, row: &dyn Row) -> Result<LogBatch, StoreError> {
    Ok(LogBatch {
        first_index: log.index(row.count(0)?)?,
        size: row.count(1)?,
        at_min: Timestamp::from_ms(row.count(2)?),
        at_max: Timestamp::from_ms(row.count(3)?),
        entries: row.blob(4)?.to_vec(),
    })
}
