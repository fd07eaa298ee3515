//! What statistics count of the logs. A thread counts behind the writer, in segments of 65,536 entries; what it has not
//! counted yet is counted when it is asked for. Figures are made of entries and of versions of flags alone, which never
//! change, so that whoever counts finds the same.
//!
//! A segment's seal binds its figures to the root of the tree over its entries, which stays in the database for ever: that
//! guards against damage and against a file of another log, also where the entries themselves are in an archive. It has no key.
//! It also says by which rules was counted. What was counted by those before is counted anew, and where the entries are in an
//! archive it stays as it is.

mod builder;
mod count;
mod reach;
mod reading;

pub use builder::Tallies;
pub use reach::{Reach, reach};
pub use reading::Read;

use crate::domain::{Day, Tally};
use crate::store::log::LogNumber;
use crate::store::tally::Head;
use crate::store::{self, Connection, StoreError};
use sha2::{Digest, Sha256};

/// The tree's tiles of this level span a segment.
const SEGMENT_LEVEL: u8 = 1;

/// The rules by which was counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rules {
    Current,
    /// Decisions on amendments counted as approvals and rejections, a flag that was found wrong after its end counted as lifted
    /// once more, and of those found wrong only the lifted ones counted as corrected.
    Before,
}

impl Rules {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Current => b"canhbao tally 2",
            Self::Before => b"canhbao tally 1",
        }
    }
}

/// Of a segment's figures.
fn seal(rules: Rules, root: &[u8; 32], head: &Head, body: &[u8]) -> [u8; 32] {
    let hash = Sha256::new().chain_update(rules.name()).chain_update(root);
    let hash = hash.chain_update(head.first_index.to_be_bytes());
    let hash = hash.chain_update(head.first_day.number().to_be_bytes());
    hash.chain_update(head.last_day.number().to_be_bytes()).chain_update(body).finalize().into()
}

/// The root of the tree over a segment, which it has as soon as it is whole.
fn root(connection: &mut dyn Connection, log: LogNumber, first_index: u64) -> Result<[u8; 32], StoreError> {
    let root = store::tree::tile_root(connection, log, first_index, SEGMENT_LEVEL)?;
    root.ok_or(StoreError::Corrupt("a segment without a tile"))
}

/// Stores a whole segment. `writer` may see nothing but what is derived.
fn store(
    writer: &mut dyn Connection,
    log: LogNumber,
    first_index: u64,
    root: &[u8; 32],
    tally: &Tally,
) -> Result<(), StoreError> {
    // Nothing counted is on no day.
    let (first_day, last_day) = tally.days().unwrap_or((Day::from_number(u32::MAX), Day::from_number(0)));
    let body = tally.to_bytes();
    let head = Head { first_index, seal: Vec::new(), first_day, last_day };
    let seal = seal(Rules::Current, root, &head, &body).to_vec();
    store::tally::replace(writer, log, &Head { seal, ..head }, &body)
}

/// The figures of a segment, and by which rules; `None` if what is stored does not belong to the log, or is damaged.
fn stored(connection: &mut dyn Connection, log: LogNumber, head: &Head) -> Result<Option<(Tally, Rules)>, StoreError> {
    let Some(root) = store::tree::tile_root(connection, log, head.first_index, SEGMENT_LEVEL)? else { return Ok(None) };
    let Some(body) = store::tally::body(connection, log, head.first_index)? else { return Ok(None) };
    Ok(unsealed(&root, head, &body))
}

/// As `stored`, of what was read.
fn unsealed(root: &[u8; 32], head: &Head, body: &[u8]) -> Option<(Tally, Rules)> {
    let is_by = |rules: &Rules| seal(*rules, root, head, body).as_slice() == head.seal;
    let rules = [Rules::Current, Rules::Before].into_iter().find(is_by)?;
    Some((Tally::from_bytes(body)?, rules))
}
