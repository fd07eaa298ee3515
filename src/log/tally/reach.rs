//! How far back the figures of the logs reach. Those of archived entries cannot be counted again, so that a copy of a registry
//! takes them along, and each is looked at against the tree in the copy.

use super::super::SEGMENT_ENTRIES;
use super::reading::begin;
use super::{SEGMENT_LEVEL, unsealed};
use crate::domain::LogPosition;
use crate::store::log::LogNumber;
use crate::store::tally::Head;
use crate::store::{self, Connection, StoreError};
use std::collections::BTreeMap;
use std::ops::Range;

pub struct Reach {
    /// The first entry from which on all are counted or can be.
    pub from: LogPosition,
    /// Archived entries whose tallies are there and not sound.
    pub unsound: Vec<Range<u64>>,
}

/// Takes what is stored of a segment.
type Take<'t> = dyn FnMut(LogNumber, &Head, &[u8]) -> Result<(), StoreError> + 't;

/// Of all logs of a registry. What is sound of its tallies, which may lie elsewhere, is handed to `each`; of entries that are
/// still there, or not there yet, what is not sound is counted anew and not worth a word.
pub fn reach(
    registry: &mut dyn Connection,
    mut tallies: Option<&mut dyn Connection>,
    each: &mut Take<'_>,
) -> Result<Vec<Reach>, StoreError> {
    let mut reaches = Vec::new();
    for (node, log) in store::log::all(registry)? {
        let first = store::log::first_index(registry, log)?;
        let (mut sound, mut unsound) = (BTreeMap::new(), Vec::new());
        if let Some(tallies) = tallies.as_deref_mut() {
            for head in store::tally::heads(tallies, log, 0)? {
                let root = store::tree::tile_root(registry, log, head.first_index, SEGMENT_LEVEL)?;
                let body = store::tally::body(tallies, log, head.first_index)?;
                match root.zip(body).filter(|(root, body)| unsealed(root, &head, body).is_some()) {
                    Some((_, body)) => {
                        each(log, &head, &body)?;
                        sound.insert(head.first_index, head);
                    }
                    None if head.first_index < first => {
                        unsound.push(head.first_index..head.first_index + SEGMENT_ENTRIES);
                    }
                    None => {}
                }
            }
        }
        let from = LogPosition { node: node.into(), index: begin(&sound, first) };
        reaches.push(Reach { from, unsound });
    }
    Ok(reaches)
}
