//! What proves the log: checkpoints, tiles, bundles, receipts. A proof is verified before it leaves. Hashes and checkpoints
//! tell nothing about anybody and leave no entry; whatever holds entries does.

use super::nodes::Signed;
use super::{Answered, Call, Error, Registry, render};
use crate::domain::CheckId;
use crate::log::merkle::{self, TILE_WIDTH, Tiles};
use crate::log::receipt::Receipt;
use crate::log::{self, Act, Entry, Resource, StoredTiles};
use crate::store::log::LogNumber;
use crate::store::{self, Connection, StoreError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

/// A tile or a bundle of entries, as C2SP tlog-tiles names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilePlace {
    /// `None`: a bundle of entries.
    pub level: Option<u8>,
    pub index: u64,
    /// How many hashes or entries of it, from 1 to 256.
    pub width: u16,
}

#[derive(Serialize)]
struct Consistency {
    from: u64,
    to: u64,
    proof: Vec<String>,
}

impl Registry {
    /// The last checkpoint of a node's log.
    pub async fn checkpoint(&self, node: &str) -> Result<String, Error> {
        if node == self.node {
            return Ok(self.log.head().note.clone());
        }
        let node = node.to_owned();
        let found = self.read(move |connection| match store::log::find(connection, &node)? {
            Some(log) => store::tree::last_checkpoint(connection, log),
            None => Ok(None),
        });
        found.await?.ok_or(Error::NotFound)
    }

    /// The key that verifies this node's checkpoints, as text.
    pub fn log_key(&self) -> String {
        self.log.key().to_string()
    }

    /// The hashes of a tile, as far as the last checkpoint covers them.
    pub async fn read_tile(&self, node: &str, level: u8, place: TilePlace) -> Result<Vec<u8>, Error> {
        let signed = self.signed(node).await?;
        let below = u64::from(TILE_WIDTH).checked_pow(level.into()).ok_or(Error::NotFound)?;
        let end = place.index.checked_mul(TILE_WIDTH.into()).and_then(|first| first.checked_add(place.width.into()));
        end.filter(|end| *end <= signed.head.edge.size() / below).ok_or(Error::NotFound)?;
        if level == 0 {
            signed.has_leaves(place.index.saturating_mul(TILE_WIDTH.into()))?;
        }
        let hashes =
            self.read(move |connection| tiles(connection, &signed).tile(level, place.index, place.width)).await?;
        Ok(hashes.as_flattened().to_vec())
    }

    /// Entries as they stand in the log, as far as the last checkpoint covers them.
    pub async fn read_bundle(&self, call: &Call, node: &str, place: TilePlace) -> Result<Answered, Error> {
        let signed = self.signed(node).await?;
        let first = place.index.checked_mul(TILE_WIDTH.into()).ok_or(Error::NotFound)?;
        let end = first.checked_add(place.width.into()).filter(|end| *end <= signed.head.edge.size());
        let (log, end) = (signed.log, end.ok_or(Error::NotFound)?);
        signed.is_kept(first)?;
        let bundle = self.read(move |connection| bundle(connection, log, first, end)).await?;
        let mut entry = self.entry(Act::LogRead, call);
        entry.reference = Some(format!("entries={node}/{first}-{end}"));
        self.answer_reading(entry, bundle).await
    }

    /// That the tree of `to` entries continues the tree of `from` entries.
    pub async fn prove_consistency(&self, node: &str, from: u64, to: u64) -> Result<Vec<u8>, Error> {
        let signed = self.signed(node).await?;
        if to > signed.head.edge.size() {
            return Err(Error::NotFound);
        }
        for size in [from, to].into_iter().filter(|size| size % u64::from(TILE_WIDTH) > 0) {
            signed.has_leaves(size)?;
        }
        let proof = self
            .read(move |connection| {
                let mut tiles = tiles(connection, &signed);
                let proof = merkle::consistency(from, to, &mut tiles)?;
                let roots = (merkle::root_of(from, &mut tiles)?, merkle::root_of(to, &mut tiles)?);
                let holds = merkle::verify_consistency(from, to, &proof, &roots.0, &roots.1);
                if holds { Ok(proof) } else { Err(UNPROVEN) }
            })
            .await?;
        render(&Consistency { from, to, proof: proof.iter().map(|hash| BASE64.encode(hash)).collect() })
    }

    /// The receipt of a check of the caller's party, whichever node answered it.
    pub async fn read_receipt(&self, call: &Call, id: CheckId) -> Result<Answered, Error> {
        let (node, index, entry) = self.find_check(call, id).await?;
        let signed = match self.signed(&node).await {
            Ok(signed) if index < signed.head.checkpoint.size => signed,
            Ok(_) | Err(Error::NotFound) => {
                return Err(Error::Unavailable("No checkpoint covers the check yet."));
            }
            Err(error) => return Err(error),
        };
        self.is_signed_by_its_log(&signed).await?;
        let receipt = self.read(move |connection| receipt(connection, &signed, index, &entry)).await?;
        let mut read = self.entry(Act::CheckRead, call);
        read.resource = Some(Resource::Check(id));
        self.answer_reading(read, receipt.to_string().into_bytes()).await
    }
}

const UNPROVEN: StoreError = StoreError::Corrupt("a tree whose proof does not hold");

fn tiles<'a>(connection: &'a mut dyn Connection, signed: &'a Signed) -> StoredTiles<'a> {
    StoredTiles { connection, log: signed.log, edge: &signed.head.edge }
}

fn receipt(connection: &mut dyn Connection, signed: &Signed, index: u64, entry: &Entry) -> Result<Receipt, StoreError> {
    let mut bundle = Vec::new();
    let leaf = entry.encode(&mut bundle).map_err(|_| StoreError::Corrupt("an entry that cannot be written"))?;
    let (extra, head) = (bundle.split_off(2), &signed.head);
    let (size, root) = (head.checkpoint.size, head.checkpoint.root);
    let proof = merkle::inclusion(index, size, &mut tiles(connection, signed))?;
    if !merkle::verify_inclusion(&leaf, index, size, &proof, &root) {
        return Err(UNPROVEN);
    }
    Ok(Receipt { index, proof, extra, checkpoint: head.note.clone() })
}

/// The entries from `first` to before `end`, each after its 16-bit length.
fn bundle(connection: &mut dyn Connection, log: LogNumber, first: u64, end: u64) -> Result<Vec<u8>, StoreError> {
    let mut bundle = Vec::new();
    log::each_entry(connection, log, first, end, &mut |bytes| {
        let length = u16::try_from(bytes.len()).map_err(|_| StoreError::Corrupt("an entry too large"))?;
        bundle.extend(length.to_be_bytes());
        bundle.extend(bytes);
        Ok(())
    })?;
    Ok(bundle)
}
