//! The Merkle tree of one log as its writer keeps it, and its checkpoints. Tiles and checkpoints are written in the
//! transaction of the entries they stand over; a checkpoint that does not continue the one before it is never signed.

use super::merkle::{self, Edge, FullTile, Hash, NoProof, SIZE_MAX, TILE_WIDTH, Tiles};
use super::note::{Checkpoint, SignError, Signer, VerifierKey};
use super::{BATCHES_READ_AT_ONCE, UNCOVERED_MS_MAX, entries_of, leaf_hash, uncovered};
use crate::clock::Stopwatch;
use crate::domain::Timestamp;
use crate::store::log::LogNumber;
use crate::store::tree::TileRow;
use crate::store::{self, Connection, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// An entry waits so long for a checkpoint that covers it, and a commit more.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(900);
const CHECKPOINTS_READ_AT_ONCE: u32 = 1024;

/// Who signs the checkpoints of a log. After a rotation the key before signs along once, to vouch for the new one.
pub struct Signers {
    pub current: Box<dyn Signer>,
    pub previous: Option<Box<dyn Signer>>,
    /// The operator answers for entries that no server leaves without a checkpoint: they are signed.
    pub sign_uncovered: bool,
}

/// A signed tree: its checkpoint, and what proofs in it need beside the stored tiles.
#[derive(Clone)]
pub struct Head {
    pub checkpoint: Checkpoint,
    pub note: String,
    pub edge: Edge,
}

pub(super) struct Tree {
    log: LogNumber,
    signers: Arc<Signers>,
    /// The last checkpoint does not bear the current key's signature: the log must first say that the key is new.
    key_is_new: bool,
    edge: Edge,
    /// Completed in the open transaction.
    full: Vec<FullTile>,
    last: Option<Checkpoint>,
    since_last: Option<Stopwatch>,
    /// Latest time of an entry under the last checkpoint.
    vouched: Timestamp,
}

impl Tree {
    /// Takes the tree up where the stored log ends, and compares it with the last checkpoint.
    pub(super) fn open(
        connection: &mut dyn Connection,
        log: LogNumber,
        signers: Arc<Signers>,
    ) -> Result<Self, StoreError> {
        let edge = restore(connection, log)?;
        let (full, vouched) = (Vec::new(), store::log::end(connection, log)?.1);
        let mut tree = Self { log, signers, key_is_new: true, edge, full, last: None, since_last: None, vouched };
        if let Some(note) = store::tree::last_checkpoint(connection, log)? {
            let (checkpoint, signed_by) = Checkpoint::parse_signed(&note, &tree.signers.keys()?).map_err(|error| {
                StoreError::Engine(format!("the last checkpoint, under the keys of this node: {error}"))
            })?;
            tree.key_is_new = !signed_by.contains(&0);
            if checkpoint.origin != tree.signers.current.name() {
                return Err(StoreError::Corrupt("a checkpoint of another log"));
            }
            if tree.key_is_new && tree.has_signed(connection)? {
                return Err(StoreError::Corrupt("a last checkpoint that is signed by a key given up before"));
            }
            let at_its_size = store::tree::checkpoints(connection, log, checkpoint.size, 2)?;
            if !matches!(at_its_size.as_slice(), [(size, _)] if *size == checkpoint.size) {
                return Err(StoreError::Corrupt("a last checkpoint in the wrong place"));
            }
            tree.continues(connection, &checkpoint)?;
            if !tree.signers.sign_uncovered {
                uncovered::refuse_too_many(connection, log, &checkpoint, &tree.edge)?;
            }
            tree.last = Some(checkpoint);
        } else if !tree.signers.sign_uncovered {
            uncovered::refuse_once_signed(connection, log)?;
        }
        Ok(tree)
    }

    /// Takes it up once more, forgetting what a transaction that was not kept had added.
    pub(super) fn reopen(&mut self, connection: &mut dyn Connection) -> Result<(), StoreError> {
        *self = Self::open(connection, self.log, Arc::clone(&self.signers))?;
        Ok(())
    }

    /// Whether any checkpoint bears the current key's signature: then the key before is good for nothing new. Read through only
    /// while a change of keys is under way.
    fn has_signed(&self, connection: &mut dyn Connection) -> Result<bool, StoreError> {
        let (key, mut next) = ([self.key()?], 0);
        while next < SIZE_MAX {
            let notes = store::tree::checkpoints(connection, self.log, next, CHECKPOINTS_READ_AT_ONCE)?;
            if notes.iter().any(|(_, note)| Checkpoint::parse_signed(note, &key).is_ok()) {
                return Ok(true);
            }
            next = notes.last().map_or(SIZE_MAX, |(size, _)| size.saturating_add(1));
        }
        Ok(false)
    }

    /// What verifies the checkpoints from here on.
    pub(super) fn key(&self) -> Result<VerifierKey, StoreError> {
        let signer = &self.signers.current;
        VerifierKey::new(signer.name(), signer.public_key()).ok_or_else(|| failed(SignError::Form))
    }

    /// The verifier key to announce, if no checkpoint bears its signature yet.
    pub(super) fn new_key(&self) -> Result<Option<VerifierKey>, StoreError> {
        self.key_is_new.then(|| self.key()).transpose()
    }

    pub(super) fn push(&mut self, leaf: Hash) {
        self.edge.push(leaf, &mut self.full);
    }

    /// Writes the tiles that the entries of the open transaction have completed.
    pub(super) fn keep(&mut self, connection: &mut dyn Connection) -> Result<(), StoreError> {
        for tile in self.full.drain(..) {
            keep_tile(connection, self.log, tile)?;
        }
        Ok(())
    }

    /// How long until a checkpoint is due; `None` if the last one covers every entry.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let covered = self.last.as_ref().is_some_and(|last| last.size == self.edge.size());
        if covered || self.edge.size() == 0 {
            return None;
        }
        Some(self.since_last.map_or(Duration::ZERO, |since| CHECKPOINT_EVERY.saturating_sub(since.elapsed())))
    }

    /// Whether a batch up to this time needs a checkpoint of its own, so that what a crash leaves without one is never younger
    /// by more: after a pause, or where the clock was set.
    pub(super) fn is_too_late(&self, latest: Timestamp) -> bool {
        latest > self.vouched.plus_ms(UNCOVERED_MS_MAX)
    }

    /// Signs the tree as the open transaction makes it, and writes the checkpoint. It may be shown after the commit. `latest` is
    /// the latest time of an entry in it.
    pub(super) fn sign(
        &mut self,
        connection: &mut dyn Connection,
        at: Timestamp,
        latest: Timestamp,
    ) -> Result<Head, StoreError> {
        if let Some(last) = &self.last {
            self.continues(connection, last)?;
        }
        let origin = self.signers.current.name().to_owned();
        let checkpoint = Checkpoint { origin, size: self.edge.size(), root: self.edge.root() };
        let note = checkpoint.sign(&self.signers.of_the_next(self.key_is_new)).map_err(failed)?;
        store::tree::insert_checkpoint(connection, self.log, checkpoint.size, at, &note)?;
        self.key_is_new = false;
        self.last = Some(checkpoint.clone());
        self.since_last = Some(Stopwatch::start());
        self.vouched = latest;
        Ok(Head { checkpoint, note, edge: self.edge.clone() })
    }

    /// The last checkpoint, if it covers every entry.
    pub(super) fn head(&self, connection: &mut dyn Connection) -> Result<Option<Head>, StoreError> {
        let covering = self.last.clone().filter(|last| last.size == self.edge.size());
        let note = store::tree::last_checkpoint(connection, self.log)?;
        Ok(covering.zip(note).map(|(checkpoint, note)| Head { checkpoint, note, edge: self.edge.clone() }))
    }

    /// Refuses to go on from a checkpoint of which this tree is no continuation.
    pub(super) fn continues(&self, connection: &mut dyn Connection, last: &Checkpoint) -> Result<(), StoreError> {
        let mut tiles = StoredTiles { connection, log: self.log, edge: &self.edge };
        let proof = merkle::consistency(last.size, self.edge.size(), &mut tiles).map_err(|error| {
            // A database that is lost says nothing about the log.
            let tells = matches!(error, StoreError::Corrupt(_));
            let short = StoreError::Corrupt("a log that is shorter than its last checkpoint, or lacks tiles");
            if tells { short } else { error }
        })?;
        if merkle::verify_consistency(last.size, self.edge.size(), &proof, &last.root, &self.edge.root()) {
            Ok(())
        } else {
            Err(StoreError::Corrupt("a log that does not continue its last checkpoint"))
        }
    }
}

impl Signers {
    /// The current key first.
    fn keys(&self) -> Result<Vec<VerifierKey>, StoreError> {
        let signers = std::iter::once(&self.current).chain(&self.previous);
        let keys = signers.map(|signer| VerifierKey::new(signer.name(), signer.public_key()));
        keys.collect::<Option<_>>().ok_or_else(|| failed(SignError::Form))
    }

    fn of_the_next(&self, key_is_new: bool) -> Vec<&dyn Signer> {
        let previous = self.previous.as_ref().filter(|_| key_is_new);
        previous.into_iter().chain([&self.current]).map(AsRef::as_ref).collect()
    }
}

fn failed(error: SignError) -> StoreError {
    StoreError::Engine(error.to_string())
}

fn keep_tile(connection: &mut dyn Connection, log: LogNumber, tile: FullTile) -> Result<(), StoreError> {
    let first_index = tile.index.saturating_mul(entries_below(tile.level.saturating_add(1)));
    let row = TileRow { root: tile.root.to_vec(), hashes: tile.hashes };
    store::tree::insert_tile(connection, log, first_index, tile.level, &row)
}

/// How many entries lie below one hash of a level: 256^level. No log has as many as the last of these.
pub(super) fn entries_below(level: u8) -> u64 {
    u64::from(TILE_WIDTH).saturating_pow(level.into())
}

/// The edge of the stored tree, of a log or of an archive: from the roots of its last full tiles, and from the entries after
/// them. In a database whose entries are older than its tiles, these are made here.
pub(super) fn restore(connection: &mut dyn Connection, log: LogNumber) -> Result<Edge, StoreError> {
    let tile = u64::from(TILE_WIDTH);
    let base = store::tree::last_tile(connection, log)?.map_or(0, |first_index| first_index + tile);
    let mut edge = edge_at(connection, log, base, Vec::new())?;
    while extend(connection, log, &mut edge)? {}
    Ok(edge)
}

/// The edge of the first entries of the stored tree: `base`, a multiple of a tile's width, and the leaves after it.
pub(super) fn edge_at(
    connection: &mut dyn Connection,
    log: LogNumber,
    base: u64,
    leaves: Vec<Hash>,
) -> Result<Edge, StoreError> {
    let tile = u64::from(TILE_WIDTH);
    let size = base + u64::try_from(leaves.len()).unwrap_or_default();
    let mut partials = vec![leaves];
    for level in 1..8 {
        let (whole, below) = (base / entries_below(level), entries_below(level));
        let mut partial = Vec::new();
        for index in whole - whole % tile..whole {
            let root = store::tree::tile_root(connection, log, index * below, level - 1)?;
            partial.push(root.ok_or(StoreError::Corrupt("a tree with a gap"))?);
        }
        partials.push(partial);
    }
    Edge::restore(size, partials).ok_or(StoreError::Corrupt("tiles that are no tree"))
}

/// Appends the entries of some more batches; false at the end.
fn extend(connection: &mut dyn Connection, log: LogNumber, edge: &mut Edge) -> Result<bool, StoreError> {
    let (end, _) = store::log::end(connection, log)?;
    if edge.size() >= end {
        return if edge.size() == end { Ok(false) } else { Err(StoreError::Corrupt("fewer entries than tiles")) };
    }
    let from = store::log::batch_at(connection, log, edge.size())?.map_or(0, |batch| batch.first_index);
    let mut full = Vec::new();
    store::log::stream(connection, log, from, BATCHES_READ_AT_ONCE, &mut |batch| {
        for (index, bytes) in (batch.first_index..).zip(entries_of(&batch.entries)) {
            let bytes = bytes.ok_or(StoreError::Corrupt("a torn batch"))?;
            if index == edge.size() {
                edge.push(leaf_hash(bytes), &mut full);
            }
        }
        let whole = edge.size() == batch.first_index + batch.size;
        if whole { Ok(()) } else { Err(StoreError::Corrupt("a log with a gap")) }
    })?;
    if !full.is_empty() {
        connection.begin()?;
        full.into_iter().try_for_each(|tile| keep_tile(connection, log, tile))?;
        connection.commit()?;
    }
    Ok(true)
}

/// The tiles of a tree: full ones from the store, the others from its edge.
pub struct StoredTiles<'a> {
    pub connection: &'a mut dyn Connection,
    pub log: LogNumber,
    pub edge: &'a Edge,
}

impl Tiles for StoredTiles<'_> {
    type Error = StoreError;

    fn tile(&mut self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, StoreError> {
        let below = entries_below(level.saturating_add(1));
        let width = usize::from(width);
        let hashes = if index < self.edge.size() / below {
            let row = store::tree::tile(self.connection, self.log, index.saturating_mul(below), level)?;
            let row = row.ok_or(StoreError::Corrupt("no tile where one belongs"))?;
            let (hashes, _) = row.hashes.as_chunks::<32>();
            hashes.get(..width).map(<[Hash]>::to_vec)
        } else if index == self.edge.size() / below {
            self.edge.partial(level).get(..width).map(<[Hash]>::to_vec)
        } else {
            None
        };
        hashes.ok_or_else(|| NoProof::TileWidth.into())
    }
}
