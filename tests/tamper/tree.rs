//! The tree, its tiles and its checkpoints once more, as an attacker would make them: by RFC 6962 and the C2SP texts, with
//! nothing of the registry's own code.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

pub type Hash = [u8; 32];
pub const TILE: usize = 256;

pub fn leaf(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// Pairs from the left, and an odd one is carried up: the splits of RFC 6962.
pub fn root(hashes: &[Hash]) -> Hash {
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        level = level.chunks(2).map(|pair| if pair.len() == 2 { node(&pair[0], &pair[1]) } else { pair[0] }).collect();
    }
    level.first().copied().unwrap_or_else(|| Sha256::digest(b"").into())
}

/// The rows of all full tiles: place, root, hashes.
pub fn tiles(leaves: &[Hash]) -> Vec<(i64, Vec<u8>, Vec<u8>)> {
    let (mut rows, mut level, mut hashes, mut span) = (Vec::new(), 0, leaves.to_vec(), TILE);
    while hashes.len() >= TILE {
        let full: Vec<&[Hash]> = hashes.chunks_exact(TILE).collect();
        let roots: Vec<Hash> = full.iter().map(|tile| root(tile)).collect();
        for (index, (tile, root)) in full.iter().zip(&roots).enumerate() {
            let place = i64::try_from(index * span).unwrap() + level;
            rows.push((place, root.to_vec(), tile.as_flattened().to_vec()));
        }
        (level, hashes, span) = (level + 1, roots, span * TILE);
    }
    rows
}

/// A key that signs checkpoints, in the name of a log.
pub struct Key {
    origin: String,
    pair: Ed25519KeyPair,
}

impl Key {
    pub fn from_seed(origin: &str, seed: u8) -> Self {
        Self { origin: origin.to_owned(), pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap() }
    }

    pub fn from_pem(origin: &str, pem: &str) -> Option<Self> {
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&BASE64.decode(body).ok()?).ok()?;
        Some(Self { origin: origin.to_owned(), pair })
    }

    fn id(&self) -> [u8; 4] {
        let digest = Sha256::new().chain_update(&self.origin).chain_update(b"\n\x01");
        let digest: Hash = digest.chain_update(self.pair.public_key()).finalize().into();
        digest[..4].try_into().unwrap()
    }

    /// As `/.well-known/log-key` has it.
    pub fn text(&self) -> String {
        let id: String = self.id().iter().map(|byte| format!("{byte:02x}")).collect();
        let key = BASE64.encode([&[1], self.pair.public_key().as_ref()].concat());
        format!("{}+{id}+{key}", self.origin)
    }

    pub fn checkpoint(&self, size: usize, root: &Hash) -> String {
        let text = format!("{}\n{size}\n{}\n", self.origin, BASE64.encode(root));
        let signature = BASE64.encode([&self.id()[..], self.pair.sign(text.as_bytes()).as_ref()].concat());
        format!("{text}\n\u{2014} {} {signature}\n", self.origin)
    }
}
