//! What a source that begins after the log does keeps of the tree before its first entry: it must be one tree, from its tiles
//! up to the checkpoint where the source begins. Which entries stood there, only the archives can show.

use super::{Fault, Source, StoredTile, Verifier, VerifyError, first_difference};
use crate::log::merkle::{Hash, TILE_WIDTH, perfect_root};
use crate::log::note::{Checkpoint, NoteError};
use crate::log::tree::entries_below;

const LEVELS: u8 = 5;

/// How many full tiles are stored of a log of `size` entries whose tiles of level 0 begin with entry `first`.
pub(super) fn tiles_due(size: u64, first: u64) -> u64 {
    let tiles = (1..=LEVELS).map(|level| size / entries_below(level));
    tiles.sum::<u64>().saturating_sub(first / u64::from(TILE_WIDTH))
}

impl Verifier {
    /// The edge with which the source begins has met the checkpoints there. All that is stored before it must lead to it.
    pub(super) fn before<S: Source>(&mut self, source: &mut S) -> Result<(), VerifyError> {
        let start = self.edge.size();
        if self.report.checkpoints + self.report.kept == 0 {
            return Err(Fault::NoCheckpoint.at(start));
        }
        let width = u64::from(TILE_WIDTH);
        for level in 0..LEVELS {
            let first = if level == 0 { self.tiles_begin.unwrap_or_default() / width } else { 0 };
            let mut above = None;
            for index in first..start / entries_below(level + 1) {
                let root = stored_root(source, level, index)?;
                let (parent, place) = (index / width, usize::try_from(index % width).unwrap_or_default());
                if above.as_ref().is_none_or(|(known, _)| *known != parent) {
                    above = Some((parent, self.hashes_before(source, level + 1, parent)?));
                }
                let hash = above.as_ref().and_then(|(_, hashes)| hashes.get(place));
                if hash != Some(&root) {
                    return Err(Fault::Tile { level, index }.at(index * entries_below(level + 1)));
                }
            }
        }
        self.checkpoints_before(source)
    }

    /// The hashes of a tile in the tree up to the start.
    fn hashes_before<S: Source>(&self, source: &mut S, level: u8, index: u64) -> Result<Vec<Hash>, VerifyError> {
        if index >= self.edge.size() / entries_below(level + 1) {
            return Ok(self.edge.partial(level).to_vec());
        }
        match source.tile(level, index)? {
            StoredTile::Kept { hashes, .. } => Ok(hashes.as_chunks::<32>().0.to_vec()),
            StoredTile::NoneKept | StoredTile::Missing => Err(missing(level, index)),
        }
    }

    /// Of the checkpoints before the start only the signatures can be judged, and only those of keys that are known here.
    fn checkpoints_before<S: Source>(&self, source: &mut S) -> Result<(), VerifyError> {
        let mut next = 0;
        loop {
            let found = source.checkpoints(next)?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            next = last.saturating_add(1);
            for (size, note) in found.iter().filter(|(size, _)| *size < self.edge.size()) {
                match Checkpoint::parse_signed(note, self.trust.known()) {
                    Ok((checkpoint, _)) if checkpoint.size != *size => {
                        return Err(Fault::CheckpointSize { size: checkpoint.size }.at(0));
                    }
                    Ok((checkpoint, _)) if checkpoint.origin != self.trust.origin() => {
                        return Err(Fault::Origin(checkpoint.origin).at(0));
                    }
                    // A key that was given up before the start cannot be known here.
                    Err(NoteError::NoKnownKey) if note.lines().next() != Some(self.trust.origin()) => {
                        return Err(Fault::Checkpoint(NoteError::NoKnownKey).at(0));
                    }
                    Ok(_) | Err(NoteError::NoKnownKey) => {}
                    Err(error) => return Err(Fault::Checkpoint(error).at(0)),
                }
            }
            if next >= self.edge.size() {
                return Ok(());
            }
        }
    }
}

/// The root of a tile, which must be that of its hashes.
fn stored_root<S: Source>(source: &mut S, level: u8, index: u64) -> Result<Hash, VerifyError> {
    let StoredTile::Kept { root, hashes } = source.tile(level, index)? else { return Err(missing(level, index)) };
    let (whole, rest) = hashes.as_chunks::<32>();
    let is_full = whole.len() == usize::from(TILE_WIDTH) && rest.is_empty();
    let computed = perfect_root(whole);
    if is_full && first_difference(&root, &computed).is_none() && root.len() == computed.len() {
        return Ok(computed);
    }
    Err(Fault::Tile { level, index }.at(index.saturating_mul(entries_below(level + 1))))
}

fn missing(level: u8, index: u64) -> VerifyError {
    Fault::TileMissing { level, index }.at(index.saturating_mul(entries_below(level.saturating_add(1))))
}
