//! Finds one entry by the millisecond it was made in. Latest times never decrease from batch to batch, so a binary
//! search finds where to begin, and the declared skew tells where to end.

use super::{BATCHES_READ_AT_ONCE, Entry, SKEW_MS_MAX, entries_of};
use crate::domain::Timestamp;
use crate::store::log::LogNumber;
use crate::store::{self, Connection, StoreError};

/// The first entry made at `at` that `is_it` accepts, with its index.
pub fn find(
    connection: &mut dyn Connection,
    node: &str,
    at: Timestamp,
    is_it: impl Fn(&Entry) -> bool,
) -> Result<Option<(u64, Entry)>, StoreError> {
    match store::log::find(connection, node)? {
        Some(log) => find_in(connection, log, at, is_it),
        None => Ok(None),
    }
}

/// As `find`, in a log that is known.
pub fn find_in(
    connection: &mut dyn Connection,
    log: LogNumber,
    at: Timestamp,
    is_it: impl Fn(&Entry) -> bool,
) -> Result<Option<(u64, Entry)>, StoreError> {
    let mut next = first_candidate(connection, log, at)?;
    loop {
        let (mut found, mut read, mut done) = (None, 0_u32, false);
        store::log::stream(connection, log, next, BATCHES_READ_AT_ONCE, &mut |batch| {
            read += 1;
            next = batch.first_index + batch.size;
            if found.is_some() || done {
                return Ok(());
            }
            for (index, bytes) in (batch.first_index..).zip(entries_of(&batch.entries)) {
                let entry = bytes.and_then(Entry::decode).ok_or(StoreError::Corrupt("an entry that cannot be read"))?;
                if entry.at == at && is_it(&entry) {
                    found = Some((index, entry));
                    break;
                }
            }
            done = batch.at_max > at.plus_ms(SKEW_MS_MAX);
            Ok(())
        })?;
        if found.is_some() || done || read < BATCHES_READ_AT_ONCE {
            return Ok(found);
        }
    }
}

/// The first index of the first batch up to whose end the log has reached `at`.
pub(super) fn first_candidate(
    connection: &mut dyn Connection,
    log: LogNumber,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let mut low = store::log::first_index(connection, log)?;
    let (mut high, _) = store::log::end(connection, log)?;
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(batch) = store::log::batch_at(connection, log, middle)? else { break };
        if batch.at_max < at {
            low = batch.first_index + batch.size;
        } else {
            high = batch.first_index;
        }
    }
    Ok(low)
}
