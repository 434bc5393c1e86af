//! The hash tree of RFC 9162, section 2.1, over SHA-256.
//!
//! Leaves are hashed under the prefix 0x00 and inner nodes under 0x01, so that neither can be taken for the other.
//! A [`CompactRange`] grows a tree in logarithmic space; [`proof`] makes and checks the two kinds of proof; [`tiles`] are how
//! a large one is stored, and make proofs from what is read of it.

pub mod proof;
pub mod tiles;

use crate::backend;
use crate::hash::Sha256;

/// The hash of an entry of the log.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Sha256 {
    backend::sha256(&[&[0], entry])
}

/// The hash of an inner node.
#[must_use]
pub fn node_hash(left: &Sha256, right: &Sha256) -> Sha256 {
    backend::sha256(&[&[1], left, right])
}

/// The size and root hash of a tree, all that a verifier needs to know of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TreeHead {
    /// The number of leaves.
    pub size: u64,
    /// The root hash.
    pub root: Sha256,
}

impl TreeHead {
    /// The head of the tree over these leaf hashes.
    #[must_use]
    pub fn of(leaves: &[Sha256]) -> Self {
        let mut range = CompactRange::default();
        for leaf in leaves {
            range.append(*leaf);
        }
        range.head()
    }
}

/// The roots of the full subtrees of a growing tree, largest first: one per bit set in its size.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CompactRange {
    size: u64,
    peaks: Vec<Sha256>,
}

impl CompactRange {
    /// The range with these peaks, as [`Self::size`] and [`Self::peaks`] gave them; `None` if they can't belong
    /// together.
    #[must_use]
    pub fn from_parts(size: u64, peaks: Vec<Sha256>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// Adds a leaf hash on the right.
    pub fn append(&mut self, leaf: Sha256) {
        let mut node = leaf;
        // Each trailing one of the size is a full subtree as large as the one we hold.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the full subtrees, largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Sha256] {
        &self.peaks
    }

    /// The size and root of the tree; the root of the empty tree is the hash of nothing.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        let root = self.peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        TreeHead { size: self.size, root: root.unwrap_or_else(|| backend::sha256(&[])) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::hex;

    /// The eight leaves and the roots of the Certificate Transparency reference implementation.
    #[test]
    fn reference_tree() {
        let leaves: [&[u8]; 8] = [
            b"",
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
        let mut range = CompactRange::default();
        for (size, root) in roots.into_iter().enumerate() {
            assert_eq!(range.head(), TreeHead { size: size as u64, root: hex::decode(root).unwrap() });
            range.append(leaf_hash(leaves.get(size).copied().unwrap_or_default()));
        }
    }

    /// The definition of MTH in RFC 9162, section 2.1.1, word for word.
    fn by_definition(leaves: &[Sha256]) -> Sha256 {
        match leaves {
            [] => backend::sha256(&[]),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(&by_definition(left), &by_definition(right))
            }
        }
    }

    proptest! {
        #[test]
        fn the_compact_range_is_the_definition(leaves in prop::collection::vec(any::<[u8; 32]>(), 0..300)) {
            let head = TreeHead::of(&leaves);
            prop_assert_eq!(head, TreeHead { size: leaves.len() as u64, root: by_definition(&leaves) });
        }

        #[test]
        fn a_stored_range_goes_on(leaves in prop::collection::vec(any::<[u8; 32]>(), 0..80), cut in 0_usize..80) {
            let mut range = CompactRange::default();
            for (index, leaf) in leaves.iter().enumerate() {
                if index == cut {
                    range = CompactRange::from_parts(range.size(), range.peaks().to_vec()).unwrap();
                }
                range.append(*leaf);
            }
            prop_assert_eq!(range.head(), TreeHead::of(&leaves));
            let missing_one = range.peaks().split_last().map(|(_, rest)| rest.to_vec());
            prop_assert!(missing_one.is_none_or(|peaks| CompactRange::from_parts(range.size(), peaks).is_none()));
        }
    }
}
