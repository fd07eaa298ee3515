//! Archives and an export of what came after them as one source. The archives bring their tiles and checkpoints; what the
//! export holds is under the checkpoints that are given from outside.

use super::{Database, Export, Source, StoredTile, VerifyError};
use crate::domain::Timestamp;
use crate::log::tree::entries_below;
use crate::store::log::LogBatch;
use std::io::BufRead;

pub struct Continued<'a, R> {
    /// Oldest first, without gaps.
    archives: Vec<Database<'a>>,
    current: usize,
    /// Where the archives end, as far as they were read.
    end: (u64, Timestamp),
    export: Export<R>,
}

impl<'a, R: BufRead> Continued<'a, R> {
    pub fn new(archives: Vec<Database<'a>>, export: Export<R>) -> Self {
        Self { archives, current: 0, end: (0, Timestamp::EPOCH), export }
    }
}

impl<R: BufRead> Source for Continued<'_, R> {
    fn next_batch(&mut self) -> Result<Option<LogBatch>, VerifyError> {
        while let Some(archive) = self.archives.get_mut(self.current) {
            if let Some(batch) = archive.next_batch()? {
                self.end = (batch.first_index.saturating_add(batch.size), batch.at_max);
                return Ok(Some(batch));
            }
            self.current += 1;
            if self.current == self.archives.len() {
                let (index, latest) = self.end;
                self.export.continue_from(index, latest);
            }
        }
        self.export.next_batch()
    }

    fn checkpoints(&mut self, size: u64) -> Result<Vec<(u64, String)>, VerifyError> {
        for archive in &mut self.archives {
            let found = archive.checkpoints(size)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    fn tile(&mut self, level: u8, index: u64) -> Result<StoredTile, VerifyError> {
        let tile_end = index.saturating_add(1).saturating_mul(entries_below(level.saturating_add(1)));
        let (mut end, mut found) = (0, StoredTile::Missing);
        for archive in &mut self.archives {
            end = archive.length()?;
            if found == StoredTile::Missing {
                found = archive.tile(level, index)?;
            }
        }
        // A tile that the export completes is in no archive.
        if tile_end > end { Ok(StoredTile::NoneKept) } else { Ok(found) }
    }

    /// Tiles that stand in several archives are counted in none.
    fn tile_count(&mut self) -> Result<Option<u64>, VerifyError> {
        Ok(None)
    }
}
