//! Sealing the old part of a log into a file: where it ends, what goes into the file, and the record with which the writer
//! drops it. Nothing is dropped here; that is the writer's alone, in the transaction of the entry that says so.

use super::find::first_candidate;
use super::merkle::{self, TILE_WIDTH};
use super::own::own_entry;
use super::receipt::Receipt;
use super::tree::{StoredTiles, entries_below, restore};
use super::{Act, BATCHES_READ_AT_ONCE, Record, entries_of, leaf_hash};
use crate::domain::{AnsweredParties, Timestamp};
use crate::store::archive::{Archive, tiles_begin};
use crate::store::log::LogNumber;
use crate::store::{self, Connection, StoreError};

const ROWS_AT_ONCE: u32 = 256;

/// The entries that an archive holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub first_index: u64,
    pub end: u64,
    /// Latest time of an entry in the log up to the end.
    pub at_max: Timestamp,
}

impl Part {
    /// What can be sealed now: from the first entry that the database still has to the last checkpoint up to which every
    /// entry is older than `before`. `None` if that is not even a tile of the tree. The archive ends with a checkpoint, so
    /// that all of it is signed, and before the last full tile does, so that the tree goes on without it.
    pub fn due(connection: &mut dyn Connection, log: LogNumber, before: Timestamp) -> Result<Option<Self>, StoreError> {
        let first_index = begin(connection, log)?;
        let (end, _) = store::log::end(connection, log)?;
        let older = first_candidate(connection, log, before)?;
        let limit = older.min(end - end % u64::from(TILE_WIDTH));
        let checkpoint = store::archive::checkpoint_before(connection, log, limit)?;
        let Some(end) = checkpoint.map(|row| row.size).filter(|end| *end > first_index) else { return Ok(None) };
        Self::ending(connection, log, first_index, end).map(|part| part.filter(Self::has_tile))
    }

    /// The part up to `end`, if a batch ends there.
    pub fn ending(
        connection: &mut dyn Connection,
        log: LogNumber,
        first_index: u64,
        end: u64,
    ) -> Result<Option<Self>, StoreError> {
        let last = store::log::batch_at(connection, log, end.saturating_sub(1))?;
        let last = last.filter(|batch| batch.first_index + batch.size == end);
        Ok(last.map(|batch| Self { first_index, end, at_max: batch.at_max }))
    }

    /// The leaves around the beginning must be found in a tile of the archive's own.
    fn has_tile(&self) -> bool {
        self.first_index / u64::from(TILE_WIDTH) < self.end / u64::from(TILE_WIDTH)
    }
}

/// Where the entries in the database begin, which must be where the last archive ends.
fn begin(connection: &mut dyn Connection, log: LogNumber) -> Result<u64, StoreError> {
    let first_index = store::log::first_index(connection, log)?;
    let sealed = store::archive::all(connection, log)?.last().map_or(0, Archive::end);
    if first_index == sealed {
        Ok(sealed)
    } else {
        Err(StoreError::Corrupt("a log that does not begin where its archives end"))
    }
}

/// Writes a part of a log into an empty archive: its batches, the checkpoints from its beginning to its end, and the tiles
/// with which proofs can be made in it and the tree be taken up at its beginning.
pub fn write(
    source: &mut dyn Connection,
    target: &mut dyn Connection,
    node: &str,
    log: LogNumber,
    part: &Part,
    progress: &mut dyn FnMut(u64),
) -> Result<(), StoreError> {
    target.begin()?;
    store::archive::copy_heads(source, target, log, node)?;
    for archive in store::archive::all(source, log)? {
        store::archive::insert(target, log, &archive, None)?;
    }
    copy_tiles(source, target, log, part)?;
    copy_checkpoints(source, target, log, part)?;
    let mut next = part.first_index;
    while next < part.end {
        let before = next;
        store::log::stream(source, log, next, BATCHES_READ_AT_ONCE, &mut |batch| {
            if batch.first_index < part.end {
                next = batch.first_index + batch.size;
                store::log::append(target, log, &batch)?;
            }
            Ok(())
        })?;
        if next == before {
            return Err(StoreError::Corrupt("a log with a gap"));
        }
        progress(next);
    }
    target.commit()
}

fn copy_tiles(
    source: &mut dyn Connection,
    target: &mut dyn Connection,
    log: LogNumber,
    part: &Part,
) -> Result<(), StoreError> {
    let mut next = 0;
    while next < part.end {
        let tiles = store::archive::tiles(source, log, next, ROWS_AT_ONCE)?;
        let Some(last) = tiles.last() else { break };
        next = last.place() + 1;
        for tile in tiles {
            let end = tile.first_index.saturating_add(entries_below(tile.level.saturating_add(1)));
            let is_needed = tile.level > 0 || tile.first_index >= tiles_begin(part.first_index);
            if end <= part.end && is_needed {
                store::tree::insert_tile(target, log, tile.first_index, tile.level, &tile.row)?;
            }
        }
    }
    Ok(())
}

fn copy_checkpoints(
    source: &mut dyn Connection,
    target: &mut dyn Connection,
    log: LogNumber,
    part: &Part,
) -> Result<(), StoreError> {
    let mut next = part.first_index;
    loop {
        let rows = store::archive::checkpoints(source, log, next, ROWS_AT_ONCE)?;
        let Some(last) = rows.last() else { return Ok(()) };
        next = last.size + 1;
        for row in rows.iter().filter(|row| row.size <= part.end) {
            store::tree::insert_checkpoint(target, log, row.size, row.at, &row.note)?;
        }
        if next > part.end {
            return Ok(());
        }
    }
}

/// What the log says of an archive, in the reference of the entry of its sealing.
pub(super) fn sealed(archive: &Archive) -> String {
    let digest: String = archive.digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{} {} sha256:{digest}", archive.first_index, archive.end(), archive.at_max)
}

/// The record with which the writer drops what the archive holds, but for what its checks were answered with.
pub fn sealing(archive: Archive, answered: AnsweredParties) -> Result<Record, StoreError> {
    let entry = own_entry(Act::LogArchive, archive.sealed_at, sealed(&archive))?;
    Ok(Record::sealing(entry, archive, answered))
}

/// The receipt of an entry of an archive, under the first checkpoint in it that covers the entry. It is verified before it is
/// returned, but for the signature. `None` if the entry is not in the archive.
pub fn receipt(connection: &mut dyn Connection, log: LogNumber, index: u64) -> Result<Option<Receipt>, StoreError> {
    let Some(extra) = entry_bytes(connection, log, index)? else { return Ok(None) };
    let row = store::archive::checkpoints(connection, log, index + 1, 1)?.into_iter().next();
    let Some(row) = row else { return Ok(None) };
    let edge = restore(connection, log)?;
    let mut tiles = StoredTiles { connection, log, edge: &edge };
    let proof = merkle::inclusion(index, row.size, &mut tiles)?;
    let root = merkle::root_of(row.size, &mut tiles)?;
    if !merkle::verify_inclusion(&leaf_hash(&extra), index, row.size, &proof, &root) {
        return Err(StoreError::Corrupt("a tree whose proof does not hold"));
    }
    Ok(Some(Receipt { index, proof, extra, checkpoint: row.note }))
}

fn entry_bytes(connection: &mut dyn Connection, log: LogNumber, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(head) = store::log::batch_at(connection, log, index)? else { return Ok(None) };
    let offset = usize::try_from(index - head.first_index).unwrap_or(usize::MAX);
    let mut found = None;
    store::log::stream(connection, log, head.first_index, 1, &mut |batch| {
        found = entries_of(&batch.entries).nth(offset).flatten().map(<[u8]>::to_vec);
        Ok(())
    })?;
    Ok(found)
}
