//! Proofs about a tree: this entry is in it (inclusion), that older tree is its beginning (consistency).
//!
//! Making a proof reads all leaf hashes; checking one needs only the proof and the heads. RFC 9162, sections 2.1.3
//! and 2.1.4.

use super::{TreeHead, node_hash};
use crate::hash::Sha256;

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProofError {
    /// Everything is consistent with the empty tree, so a proof would say nothing.
    #[error("the older tree is empty")]
    EmptyTree,
    /// The leaf's index is not below the tree's size.
    #[error("the index is beyond the tree")]
    IndexBeyondTree,
    /// The older tree is larger than the newer one.
    #[error("the older tree is larger than the newer one")]
    SizesReversed,
    /// The proof has too many or too few hashes.
    #[error("the proof has the wrong number of hashes")]
    WrongLength,
    /// The proof leads to another root of the newer (or only) tree.
    #[error("the proof leads to another root")]
    WrongRoot,
    /// The proof leads to another root of the older tree.
    #[error("the proof leads to another root of the older tree")]
    WrongOldRoot,
}

/// The proof that the leaf at `index` is in the tree over `leaves`; `None` if it is not.
#[must_use]
pub fn inclusion_proof(leaves: &[Sha256], index: usize) -> Option<Vec<Sha256>> {
    if index >= leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    let (mut tree, mut index) = (leaves, index);
    while tree.len() > 1 {
        let (left, right) = split(tree);
        let sibling = if index < left.len() { right } else { left };
        proof.push(TreeHead::of(sibling).root);
        (tree, index) = if index < left.len() { (left, index) } else { (right, index - left.len()) };
    }
    proof.reverse();
    Some(proof)
}

/// The proof that the tree over the first `old_size` of `leaves` is the beginning of the tree over all of them;
/// `None` if `old_size` is 0 or more than there are.
#[must_use]
pub fn consistency_proof(leaves: &[Sha256], old_size: usize) -> Option<Vec<Sha256>> {
    if old_size == 0 || old_size > leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    let (mut tree, mut old_size, mut known) = (leaves, old_size, true);
    while old_size < tree.len() {
        let (left, right) = split(tree);
        if old_size <= left.len() {
            proof.push(TreeHead::of(right).root);
            tree = left;
        } else {
            proof.push(TreeHead::of(left).root);
            (tree, old_size, known) = (right, old_size - left.len(), false);
        }
    }
    // The verifier knows the last subtree's root only where it is the root of the whole older tree.
    if !known {
        proof.push(TreeHead::of(tree).root);
    }
    proof.reverse();
    Some(proof)
}

/// Splits two or more leaves at the largest power of two below their number.
fn split(leaves: &[Sha256]) -> (&[Sha256], &[Sha256]) {
    leaves.split_at(leaves.len().next_power_of_two() / 2)
}

/// Checks that `leaf` is the leaf hash at `index` of the tree with this `head`.
///
/// # Errors
/// [`ProofError`].
pub fn verify_inclusion(
    leaf: &Sha256,
    index: u64,
    head: &TreeHead,
    proof: &[Sha256],
) -> Result<(), ProofError> {
    let root = root_of(leaf, index, head.size, proof)?;
    if root == head.root { Ok(()) } else { Err(ProofError::WrongRoot) }
}

/// The root of the tree of `size` leaves that `proof` leads to from `leaf`, the leaf hash at `index`: what to compare with,
/// or to check a signature of.
///
/// # Errors
/// [`ProofError`].
pub fn root_of(leaf: &Sha256, index: u64, size: u64, proof: &[Sha256]) -> Result<Sha256, ProofError> {
    if index >= size {
        return Err(ProofError::IndexBeyondTree);
    }
    let mut path = Path { node: index, last: size - 1 };
    let mut root = *leaf;
    for sibling in proof {
        root = match path.climb()? {
            Side::Left => node_hash(sibling, &root),
            Side::Right => node_hash(&root, sibling),
        };
    }
    path.arrive()?;
    Ok(root)
}

/// Checks that the tree with head `old` is the beginning of the tree with head `new`.
///
/// # Errors
/// [`ProofError`].
pub fn verify_consistency(old: &TreeHead, new: &TreeHead, proof: &[Sha256]) -> Result<(), ProofError> {
    if old.size == 0 {
        return Err(ProofError::EmptyTree);
    }
    if old.size > new.size {
        return Err(ProofError::SizesReversed);
    }
    // The proof starts with the largest full subtree that ends the older tree, unless that is the older tree itself.
    let (start, siblings) = if old.size.is_power_of_two() || old.size == new.size {
        (old.root, proof)
    } else {
        proof.split_first().map(|(start, rest)| (*start, rest)).ok_or(ProofError::WrongLength)?
    };
    let level = (old.size - 1).trailing_ones();
    let mut path =
        Path { node: (old.size - 1).unbounded_shr(level), last: (new.size - 1).unbounded_shr(level) };
    if old.size == new.size {
        path.last = 0;
    }
    let (mut old_root, mut new_root) = (start, start);
    for sibling in siblings {
        match path.climb()? {
            Side::Left => {
                old_root = node_hash(sibling, &old_root);
                new_root = node_hash(sibling, &new_root);
            }
            Side::Right => new_root = node_hash(&new_root, sibling),
        }
    }
    path.arrive()?;
    if new_root != new.root {
        return Err(ProofError::WrongRoot);
    }
    if old_root == old.root { Ok(()) } else { Err(ProofError::WrongOldRoot) }
}

/// The way from a node up to the root: its index on its level, and that of the level's last node.
struct Path {
    node: u64,
    last: u64,
}

/// On which side of a node its sibling stands.
enum Side {
    Left,
    Right,
}

impl Path {
    /// Moves to the parent and tells where the sibling stood.
    fn climb(&mut self) -> Result<Side, ProofError> {
        if self.last == 0 {
            return Err(ProofError::WrongLength);
        }
        let side = if self.node & 1 == 1 || self.node == self.last { Side::Left } else { Side::Right };
        if matches!(side, Side::Left) {
            // The last node of a level has no right sibling while it is even, and moves up unchanged.
            self.up(self.node.trailing_zeros());
        }
        self.up(1);
        Ok(side)
    }

    fn up(&mut self, levels: u32) {
        self.node = self.node.unbounded_shr(levels);
        self.last = self.last.unbounded_shr(levels);
    }

    /// The way must end at the root.
    fn arrive(&self) -> Result<(), ProofError> {
        if self.last == 0 { Ok(()) } else { Err(ProofError::WrongLength) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;
    use crate::merkle::leaf_hash;

    fn leaves(count: u32) -> Vec<Sha256> {
        (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven() {
        for size in 0..70 {
            let leaves = leaves(size);
            let head = TreeHead::of(&leaves);
            for (index, leaf) in leaves.iter().enumerate() {
                let proof = inclusion_proof(&leaves, index).unwrap();
                assert_eq!(verify_inclusion(leaf, index as u64, &head, &proof), Ok(()), "{index} of {size}");
            }
            assert_eq!(inclusion_proof(&leaves, leaves.len()), None);
        }
    }

    #[test]
    fn every_beginning_of_every_small_tree_is_proven() {
        for size in 1..70_u32 {
            let leaves = leaves(size);
            let new = TreeHead::of(&leaves);
            for old_size in 1..=leaves.len() {
                let old = TreeHead::of(&leaves[..old_size]);
                let proof = consistency_proof(&leaves, old_size).unwrap();
                assert_eq!(verify_consistency(&old, &new, &proof), Ok(()), "{old_size} of {size}");
            }
            assert_eq!(consistency_proof(&leaves, 0), None);
            assert_eq!(consistency_proof(&leaves, leaves.len() + 1), None);
        }
    }

    #[test]
    fn the_largest_sizes_do_not_overflow() {
        let head = |size| TreeHead { size, root: [0; 32] };
        let proof = vec![[0; 32]; 64];
        assert!(verify_inclusion(&[0; 32], u64::MAX - 1, &head(u64::MAX), &proof).is_err());
        assert!(verify_inclusion(&[0; 32], 0, &head(u64::MAX), &proof).is_err());
        for old in [1, 2, 3, 1 << 63, (1 << 63) + 1, u64::MAX - 1, u64::MAX] {
            assert!(verify_consistency(&head(old), &head(u64::MAX), &proof).is_err(), "{old}");
        }
    }

    /// Each way to bend a proof: a flipped bit, one hash more, one less, two swapped.
    fn bent(proof: &[Sha256], at: usize, bit: usize) -> Vec<Vec<Sha256>> {
        let mut longer = proof.to_vec();
        longer.insert(at % (proof.len() + 1), [7; 32]);
        let mut all = vec![longer];
        if !proof.is_empty() {
            let at = at % proof.len();
            let mut flipped = proof.to_vec();
            flipped[at][bit / 8] ^= 1 << (bit % 8);
            let mut shorter = proof.to_vec();
            shorter.remove(at);
            let mut swapped = proof.to_vec();
            swapped.swap(0, at);
            all.extend([flipped, shorter]);
            all.extend((at != 0).then_some(swapped));
        }
        all
    }

    proptest! {
        #[test]
        fn bent_inclusion_proofs_are_refused(size in 1_u32..200, index: prop::sample::Index, at: usize, bit in 0_usize..256) {
            let leaves = leaves(size);
            let (index, head) = (index.index(leaves.len()), TreeHead::of(&leaves));
            let proof = inclusion_proof(&leaves, index).unwrap();
            let verify = |leaf, index: usize, head: &TreeHead, proof: &[Sha256]| verify_inclusion(leaf, index as u64, head, proof);
            prop_assert_eq!(verify(&leaves[index], index, &head, &proof), Ok(()));
            for proof in bent(&proof, at, bit) {
                prop_assert!(verify(&leaves[index], index, &head, &proof).is_err());
            }
            for other in (0..leaves.len()).filter(|other| *other != index) {
                prop_assert!(verify(&leaves[index], other, &head, &proof).is_err());
                prop_assert!(verify(&leaves[other], index, &head, &proof).is_err());
            }
        }

        #[test]
        fn bent_consistency_proofs_are_refused(size in 2_u32..200, old: prop::sample::Index, at: usize, bit in 0_usize..256) {
            let leaves = leaves(size);
            let old_size = 1 + old.index(leaves.len() - 1);
            let (old, new) = (TreeHead::of(&leaves[..old_size]), TreeHead::of(&leaves));
            let proof = consistency_proof(&leaves, old_size).unwrap();
            prop_assert_eq!(verify_consistency(&old, &new, &proof), Ok(()));
            for proof in bent(&proof, at, bit) {
                prop_assert!(verify_consistency(&old, &new, &proof).is_err());
            }
            let mut rewritten = leaves[..old_size].to_vec();
            rewritten[at % old_size] = [9; 32];
            prop_assert!(verify_consistency(&TreeHead::of(&rewritten), &new, &proof).is_err());
        }
    }
}
