//! What a log says of itself: its key, before anything that the key signs, and what its node does unasked.

use super::link::Link;
use super::note::VerifierKey;
use super::tree::{Head, Tree};
use super::{Act, Entry};
use crate::clock::Clock;
use crate::domain::party::{ClientId, PartyId};
use crate::domain::{RequestId, Timestamp};
use crate::entropy;
use crate::store::log::LogBatch;
use crate::store::{self, StoreError};

/// The first tree to show: of a log that has announced its key, and with every entry under a checkpoint.
pub(super) fn first_head(link: &mut Link, tree: &mut Tree, clock: &dyn Clock) -> Result<Head, StoreError> {
    let new_key = tree.new_key()?;
    if new_key.is_none()
        && let Some(head) = tree.head(link.connection())?
    {
        return Ok(head);
    }
    link.begin()?;
    let (log, connection) = (link.log(), link.connection());
    if let Some(key) = new_key {
        let (first_index, latest) = store::log::end(connection, log)?;
        let at = clock.now().max(latest);
        let mut batch = LogBatch { first_index, size: 1, at_min: at, at_max: at, entries: Vec::new() };
        let leaf = announcement(at, &key)?.encode(&mut batch.entries);
        tree.push(leaf.map_err(|error| StoreError::Engine(error.to_string()))?);
        store::log::append(connection, log, &batch)?;
        tree.keep(connection)?;
    }
    let (_, latest) = store::log::end(connection, log)?;
    let head = tree.sign(connection, clock.now(), latest)?;
    connection.commit()?;
    Ok(head)
}

/// The entry with which a log says what key its checkpoints are signed with from here on.
fn announcement(at: Timestamp, key: &VerifierKey) -> Result<Entry, StoreError> {
    own_entry(Act::LogKey, at, key.to_string())
}

/// An entry of what a node does by itself.
pub(super) fn own_entry(act: Act, at: Timestamp, reference: String) -> Result<Entry, StoreError> {
    let random = entropy::bytes16().map_err(|error| StoreError::Engine(error.to_string()))?;
    let ids = PartyId::parse("registry").zip(ClientId::parse("node"));
    let (party, client) = ids.ok_or(StoreError::Corrupt("an id that is none"))?;
    let mut entry = Entry::new(act, at, RequestId::mint(at, random), party, client);
    entry.reference = Some(reference);
    Ok(entry)
}
