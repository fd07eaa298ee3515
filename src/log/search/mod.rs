//! Searching the log. The log itself is what answers; an index that is built behind the writer only tells where not to
//! look, so that one that lags or is lost makes a search slower and never wrong.
//!
//! Each segment of the index carries a seal: a hash over the log's own last entry in it and all that the segment holds. It
//! is recomputed at each start, and until then the log is read. That guards against damage, and against a file that is of
//! another log or of an older one. It does not guard against somebody who can write the file: the seal has no key, so that
//! they can recompute it over postings that leave entries out, or change them while the registry runs. What must hold
//! against them reads the log alone: `log verify`, and an export without a filter.

mod builder;
mod filter;
mod merged;
mod reading;
mod segment;

pub use builder::{Covered, SearchIndex};
pub use filter::LogFilter;
pub use merged::{FoundIn, Merged};
pub use reading::{Found, Piece, Reading};
pub use segment::SEGMENT_ENTRIES;
