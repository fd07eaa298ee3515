//! A log that another node writes, as a reader of the database finds it. Nothing is believed that the entries and tiles
//! themselves do not give; who signed the checkpoint is for the caller to ask.

use super::merkle::{Edge, Hash, TILE_WIDTH};
use super::note::Checkpoint;
use super::tree::{Head, edge_at};
use super::{BATCHES_READ_AT_ONCE, entries_of, leaf_hash};
use crate::store::log::LogNumber;
use crate::store::{self, Connection, StoreError};
use std::sync::Arc;

/// The tree under the last stored checkpoint; `None` if there is none yet. `origin` names the log. What is `known` of it already
/// is not made again while it is the last.
pub fn stored_head(
    connection: &mut dyn Connection,
    log: LogNumber,
    origin: &str,
    known: Option<&Arc<Head>>,
) -> Result<Option<Arc<Head>>, StoreError> {
    let Some(note) = store::tree::last_checkpoint(connection, log)? else { return Ok(None) };
    if let Some(known) = known.filter(|known| known.note == note) {
        return Ok(Some(Arc::clone(known)));
    }
    let checkpoint = Checkpoint::claimed(&note).ok_or(StoreError::Corrupt("a checkpoint that is none"))?;
    if checkpoint.origin != origin {
        return Err(StoreError::Corrupt("a checkpoint of another log"));
    }
    let edge = edge_of(connection, log, checkpoint.size)?;
    if edge.root() == checkpoint.root {
        Ok(Some(Arc::new(Head { checkpoint, note, edge })))
    } else {
        Err(StoreError::Corrupt("a log that does not continue its last checkpoint"))
    }
}

/// The edge of the first `size` entries. The log may have grown since, so that the tile that ends them can be full by now.
fn edge_of(connection: &mut dyn Connection, log: LogNumber, size: u64) -> Result<Edge, StoreError> {
    let width = u64::from(TILE_WIDTH);
    let (base, partial) = (size - size % width, usize::try_from(size % width).unwrap_or_default());
    let full = if partial == 0 { None } else { store::tree::tile(connection, log, base, 0)? };
    let mut leaves: Vec<Hash> = Vec::with_capacity(partial);
    if let Some(tile) = full {
        let (hashes, _) = tile.hashes.as_chunks::<32>();
        leaves.extend(hashes.iter().take(partial));
    } else {
        each_entry(connection, log, base, size, &mut |bytes| {
            leaves.push(leaf_hash(bytes));
            Ok(())
        })?;
    }
    edge_at(connection, log, base, leaves)
}

/// Hands the bytes of the entries from `first` to before `end` to `each`, in order and without a gap.
pub fn each_entry(
    connection: &mut dyn Connection,
    log: LogNumber,
    first: u64,
    end: u64,
    each: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut next = first;
    while next < end {
        let from = store::log::batch_at(connection, log, next)?.map_or(next, |batch| batch.first_index);
        let before = next;
        store::log::stream_to(connection, log, (from, end - 1), BATCHES_READ_AT_ONCE, &mut |batch| {
            for (index, bytes) in (batch.first_index..end).zip(entries_of(&batch.entries)) {
                let bytes = bytes.ok_or(StoreError::Corrupt("a torn batch"))?;
                if index == next {
                    each(bytes)?;
                    next += 1;
                }
            }
            Ok(())
        })?;
        if next == before {
            return Err(StoreError::Corrupt("a log with a gap"));
        }
    }
    Ok(())
}
