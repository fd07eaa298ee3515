//! Answers of any length, made piece by piece while they are sent.

use super::places::Places;
use crate::store::StoreError;

/// An answer that is made piece by piece.
pub trait Pieces: Send {
    /// The next bytes, never none; `None` at the end. It waits for the disk.
    fn next_piece(&mut self) -> Result<Option<Vec<u8>>, StoreError>;
}

/// Streams of a kind at once.
const STREAMS_MAX: usize = 8;
/// Of them, those of one client.
const STREAMS_OF_A_CLIENT_MAX: usize = 2;

pub(super) fn places() -> Places {
    Places::new(STREAMS_MAX, STREAMS_OF_A_CLIENT_MAX)
}
