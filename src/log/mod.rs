//! The access log, and the only door to a write: `Log::submit`. When `Pending::durable` returns `Ok` the entry, and the change that came
//! with it, are on stable storage.

mod act;
mod answered;
pub mod archive;
mod desk;
mod door;
mod draft;
mod entry;
mod exported;
mod find;
mod link;
mod measures;
pub mod merkle;
pub mod note;
mod own;
mod queue;
pub mod receipt;
mod record;
mod search;
mod stored;
mod tally;
mod tree;
mod uncovered;
pub mod verify;
mod view;
mod writer;

pub use act::Act;
pub use answered::sum_up;
pub use desk::Pending;
pub use door::{End, Limits, Log, Opening, Publish};
pub use entry::{Entry, EntrySubject, EntryTooLarge, FlagVersion, Resource, entries_of, leaf_hash};
pub use exported::{CSV_HEADER, Exported};
pub use find::{find, find_in};
pub use measures::{BATCH_RECORDS, COMMIT_SECONDS};
pub use record::{AppendError, Record, Refusal};
pub use search::{Covered, Found, FoundIn, LogFilter, Merged, Piece, Reading, SEGMENT_ENTRIES, SearchIndex};
pub use stored::{each_entry, stored_head};
pub use tally::{Reach, Read, Tallies, reach};
pub use tree::{Head, Signers, StoredTiles};
pub use view::{EntryView, SubjectView};

/// How far the time of an entry may lie before the latest time in the log. Requests take their time when they arrive and
/// are committed when the writer comes to them, so neighbours may stand out of order by that much and no more.
pub const SKEW_MS_MAX: u64 = 10_000;

/// By how much entries without a checkpoint may be younger than what the last one covers: a batch beyond that brings its own.
pub const UNCOVERED_MS_MAX: u64 = 10_000;

/// Batches that a reader takes with one statement.
pub const BATCHES_READ_AT_ONCE: u32 = 64;
