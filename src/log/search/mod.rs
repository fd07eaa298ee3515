//! Searching the log. The log itself is what answers; an index that is built behind the writer only tells where not to
//! look, so that one that lags or is lost makes a search slower and never wrong.

mod builder;
mod filter;
mod reading;
mod segment;

pub use builder::{Covered, SearchIndex};
pub use filter::LogFilter;
pub use reading::{Found, Piece, Reading};
pub use segment::SEGMENT_ENTRIES;
