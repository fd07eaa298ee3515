//! Archives and the database after them as one source, so that a log is verified from its first entry on. That each archive is
//! the file that was sealed is for the caller to see.

use super::{Database, Source, StoredTile, VerifyError};
use crate::store::log::LogBatch;

pub struct Chain<'a> {
    /// Oldest first; whoever comes last has all checkpoints, and all tiles but those of level 0.
    parts: Vec<Database<'a>>,
    last: Database<'a>,
    current: usize,
}

impl<'a> Chain<'a> {
    pub fn new(archives: Vec<Database<'a>>, last: Database<'a>) -> Self {
        Self { parts: archives, last, current: 0 }
    }
}

impl Source for Chain<'_> {
    fn next_batch(&mut self) -> Result<Option<LogBatch>, VerifyError> {
        while let Some(part) = self.parts.get_mut(self.current) {
            if let Some(batch) = part.next_batch()? {
                return Ok(Some(batch));
            }
            self.current += 1;
        }
        self.last.next_batch()
    }

    fn checkpoints(&mut self, size: u64) -> Result<Vec<(u64, String)>, VerifyError> {
        self.last.checkpoints(size)
    }

    fn tile(&mut self, level: u8, index: u64) -> Result<StoredTile, VerifyError> {
        let mut found = self.last.tile(level, index)?;
        let mut parts = self.parts.iter_mut();
        while level == 0 && found == StoredTile::Missing {
            let Some(part) = parts.next() else { break };
            found = part.tile(level, index)?;
        }
        Ok(found)
    }

    /// Tiles that stand in several parts are counted in none.
    fn tile_count(&mut self) -> Result<Option<u64>, VerifyError> {
        Ok(None)
    }
}
