//! What a verification found: the figures of a sound log, or the first thing that is wrong and where.

use crate::domain::Timestamp;
use crate::log::merkle::{Hash, empty_root};
use crate::log::note::NoteError;
use crate::log::receipt::ReceiptFault;
use crate::store::StoreError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The index of the first entry that was read.
    pub start: u64,
    pub size: u64,
    pub root: Hash,
    /// The size under the last checkpoint; entries from here on are not yet covered.
    pub covered: u64,
    pub checkpoints: u64,
    /// Checkpoints given from outside that the log met.
    pub kept: u64,
    pub receipts: usize,
    pub tiles: u64,
    /// Keys that are trusted at the end, as verifier keys.
    pub keys: Vec<String>,
    pub earliest: Option<Timestamp>,
    pub latest: Option<Timestamp>,
}

impl Report {
    pub(super) fn new(start: u64) -> Self {
        Self {
            start,
            size: start,
            root: empty_root(),
            covered: start,
            checkpoints: 0,
            kept: 0,
            receipts: 0,
            tiles: 0,
            keys: Vec::new(),
            earliest: None,
            latest: None,
        }
    }

    pub(super) fn saw(&mut self, at: Timestamp) {
        self.earliest = Some(self.earliest.map_or(at, |earliest| earliest.min(at)));
        self.latest = Some(self.latest.map_or(at, |latest| latest.max(at)));
    }
}

/// The first index that cannot be relied on, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {index}: {fault}")]
pub struct Finding {
    pub index: u64,
    pub fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it should come next, but entry {found} does")]
    Gap { found: u64 },
    #[error("its batch is torn")]
    Torn,
    #[error("its batch holds another number of entries or other times than it says")]
    Head,
    #[error("its bytes are no entry")]
    Entry,
    #[error("its time lies further before an earlier entry's than the log allows")]
    Time,
    #[error("it should announce a key of this log and does not")]
    KeyEntry,
    #[error("its line is not what this program exports for these bytes")]
    Line,
    #[error("the entries give another root than the checkpoint of {size} entries has")]
    Root { size: u64 },
    #[error("the first checkpoint from here on: {0}")]
    Checkpoint(NoteError),
    #[error("the first checkpoint from here on is of the log {0}")]
    Origin(String),
    #[error("the first checkpoint from here on is one of {size} entries, kept in the wrong place")]
    CheckpointSize { size: u64 },
    #[error("the first checkpoint after a change of keys is not signed by both keys")]
    Rotation,
    #[error("the first checkpoint from here on is signed by a key that the log had given up before")]
    RetiredKey,
    #[error("the first checkpoint from here on is signed by a key that no trusted key vouches for")]
    Unvouched,
    #[error("the database has no log of this node")]
    NoLog,
    #[error("no checkpoint covers this and what follows up to {latest}, more than a server leaves uncovered")]
    Uncovered { latest: Timestamp },
    #[error("no checkpoint vouches for this and what follows")]
    NoCheckpoint,
    #[error("tile {index} of level {level} is not what the entries give")]
    Tile { level: u8, index: u64 },
    #[error("tile {index} of level {level} is missing")]
    TileMissing { level: u8, index: u64 },
    #[error("{stored} tiles are stored, and the entries give {due}")]
    TileCount { stored: u64, due: u64 },
    #[error("it is missing: the log once had {size} entries")]
    Rollback { size: u64 },
    #[error("a receipt was given for another entry in its place")]
    Receipt,
    #[error("its receipt: {0}")]
    BadReceipt(ReceiptFault),
    #[error("it is missing, and no entry under a checkpoint says that those before {end} were sealed into an archive")]
    NotSealed { end: u64 },
    #[error("the archive that should begin with it is not the file that was sealed")]
    Archive,
    #[error("the database holds {0}")]
    Stored(&'static str),
}

impl Fault {
    pub fn at(self, index: u64) -> VerifyError {
        VerifyError::Tampered(Finding { index, fault: self })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Tampered(Finding),
    /// Nothing can be said about the log.
    #[error("{0}")]
    Unreadable(String),
}

impl VerifyError {
    /// What is stored in a form that nobody writes was tampered with; what cannot be read at all tells nothing.
    pub fn of_store(error: StoreError, index: u64) -> Self {
        match error {
            StoreError::Corrupt(what) => Fault::Stored(what).at(index),
            StoreError::Lost(_) | StoreError::Undone(_) | StoreError::Fenced | StoreError::Engine(_) => {
                Self::Unreadable(error.to_string())
            }
        }
    }
}
