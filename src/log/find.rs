//! Finds one entry by the millisecond it was made in. Latest times never decrease from batch to batch, so a binary
//! search finds where to begin, and the declared skew tells where to end.

use super::view::EntryView;
use super::{Entry, SKEW_MS_MAX, entries_of};
use crate::domain::Timestamp;
use crate::store::log::LogNumber;
use crate::store::{self, Connection, StoreError};

const UNREADABLE: StoreError = StoreError::Corrupt("an entry that cannot be read");

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
    let first = first_candidate(connection, log, at)?;
    // What stands behind it is later by more than the skew.
    let last = first_candidate(connection, log, at.plus_ms(SKEW_MS_MAX + 1))?;
    let mut found = None;
    store::log::stream_of(connection, log, (first, last), at, &mut |batch| {
        if found.is_some() {
            return Ok(());
        }
        for (index, bytes) in (batch.first_index..).zip(entries_of(&batch.entries)) {
            let bytes = bytes.ok_or(UNREADABLE)?;
            if EntryView::read(bytes).ok_or(UNREADABLE)?.at != at {
                continue;
            }
            let entry = Entry::decode(bytes).ok_or(UNREADABLE)?;
            if is_it(&entry) {
                found = Some((index, entry));
                break;
            }
        }
        Ok(())
    })?;
    Ok(found)
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
