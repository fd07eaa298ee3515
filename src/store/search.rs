//! Statements over the search index, which is derived data: what it says of a log is a hint, never an answer.

use super::log::LogNumber;
use super::{Connection, StoreError, Value};

/// Rows of postings that a segment has, one for each first byte of a term.
pub const BUCKETS: u64 = 256;

/// What is stored of 65,536 entries.
pub struct Segment {
    pub first_index: u64,
    pub seal: [u8; 32],
    pub summary: Vec<u8>,
    /// By bucket.
    pub postings: Vec<Vec<u8>>,
}

/// The segments of a log, each with its seal.
pub fn segments(connection: &mut dyn Connection, log: LogNumber) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let mut found = Vec::new();
    connection.query(
        "SELECT place, seal FROM search_segment WHERE place >= $1 AND place <= $2 ORDER BY place",
        &[log.place(0)?, log.last_place()?],
        &mut |row| {
            found.push((log.index(row.count(0)?)?, row.blob(1)?.to_vec()));
            Ok(())
        },
    )?;
    Ok(found)
}

/// Stores a segment in place of what was there, whole or not at all.
pub fn replace(connection: &mut dyn Connection, log: LogNumber, segment: &Segment) -> Result<(), StoreError> {
    connection.begin()?;
    let stored = insert(connection, log, segment);
    match stored {
        Ok(()) => connection.commit(),
        Err(error) => {
            connection.rollback()?;
            Err(error)
        }
    }
}

fn insert(connection: &mut dyn Connection, log: LogNumber, segment: &Segment) -> Result<(), StoreError> {
    delete(connection, log, segment.first_index)?;
    connection.execute(
        "INSERT INTO search_segment (place, seal, summary) VALUES ($1, $2, $3)",
        &[log.place(segment.first_index)?, Value::Blob(&segment.seal), Value::Blob(&segment.summary)],
    )?;
    for (bucket, postings) in (segment.first_index..).zip(&segment.postings) {
        connection.execute(
            "INSERT INTO search_posting (place, postings) VALUES ($1, $2)",
            &[log.place(bucket)?, Value::Blob(postings)],
        )?;
    }
    Ok(())
}

fn delete(connection: &mut dyn Connection, log: LogNumber, first_index: u64) -> Result<(), StoreError> {
    connection.execute("DELETE FROM search_segment WHERE place = $1", &[log.place(first_index)?])?;
    connection.execute(
        "DELETE FROM search_posting WHERE place >= $1 AND place < $2",
        &[log.place(first_index)?, log.place(first_index + BUCKETS)?],
    )?;
    Ok(())
}

/// Drops a segment.
pub fn remove(connection: &mut dyn Connection, log: LogNumber, first_index: u64) -> Result<(), StoreError> {
    connection.begin()?;
    delete(connection, log, first_index)?;
    connection.commit()
}

/// The summary of the segment that begins at `first_index`.
pub fn summary(
    connection: &mut dyn Connection,
    log: LogNumber,
    first_index: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut found = None;
    connection.query(
        "SELECT summary FROM search_segment WHERE place = $1",
        &[log.place(first_index)?],
        &mut |row| {
            found = Some(row.blob(0)?.to_vec());
            Ok(())
        },
    )?;
    Ok(found)
}

/// Hands the postings of one bucket of a segment to `each`, if they are there.
pub fn postings(
    connection: &mut dyn Connection,
    log: LogNumber,
    first_index: u64,
    bucket: u8,
    each: &mut dyn FnMut(&[u8]),
) -> Result<(), StoreError> {
    connection.query(
        "SELECT postings FROM search_posting WHERE place = $1",
        &[log.place(first_index + u64::from(bucket))?],
        &mut |row| {
            each(row.blob(0)?);
            Ok(())
        },
    )
}
