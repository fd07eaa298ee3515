//! Entries after the last checkpoint, as a start finds them. They are signed only if a server can have left them so: nothing
//! else vouches for them, and whoever can write to the database could have written them.

use super::merkle::{Edge, TILE_WIDTH, Tiles};
use super::note::Checkpoint;
use super::tree::{StoredTiles, edge_at};
use super::{Act, BATCHES_READ_AT_ONCE, Entry, SKEW_MS_MAX, UNCOVERED_MS_MAX, entries_of, leaf_hash};
use crate::domain::Timestamp;
use crate::store::log::{LogBatch, LogNumber};
use crate::store::{self, Connection, StoreError};

const TOO_MANY: StoreError = StoreError::Corrupt(
    "more entries after its last checkpoint than a server leaves: compare it with a checkpoint that was kept elsewhere; \
     to sign them all the same, start with --sign-uncovered",
);

/// Refuses entries after the last checkpoint that are younger than what it covers by more than the writer allows. The last
/// batch under it and all that follow are read and hashed, so that no time is believed that is not signed or about to be.
pub(super) fn refuse_too_many(
    connection: &mut dyn Connection,
    log: LogNumber,
    last: &Checkpoint,
    edge: &Edge,
) -> Result<(), StoreError> {
    if last.size == edge.size() {
        return Ok(());
    }
    let head = store::log::batch_at(connection, log, last.size.saturating_sub(1))?;
    let head = head.filter(|batch| batch.first_index + batch.size == last.size);
    let first = head.ok_or(StoreError::Corrupt("a checkpoint at which no batch ends"))?.first_index;
    let mut read = Read { edge: edge_before(connection, log, first, edge)?, vouched: Timestamp::EPOCH };
    while read.edge.size() < edge.size() {
        let next = read.edge.size();
        store::log::stream(connection, log, next, BATCHES_READ_AT_ONCE, &mut |batch| read.take(&batch, last))?;
        if read.edge.size() == next {
            return Err(StoreError::Corrupt("a log with a gap"));
        }
    }
    let is_the_tree = read.edge.size() == edge.size() && read.edge.root() == edge.root();
    if is_the_tree { Ok(()) } else { Err(StoreError::Corrupt("tiles that are not those of the entries")) }
}

/// Refuses a log without any checkpoint, unless it is older than the first program that signed.
pub(super) fn refuse_once_signed(connection: &mut dyn Connection, log: LogNumber) -> Result<(), StoreError> {
    let (end, _) = store::log::end(connection, log)?;
    let mut next = 0;
    while next < end {
        let before = next;
        store::log::stream(connection, log, next, BATCHES_READ_AT_ONCE, &mut |batch| {
            next = batch.first_index.saturating_add(batch.size);
            for bytes in entries_of(&batch.entries) {
                let entry = bytes.and_then(Entry::decode).ok_or(StoreError::Corrupt("a torn batch"))?;
                if entry.act == Act::LogKey || entry.act == Act::LogArchive {
                    return Err(TOO_MANY);
                }
            }
            Ok(())
        })?;
        if next <= before {
            return Err(StoreError::Corrupt("a log with a gap"));
        }
    }
    Ok(())
}

struct Read {
    edge: Edge,
    /// Latest time in the last batch under the checkpoint.
    vouched: Timestamp,
}

impl Read {
    fn take(&mut self, batch: &LogBatch, last: &Checkpoint) -> Result<(), StoreError> {
        // The latest time of all may lie in an earlier batch, by the skew at most.
        const LATER_MS_MAX: u64 = SKEW_MS_MAX + UNCOVERED_MS_MAX;
        if batch.first_index != self.edge.size() {
            return Err(StoreError::Corrupt("a log with a gap"));
        }
        for bytes in entries_of(&batch.entries) {
            let bytes = bytes.ok_or(StoreError::Corrupt("a torn batch"))?;
            let entry = Entry::decode(bytes).ok_or(StoreError::Corrupt("an entry that is none"))?;
            if self.edge.size() < last.size {
                self.vouched = self.vouched.max(entry.at);
            } else if entry.at > self.vouched.plus_ms(LATER_MS_MAX) {
                return Err(TOO_MANY);
            }
            self.edge.push(leaf_hash(bytes), &mut Vec::new());
            if self.edge.size() == last.size && self.edge.root() != last.root {
                return Err(StoreError::Corrupt("a log that does not continue its last checkpoint"));
            }
        }
        Ok(())
    }
}

fn edge_before(connection: &mut dyn Connection, log: LogNumber, first: u64, edge: &Edge) -> Result<Edge, StoreError> {
    let tile = u64::from(TILE_WIDTH);
    let leaves = match u16::try_from(first % tile).unwrap_or_default() {
        0 => Vec::new(),
        width => StoredTiles { connection, log, edge }.tile(0, first / tile, width)?,
    };
    edge_at(connection, log, first - first % tile, leaves)
}
