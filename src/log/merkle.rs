//! The Merkle tree of RFC 6962 over SHA-256, in tiles of height 8 (C2SP tlog-tiles): the growing right edge, roots, proofs
//! and their verification. Pure; no proof, size or index, however hostile, may make it panic or read without bound.

use crate::store::StoreError;
use sha2::{Digest, Sha256};

pub type Hash = [u8; 32];

/// Hashes in a full tile.
pub const TILE_WIDTH: u16 = 256;
/// A tile's hash at level n is the root of 2^(8n) entries.
const TILE_HEIGHT: u32 = 8;
/// As many entries as a log has places in the store.
pub const SIZE_MAX: u64 = 1 << 40;

/// RFC 6962: SHA-256 of 0x01 and both children.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of a tree without entries: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// A tile that will not change any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullTile {
    pub level: u8,
    pub index: u64,
    /// 256 hashes, one after the other.
    pub hashes: Vec<u8>,
    /// What stands for the tile one level up.
    pub root: Hash,
}

/// What is needed of a tree to let it grow and to know its root: its size, the partial tile of each level, and its peaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    /// By level, each with fewer hashes than a full tile; the last is not empty, but for a moment of `push`.
    partials: Vec<Vec<Hash>>,
    /// The roots of the perfect trees that the size falls into (one for each of its bits that is set), the largest first:
    /// with them a push costs one hash on the average, and a root as many as there are peaks.
    peaks: Vec<Hash>,
}

impl Edge {
    pub fn new() -> Self {
        Self::default()
    }

    /// Continues a tree of `size` entries from its partial tiles, level by level from 0. `None` if a tile has another
    /// width than that size gives it; empty tiles at the end may be left out.
    pub fn restore(size: u64, mut partials: Vec<Vec<Hash>>) -> Option<Self> {
        while partials.last().is_some_and(Vec::is_empty) {
            partials.pop();
        }
        let widths = (0..).map(|level| width_at(level, size)).take(partials.len());
        let fits = partials.iter().map(Vec::len).eq(widths.map(usize::from));
        let whole = u32::try_from(partials.len()).is_ok_and(|levels| below(levels, size) == 0);
        if size > SIZE_MAX || !fits || !whole {
            return None;
        }
        let mut peaks = Vec::new();
        for partial in partials.iter().rev() {
            let mut rest = partial.as_slice();
            for width in (0..TILE_HEIGHT).rev().map(|height| 1_usize << height) {
                if partial.len() & width != 0 {
                    let (subtree, after) = rest.split_at_checked(width)?;
                    peaks.push(perfect_root(subtree));
                    rest = after;
                }
            }
        }
        Some(Self { size, partials, peaks })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the partial tile at the right end of a level.
    pub fn partial(&self, level: u8) -> &[Hash] {
        self.partials.get(usize::from(level)).map(Vec::as_slice).unwrap_or_default()
    }

    /// Appends a leaf hash; tiles that it completes go to `full`, lower levels first.
    pub fn push(&mut self, leaf: Hash, full: &mut Vec<FullTile>) {
        let carries = self.size.trailing_ones();
        self.size += 1;
        self.extend_partial(0, leaf);
        let mut peak = leaf;
        for height in 1..=carries {
            // There are as many peaks as the old size had bits set.
            let Some(left) = self.peaks.pop() else { return };
            peak = node_hash(&left, &peak);
            if height % TILE_HEIGHT == 0 {
                let level = height / TILE_HEIGHT;
                full.extend(self.complete(level - 1, peak));
                self.extend_partial(level, peak);
            }
        }
        self.peaks.push(peak);
    }

    fn extend_partial(&mut self, level: u32, hash: Hash) {
        match usize::try_from(level).ok().and_then(|level| self.partials.get_mut(level)) {
            Some(partial) => partial.push(hash),
            // Levels are reached one after the other.
            None => self.partials.push(vec![hash]),
        }
    }

    /// Takes out the partial tile of a level that has become full.
    fn complete(&mut self, level: u32, root: Hash) -> Option<FullTile> {
        let partial = self.partials.get_mut(usize::try_from(level).ok()?)?;
        let hashes = partial.as_flattened().to_vec();
        partial.clear();
        let index = below(level + 1, self.size).saturating_sub(1);
        Some(FullTile { level: u8::try_from(level).ok()?, index, hashes, root })
    }

    pub fn root(&self) -> Hash {
        let root = self.peaks.iter().copied().rev().reduce(|right, left| node_hash(&left, &right));
        root.unwrap_or_else(empty_root)
    }
}

/// How many whole tiles' or hashes' worth of entries of `level` a tree has: size / 256^level.
fn below(level: u32, size: u64) -> u64 {
    level.checked_mul(TILE_HEIGHT).and_then(|bits| size.checked_shr(bits)).unwrap_or(0)
}

/// The width of the partial tile of a level.
fn width_at(level: u32, size: u64) -> u16 {
    u16::from(below(level, size).to_le_bytes()[0])
}

/// The root over hashes whose number is a power of two.
pub(super) fn perfect_root(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        let (pairs, _) = row.as_chunks::<2>();
        row = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied().unwrap_or_else(empty_root)
}

/// Where the hashes of a tree are read from.
pub trait Tiles {
    type Error: From<NoProof>;

    /// The first `width` hashes (1 to 256) of a tile; exactly so many.
    fn tile(&mut self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, Self::Error>;
}

/// Why there is no such proof or root, whatever the tiles hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProof {
    #[error("the tree is not so large")]
    BeyondSize,
    #[error("a tile has not the asked number of hashes")]
    TileWidth,
}

impl From<NoProof> for StoreError {
    fn from(fault: NoProof) -> Self {
        match fault {
            NoProof::BeyondSize => Self::Corrupt("fewer entries than a proof was asked for"),
            NoProof::TileWidth => Self::Corrupt("a tile of the wrong width"),
        }
    }
}

/// The root of the first `size` entries.
pub fn root_of<T: Tiles>(size: u64, tiles: &mut T) -> Result<Hash, T::Error> {
    if size > SIZE_MAX {
        return Err(NoProof::BeyondSize.into());
    }
    Ranges::new(size, tiles).hash(0, size)
}

/// PATH of RFC 6962, section 2.1.1: from the leaf's sibling up.
pub fn inclusion<T: Tiles>(index: u64, size: u64, tiles: &mut T) -> Result<Vec<Hash>, T::Error> {
    if index >= size || size > SIZE_MAX {
        return Err(NoProof::BeyondSize.into());
    }
    let mut ranges = Ranges::new(size, tiles);
    let (mut low, mut high, mut proof) = (0, size, Vec::new());
    while high - low > 1 {
        let middle = split(low, high);
        if index < middle {
            proof.push(ranges.hash(middle, high)?);
            high = middle;
        } else {
            proof.push(ranges.hash(low, middle)?);
            low = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// PROOF of RFC 6962, section 2.1.2; empty from an empty tree, and from a tree to itself.
pub fn consistency<T: Tiles>(from: u64, to: u64, tiles: &mut T) -> Result<Vec<Hash>, T::Error> {
    if from > to || to > SIZE_MAX {
        return Err(NoProof::BeyondSize.into());
    }
    if from == 0 {
        return Ok(Vec::new());
    }
    let mut ranges = Ranges::new(to, tiles);
    let (mut low, mut high, mut proof) = (0, to, Vec::new());
    while high != from {
        let middle = split(low, high);
        if from <= middle {
            proof.push(ranges.hash(middle, high)?);
            high = middle;
        } else {
            proof.push(ranges.hash(low, middle)?);
            low = middle;
        }
    }
    // What begins with the first entry is the older tree itself, whose root the verifier has.
    if low > 0 {
        proof.push(ranges.hash(low, high)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Where RFC 6962 splits a range of two entries or more: after the largest power of two below its length.
fn split(low: u64, high: u64) -> u64 {
    low + largest_power(high - low - 1)
}

/// The largest power of two that is not above `number`, which is at least 1.
fn largest_power(number: u64) -> u64 {
    1 << number.checked_ilog2().unwrap_or(0)
}

/// Hashes of ranges of a tree, each tile read once.
struct Ranges<'a, T> {
    size: u64,
    tiles: &'a mut T,
    /// A proof touches three tiles a level at most.
    read: Vec<((u8, u64), Vec<Hash>)>,
}

impl<'a, T: Tiles> Ranges<'a, T> {
    fn new(size: u64, tiles: &'a mut T) -> Self {
        Self { size, tiles, read: Vec::new() }
    }

    /// MTH of the entries from `low` to before `high`, where `low` is a multiple of each power of two up to the length.
    fn hash(&mut self, low: u64, high: u64) -> Result<Hash, T::Error> {
        let (mut start, mut subtrees) = (low, Vec::new());
        while start < high {
            let length = largest_power(high - start);
            subtrees.push(self.perfect(start, length)?);
            start += length;
        }
        let root = subtrees.into_iter().rev().reduce(|right, left| node_hash(&left, &right));
        Ok(root.unwrap_or_else(empty_root))
    }

    /// The root of `length` entries, a power of two, from `start`, a multiple of it: all of them lie in one tile.
    fn perfect(&mut self, start: u64, length: u64) -> Result<Hash, T::Error> {
        let level = length.ilog2() / TILE_HEIGHT;
        let (index, first) = (below(level + 1, start), width_at(level, start));
        let level = u8::try_from(level).map_err(|_| NoProof::BeyondSize)?;
        let count = u16::try_from(below(level.into(), length)).map_err(|_| NoProof::BeyondSize)?;
        let tile = self.tile(level, index)?;
        let hashes = tile.get(usize::from(first)..usize::from(first + count)).ok_or(NoProof::TileWidth)?;
        Ok(perfect_root(hashes))
    }

    fn tile(&mut self, level: u8, index: u64) -> Result<&[Hash], T::Error> {
        let known = self.read.iter().position(|(place, _)| *place == (level, index));
        if known.is_none() {
            let left = below(level.into(), self.size).saturating_sub(index.saturating_mul(TILE_WIDTH.into()));
            let width = u16::try_from(left).map_or(TILE_WIDTH, |left| left.min(TILE_WIDTH));
            let hashes = self.tiles.tile(level, index, width)?;
            if hashes.len() != usize::from(width) {
                return Err(NoProof::TileWidth.into());
            }
            self.read.push(((level, index), hashes));
        }
        let place = known.map_or_else(|| self.read.last(), |place| self.read.get(place));
        Ok(place.map(|(_, hashes)| hashes.as_slice()).unwrap_or_default())
    }
}

/// Whether `leaf` is entry `index` of the tree of `size` entries with `root` (RFC 9162, section 2.1.3.2).
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            rise(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether the tree of `to` entries with `to_root` begins with that of `from` entries with `from_root` (RFC 9162,
/// section 2.1.4.2). Every tree begins with the empty one.
pub fn verify_consistency(from: u64, to: u64, proof: &[Hash], from_root: &Hash, to_root: &Hash) -> bool {
    if from == to {
        return proof.is_empty() && from_root == to_root && (from > 0 || *from_root == empty_root());
    }
    if from == 0 {
        return proof.is_empty() && *from_root == empty_root();
    }
    if from > to {
        return false;
    }
    let (first, rest) = match (from.is_power_of_two(), proof) {
        (_, []) => return false,
        (true, rest) => (from_root, rest),
        (false, [first, rest @ ..]) => (first, rest),
    };
    let shift = (from - 1).trailing_ones();
    let (mut node, mut last) = ((from - 1).unbounded_shr(shift), (to - 1).unbounded_shr(shift));
    let (mut older, mut newer) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            older = node_hash(sibling, &older);
            newer = node_hash(sibling, &newer);
            rise(&mut node, &mut last);
        } else {
            newer = node_hash(&newer, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && older == *from_root && newer == *to_root
}

/// A node without right siblings stands for its parents up to the first that is a right child.
fn rise(node: &mut u64, last: &mut u64) {
    let shift = if *node == 0 { 0 } else { node.trailing_zeros() };
    *node >>= shift;
    *last >>= shift;
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub mod tests {
    use super::*;
    use crate::log::leaf_hash;
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// All hashes of a tree by level, as a whole.
    pub struct Whole {
        levels: Vec<Vec<Hash>>,
        reads: HashMap<(u8, u64), u32>,
    }

    impl Whole {
        pub fn new(leaves: &[Hash]) -> Self {
            let mut levels = vec![leaves.to_vec()];
            while let Some(above) = levels.last().filter(|level| level.len() >= 256) {
                levels.push(above.chunks_exact(256).map(perfect_root).collect());
            }
            Self { levels, reads: HashMap::new() }
        }
    }

    impl Tiles for Whole {
        type Error = NoProof;

        fn tile(&mut self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, NoProof> {
            *self.reads.entry((level, index)).or_default() += 1;
            let start = usize::try_from(index).unwrap() * 256;
            let row = self.levels.get(usize::from(level)).ok_or(NoProof::TileWidth)?;
            row.get(start..start + usize::from(width)).map(<[Hash]>::to_vec).ok_or(NoProof::TileWidth)
        }
    }

    fn hash_of(text: &str) -> Hash {
        let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
        let (pairs, _) = text.as_bytes().as_chunks::<2>();
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| digit(*high) * 16 + digit(*low)).collect();
        bytes.try_into().unwrap()
    }

    pub fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
    }

    fn grown(leaves: &[Hash]) -> (Edge, Vec<FullTile>) {
        let (mut edge, mut full) = (Edge::new(), Vec::new());
        for leaf in leaves {
            edge.push(*leaf, &mut full);
        }
        (edge, full)
    }

    fn oracle(count: u64) -> MemoryBackedTree<sha2::Sha256, [u8; 8]> {
        let mut tree = MemoryBackedTree::new();
        (0..count).for_each(|index: u64| tree.push(index.to_be_bytes()));
        tree
    }

    /// With one bit of one hash changed.
    fn flipped(proof: &[Hash], seed: u64) -> Option<Vec<Hash>> {
        let mut other = proof.to_vec();
        let bits = u64::try_from(proof.len()).unwrap() * 256;
        let bit = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).checked_rem(bits)?;
        let byte = usize::try_from(bit / 8).unwrap();
        other.as_flattened_mut()[byte] ^= 1_u8 << (bit % 8);
        Some(other)
    }

    #[test]
    fn every_inclusion_proof_to_130_holds_and_no_changed_one() {
        let leaves = leaves(130);
        for size in 0..=130_u64 {
            let mut tiles = Whole::new(&leaves[..usize::try_from(size).unwrap()]);
            let top = root_of(size, &mut tiles).unwrap();
            assert_eq!(inclusion(size, size, &mut tiles), Err(NoProof::BeyondSize));
            for index in 0..size {
                let leaf = leaves[usize::try_from(index).unwrap()];
                let proof = inclusion(index, size, &mut tiles).unwrap();
                assert!(verify_inclusion(&leaf, index, size, &proof, &top));
                assert!(!verify_inclusion(&top, index, size, &proof, &top) || size == 1);
                assert!(!verify_inclusion(&leaf, index + 1, size, &proof, &top));
                assert!(!verify_inclusion(&leaf, index, size, &[&proof[..], &[leaf]].concat(), &top));
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(!verify_inclusion(&leaf, index, size, shorter, &top));
                }
                if let Some(other) = flipped(&proof, index * 131 + size) {
                    assert!(!verify_inclusion(&leaf, index, size, &other, &top));
                }
                assert!(!verify_inclusion(&leaf, index, size, &proof, &flipped(&[top], index).unwrap()[0]));
            }
        }
    }

    #[test]
    fn every_consistency_proof_to_130_holds_and_no_changed_one() {
        let leaves = leaves(130);
        let roots: Vec<Hash> = (0..=130).map(|size| grown(&leaves[..size]).0.root()).collect();
        for to in 0..=130_u64 {
            let to_root = &roots[usize::try_from(to).unwrap()];
            let mut tiles = Whole::new(&leaves[..usize::try_from(to).unwrap()]);
            assert_eq!(consistency(to + 1, to, &mut tiles), Err(NoProof::BeyondSize));
            for from in 0..=to {
                let from_root = &roots[usize::try_from(from).unwrap()];
                let proof = consistency(from, to, &mut tiles).unwrap();
                assert!(verify_consistency(from, to, &proof, from_root, to_root), "{from} {to}");
                assert!(!verify_consistency(from, to, &proof, &flipped(&[*from_root], to).unwrap()[0], to_root));
                // A tree says nothing of what is appended to the empty one.
                let other = flipped(&[*to_root], from).unwrap()[0];
                assert_eq!(verify_consistency(from, to, &proof, from_root, &other), from == 0 && to > 0);
                assert!(!verify_consistency(from, to, &[&proof[..], &[*to_root]].concat(), from_root, to_root));
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(!verify_consistency(from, to, shorter, from_root, to_root));
                }
                if let Some(other) = flipped(&proof, from * 131 + to) {
                    assert!(!verify_consistency(from, to, &other, from_root, to_root));
                }
                if from != to {
                    assert!(!verify_consistency(to, from, &proof, to_root, from_root));
                }
            }
        }
    }

    #[test]
    fn another_implementation_has_the_same_roots_and_proofs() {
        let leaves = leaves(130);
        for size in 0..=130_u64 {
            let other = oracle(size);
            let mut tiles = Whole::new(&leaves[..usize::try_from(size).unwrap()]);
            assert_eq!(root_of(size, &mut tiles).unwrap()[..], other.root().as_bytes()[..]);
            for index in 0..size {
                let proof = inclusion(index, size, &mut tiles).unwrap();
                assert_eq!(proof.as_flattened(), other.prove_inclusion(index.try_into().unwrap()).as_bytes());
            }
            for from in 1..size {
                let proof = consistency(from, size, &mut tiles).unwrap();
                let additions = usize::try_from(size - from).unwrap();
                assert_eq!(proof.as_flattened(), other.prove_consistency(additions).as_bytes(), "{from} {size}");
            }
        }
    }

    #[test]
    fn the_reference_vectors_of_certificate_transparency_are_met() {
        let entries: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let leaves = entries.map(leaf_hash);
        for (size, expected) in roots.into_iter().enumerate() {
            assert_eq!(grown(&leaves[..size]).0.root(), hash_of(expected));
        }
        let first_of_eight = [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ];
        let mut tiles = Whole::new(&leaves);
        assert_eq!(inclusion(0, 8, &mut tiles).unwrap(), first_of_eight.map(hash_of));
        let six_to_eight = [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ];
        assert_eq!(consistency(6, 8, &mut tiles).unwrap(), six_to_eight.map(hash_of));
    }

    #[test]
    fn a_tree_of_70000_is_proved_from_its_tiles_each_read_once() {
        let leaves = leaves(70_000);
        let (edge, full) = grown(&leaves);
        let mut tiles = Whole::new(&leaves);
        assert_eq!(root_of(70_000, &mut tiles).unwrap(), edge.root());
        // 273 tiles of leaves, and one above them.
        assert_eq!(full.len(), 274);
        for tile in &full {
            let hashes = tiles.tile(tile.level, tile.index, 256).unwrap();
            assert_eq!(hashes.as_flattened(), tile.hashes);
            assert_eq!(tile.root, perfect_root(&hashes));
        }
        for index in [0, 255, 256, 65_535, 65_536, 69_887, 69_888, 69_999] {
            tiles.reads.clear();
            let proof = inclusion(index, 70_000, &mut tiles).unwrap();
            assert!(verify_inclusion(&leaves[usize::try_from(index).unwrap()], index, 70_000, &proof, &edge.root()));
            assert!(tiles.reads.values().all(|reads| *reads == 1) && tiles.reads.len() <= 6);
        }
        for from in [1, 255, 256, 257, 65_536, 65_537, 69_999] {
            tiles.reads.clear();
            let proof = consistency(from, 70_000, &mut tiles).unwrap();
            let from_root = grown(&leaves[..usize::try_from(from).unwrap()]).0.root();
            assert!(verify_consistency(from, 70_000, &proof, &from_root, &edge.root()));
            assert!(tiles.reads.values().all(|reads| *reads == 1) && tiles.reads.len() <= 9);
        }
    }

    #[test]
    fn tiles_of_another_width_than_asked_are_refused() {
        struct Short;
        impl Tiles for Short {
            type Error = NoProof;
            fn tile(&mut self, _: u8, _: u64, width: u16) -> Result<Vec<Hash>, NoProof> {
                Ok(vec![[0; 32]; usize::from(width) - 1])
            }
        }
        assert_eq!(root_of(300, &mut Short), Err(NoProof::TileWidth));
        assert_eq!(inclusion(SIZE_MAX - 1, SIZE_MAX, &mut Short), Err(NoProof::TileWidth));
        assert_eq!(root_of(SIZE_MAX + 1, &mut Short), Err(NoProof::BeyondSize));
        assert_eq!(consistency(1, u64::MAX, &mut Short), Err(NoProof::BeyondSize));
    }

    #[test]
    fn the_largest_tree_has_proofs_from_few_tiles() {
        struct Counting(u32);
        impl Tiles for Counting {
            type Error = NoProof;
            fn tile(&mut self, level: u8, _: u64, width: u16) -> Result<Vec<Hash>, NoProof> {
                self.0 += 1;
                Ok(vec![[level; 32]; width.into()])
            }
        }
        for (index, size) in [(0, SIZE_MAX), (SIZE_MAX - 1, SIZE_MAX), (1 << 39, SIZE_MAX - 1)] {
            let mut tiles = Counting(0);
            assert!(inclusion(index, size, &mut tiles).unwrap().len() <= 40);
            assert!(consistency(index + 1, size, &mut tiles).unwrap().len() <= 41);
            assert!(tiles.0 <= 25);
        }
    }

    #[test]
    fn an_edge_of_other_widths_than_its_size_s_is_refused() {
        let (edge, _) = grown(&leaves(515));
        assert_eq!(Edge::restore(515, edge.partials.clone()), Some(edge.clone()));
        assert_eq!(Edge::restore(514, edge.partials.clone()), None);
        assert_eq!(Edge::restore(515 + 65_536, edge.partials.clone()), None);
        assert_eq!(Edge::restore(515, vec![vec![[0; 32]; 3]]), None);
        assert_eq!(Edge::restore(256, vec![vec![[0; 32]; 256]]), None);
        assert_eq!(Edge::restore(u64::MAX, vec![Vec::new(); 300]), None);
        assert_eq!(Edge::restore(0, vec![Vec::new(); 300]), Some(Edge::new()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn an_edge_restored_from_tiles_goes_on_as_if_it_had_not_stopped(stop in 0..200_000_u64, more in 0..700_u64) {
            let leaves = leaves(stop + more);
            let (whole, full) = grown(&leaves);
            let mut tiles = Whole::new(&leaves[..usize::try_from(stop).unwrap()]);
            let partials = (0_u8..3).map(|level| {
                let (index, width) = (below(u32::from(level) + 1, stop), width_at(level.into(), stop));
                if width == 0 { Vec::new() } else { tiles.tile(level, index, width).unwrap() }
            });
            let mut edge = Edge::restore(stop, partials.collect()).unwrap();
            prop_assert_eq!(edge.root(), root_of(stop, &mut tiles).unwrap());
            let mut later = Vec::new();
            leaves[usize::try_from(stop).unwrap()..].iter().for_each(|leaf| edge.push(*leaf, &mut later));
            prop_assert_eq!(&edge, &whole);
            prop_assert!(full.ends_with(&later));
            prop_assert_eq!(edge.root(), root_of(stop + more, &mut Whole::new(&leaves)).unwrap());
        }

        #[test]
        fn a_random_tree_is_proved(size in 1..200_000_u64, a: prop::sample::Index, b: prop::sample::Index) {
            let leaves = leaves(size);
            let (index, from) = (a.index(leaves.len()), b.index(leaves.len()));
            let mut tiles = Whole::new(&leaves);
            let top = grown(&leaves).0.root();
            let proof = inclusion(index.try_into().unwrap(), size, &mut tiles).unwrap();
            prop_assert!(verify_inclusion(&leaves[index], index.try_into().unwrap(), size, &proof, &top));
            let proof = consistency(from.try_into().unwrap(), size, &mut tiles).unwrap();
            let from_root = grown(&leaves[..from]).0.root();
            prop_assert!(verify_consistency(from.try_into().unwrap(), size, &proof, &from_root, &top));
        }
    }

    proptest! {
        #[test]
        fn hostile_numbers_and_proofs_are_refused(
            leaf: Hash, index: u64, size: u64, other: u64, proof in prop::collection::vec(any::<Hash>(), 0..70),
        ) {
            let shift = other % 64;
            prop_assert!(!verify_inclusion(&leaf, index >> shift, size >> shift, &proof, &[1; 32]));
            let (from, to) = (other >> shift, size >> shift);
            prop_assert!(!verify_consistency(from, to, &proof, &leaf, &[1; 32]));
        }
    }
}
