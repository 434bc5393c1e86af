//! The tree as it is stored: in tiles of 256 hashes, as C2SP tlog-tiles has them, so that a proof about any number of
//! leaves reads a handful of rows.
//!
//! A tile of level L holds the hashes of 256 neighbouring nodes that have 256^L leaves each. The nodes in between are
//! computed from them. Only the last tile of each level grows; a full one never changes.
//!
//! A [`Plan`] says which nodes a proof is made of, and so which tiles are to be read for it.

use std::collections::{BTreeMap, BTreeSet};

use super::node_hash;
use crate::hash::Sha256;

/// The levels of the tree that a tile spans.
const HEIGHT: u32 = 8;
/// The hashes of a full tile.
pub const WIDTH: usize = 1 << HEIGHT;

/// Where a tile is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TileId {
    /// 0 for leaf hashes; each level above has one hash for each tile below.
    pub level: u8,
    /// From 0, from the left.
    pub index: u64,
}

/// Tiles by where they are: each with at most [`WIDTH`] hashes.
pub type Tiles = BTreeMap<TileId, Vec<Sha256>>;

/// A tile lacks a hash that a proof needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the tile {} of level {} lacks a hash", .0.index, .0.level)]
pub struct Incomplete(pub TileId);

/// A full subtree: the one with the leaves from `index << level` to before `(index + 1) << level`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Node {
    level: u32,
    index: u64,
}

/// Which nodes a proof is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan(Vec<Vec<Node>>);

impl Plan {
    /// For the proof that the leaf at `index` is in the tree of `size` leaves; `None` if it is not.
    #[must_use]
    pub fn inclusion(index: u64, size: u64) -> Option<Self> {
        if index >= size {
            return None;
        }
        let mut hashes = Vec::new();
        let (mut start, mut length) = (0, size);
        while length > 1 {
            let left = split(length);
            if index < start + left {
                hashes.push(range(start + left, length - left));
                length = left;
            } else {
                hashes.push(range(start, left));
                (start, length) = (start + left, length - left);
            }
        }
        hashes.reverse();
        Some(Self(hashes))
    }

    /// For the proof that the tree of `old` leaves is the beginning of the one of `new`; `None` if `old` is 0 or more
    /// than `new`.
    #[must_use]
    pub fn consistency(old: u64, new: u64) -> Option<Self> {
        if old == 0 || old > new {
            return None;
        }
        let mut hashes = Vec::new();
        let (mut start, mut length, mut known) = (0, new, true);
        while old < start + length {
            let left = split(length);
            if old <= start + left {
                hashes.push(range(start + left, length - left));
                length = left;
            } else {
                hashes.push(range(start, left));
                (start, length, known) = (start + left, length - left, false);
            }
        }
        // The verifier knows the last subtree's root only where it is the root of the whole older tree.
        if !known {
            hashes.push(range(start, length));
        }
        hashes.reverse();
        Some(Self(hashes))
    }

    /// For the root of the tree of `size` leaves, the only hash of what [`Self::resolve`] gives; `None` if it is empty.
    #[must_use]
    pub fn root(size: u64) -> Option<Self> {
        (size > 0).then(|| Self(vec![range(0, size)]))
    }

    /// The tiles to be read.
    #[must_use]
    pub fn tiles(&self) -> BTreeSet<TileId> {
        self.0.iter().flatten().map(|node| node.place().0).collect()
    }

    /// The hashes, from the [tiles](Self::tiles).
    ///
    /// # Errors
    /// [`Incomplete`] if one of them is missing or too short.
    pub fn resolve(&self, tiles: &Tiles) -> Result<Vec<Sha256>, Incomplete> {
        self.0.iter().map(|nodes| fold(nodes, tiles)).collect()
    }
}

impl Node {
    /// The tile that its hash is computed from, and which hashes of it: from where on, and how many.
    fn place(self) -> (TileId, usize, usize) {
        let (level, height) = (self.level / HEIGHT, self.level % HEIGHT);
        let first = self.index << height;
        // There are 64 levels of the tree and so 8 of tiles.
        let id = TileId { level: u8::try_from(level).unwrap_or(u8::MAX), index: first >> HEIGHT };
        // Below 256.
        (id, usize::try_from(first).unwrap_or(usize::MAX) % WIDTH, 1 << height)
    }

    fn hash(self, tiles: &Tiles) -> Result<Sha256, Incomplete> {
        let (id, from, count) = self.place();
        let hashes = tiles.get(&id).and_then(|tile| tile.get(from..from + count));
        hashes.and_then(full_root).ok_or(Incomplete(id))
    }
}

/// Largest power of two below `length`, which is at least 2.
const fn split(length: u64) -> u64 {
    1 << (u64::BITS - 1 - (length - 1).leading_zeros())
}

/// The full subtrees that `length` leaves from `start` on consist of, largest first. `start` is a multiple of each.
fn range(start: u64, length: u64) -> Vec<Node> {
    let mut nodes = Vec::with_capacity(length.count_ones() as usize);
    let mut at = start;
    for level in (0..u64::BITS).rev().filter(|level| length >> level & 1 == 1) {
        nodes.push(Node { level, index: at >> level });
        at += 1 << level;
    }
    nodes
}

fn fold(nodes: &[Node], tiles: &Tiles) -> Result<Sha256, Incomplete> {
    let mut root: Option<Sha256> = None;
    for node in nodes.iter().rev() {
        let left = node.hash(tiles)?;
        root = Some(root.map_or(left, |right| node_hash(&left, &right)));
    }
    root.ok_or(Incomplete(TileId { level: 0, index: 0 }))
}

/// The root over a power of two of hashes; `None` for another number of them.
fn full_root(hashes: &[Sha256]) -> Option<Sha256> {
    if !hashes.len().is_power_of_two() {
        return None;
    }
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        level = level.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    level.first().copied()
}

/// The tiles of a tree of `size` leaves that still grow: those to be read before it is [grown](grow). One that is empty yet
/// is not among them.
#[must_use]
pub fn edge(size: u64) -> BTreeSet<TileId> {
    let hashes = |level: u8| size.unbounded_shr(HEIGHT * u32::from(level));
    let last = |level| TileId { level, index: hashes(level) >> HEIGHT };
    (0..).take_while(|level| hashes(*level) > 0).filter(|level| hashes(*level) % 256 > 0).map(last).collect()
}

/// Adds leaf hashes on the right of the tree of `size` leaves whose [edge] is `tiles`, and returns the tiles that are new
/// or longer than before.
///
/// # Errors
/// [`Incomplete`] if `tiles` is not its edge.
pub fn grow(
    size: u64,
    mut tiles: Tiles,
    leaves: impl IntoIterator<Item = Sha256>,
) -> Result<Tiles, Incomplete> {
    let mut changed = Tiles::new();
    for (at, leaf) in (size..).zip(leaves) {
        let (mut hash, mut at, mut level) = (leaf, at, 0);
        loop {
            let id = TileId { level, index: at >> HEIGHT };
            let tile = match changed.remove(&id).or_else(|| tiles.remove(&id)) {
                Some(tile) => changed.entry(id).or_insert(tile),
                None => changed.entry(id).or_default(),
            };
            if tile.len() as u64 != at % 256 {
                return Err(Incomplete(id));
            }
            tile.push(hash);
            let full = tile.len() == WIDTH;
            match full.then(|| full_root(tile)).flatten() {
                Some(root) => (hash, at, level) = (root, id.index, level + 1),
                None => break,
            }
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::super::{TreeHead, leaf_hash, proof};
    use super::*;

    fn leaves(count: u64) -> Vec<Sha256> {
        (0..count).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect()
    }

    /// What is stored of a tree, grown in steps.
    fn stored(leaves: &[Sha256], steps: &[usize]) -> Tiles {
        let mut all = Tiles::new();
        let mut done = 0;
        for step in steps.iter().copied().chain([leaves.len()]) {
            let end = (done + step).min(leaves.len());
            let of_edge = |id: TileId| all.get(&id).map(|tile| (id, tile.clone())).unwrap();
            let tiles = edge(done as u64).into_iter().map(of_edge).collect();
            all.extend(grow(done as u64, tiles, leaves[done..end].iter().copied()).unwrap());
            done = end;
        }
        all
    }

    /// Only the tiles that the plan asks for.
    fn resolve(plan: &Plan, all: &Tiles) -> Vec<Sha256> {
        let read = plan.tiles().into_iter().map(|id| (id, all.get(&id).unwrap().clone())).collect();
        plan.resolve(&read).unwrap()
    }

    /// Every proof about every tree of up to 70 leaves is the one that is made of all leaves.
    #[test]
    fn small_trees_exhaustively() {
        let all = leaves(70);
        for size in 1..=70_u64 {
            let part = &all[..usize::try_from(size).unwrap()];
            let tiles = stored(part, &[3]);
            assert_eq!(resolve(&Plan::root(size).unwrap(), &tiles), [TreeHead::of(part).root]);
            for index in 0..size {
                let plan = Plan::inclusion(index, size).unwrap();
                let expected = proof::inclusion_proof(part, usize::try_from(index).unwrap()).unwrap();
                assert_eq!(resolve(&plan, &tiles), expected, "{index} of {size}");
                let plan = Plan::consistency(index + 1, size).unwrap();
                let expected = proof::consistency_proof(part, usize::try_from(index + 1).unwrap()).unwrap();
                assert_eq!(resolve(&plan, &tiles), expected, "{} to {size}", index + 1);
            }
        }
        assert_eq!((Plan::inclusion(7, 7), Plan::consistency(0, 7), Plan::root(0)), (None, None, None));
        assert_eq!(Plan::consistency(8, 7), None);
    }

    /// Ten million leaves need 24 hashes at most, out of seven tiles at most.
    #[test]
    fn proofs_stay_short() {
        const SIZE: u64 = 10_000_000;
        for index in [0, 1, 255, 256, 65_535, 65_536, 8_388_607, 8_388_608, SIZE / 3, SIZE - 1] {
            let inclusion = Plan::inclusion(index, SIZE).unwrap();
            assert!(inclusion.0.len() <= 24 && inclusion.tiles().len() <= 7, "{index}: {inclusion:?}");
            let consistency = Plan::consistency(index + 1, SIZE).unwrap();
            assert!(consistency.0.len() <= 25 && consistency.tiles().len() <= 7, "{index}: {consistency:?}");
        }
    }

    #[test]
    fn a_tile_that_is_not_the_edge_is_refused() {
        let all = leaves(300);
        let mut tiles = stored(&all, &[]);
        let last = TileId { level: 0, index: 1 };
        assert_eq!(edge(300), BTreeSet::from([TileId { level: 0, index: 1 }, TileId { level: 1, index: 0 }]));
        tiles.get_mut(&last).unwrap().pop();
        assert_eq!(grow(300, tiles.clone(), leaves(1)), Err(Incomplete(last)));
        tiles.remove(&last);
        assert_eq!(grow(300, tiles.clone(), leaves(1)), Err(Incomplete(last)));
        assert_eq!(Plan::root(300).unwrap().resolve(&tiles), Err(Incomplete(last)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// In whatever steps a tree has grown, over several tiles of several levels.
        #[test]
        fn grown_trees(
            size in 1_u64..70_000,
            steps in prop::collection::vec(0_usize..9_000, 0..12),
            index in any::<prop::sample::Index>(),
        ) {
            let all = leaves(size);
            let (tiles, head) = (stored(&all, &steps), TreeHead::of(&all));
            let index = index.index(all.len());
            prop_assert_eq!(resolve(&Plan::root(size).unwrap(), &tiles), [head.root]);
            let inclusion = resolve(&Plan::inclusion(index as u64, size).unwrap(), &tiles);
            prop_assert!(proof::verify_inclusion(&all[index], index as u64, &head, &inclusion).is_ok());
            let old = TreeHead::of(&all[..=index]);
            let consistency = resolve(&Plan::consistency(old.size, size).unwrap(), &tiles);
            prop_assert!(proof::verify_consistency(&old, &head, &consistency).is_ok());
        }
    }
}
