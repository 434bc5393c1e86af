//! The 32 bytes of a secret key, at one place in memory and wiped there.
//!
//! A [`KeyBytes`] lives on the heap and is filled where it stands: moving it copies a pointer, so no copy stays behind
//! in a dead stack frame. Where a library has to be handed the key by value, the frames it used are overwritten by
//! `overwrite_dead_stack` afterwards.

use std::hint::black_box;

use portal_core::Entropy;
use zeroize::Zeroize;

use crate::backend;

/// A secret key of 32 bytes. Wiped on drop; has no `Debug`, `Display`, `Serialize`, `Clone` or `==`.
pub struct KeyBytes(Box<[u8; 32]>);

impl KeyBytes {
    /// The key that `fill` writes.
    pub(crate) fn filled<E>(fill: impl FnOnce(&mut [u8; 32]) -> Result<(), E>) -> Result<Self, E> {
        let mut key = Self(Box::new([0; 32]));
        fill(&mut key.0)?;
        Ok(key)
    }

    /// A new key.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut key = Self(Box::new([0; 32]));
        entropy.fill(key.0.as_mut_slice());
        key
    }

    /// A copy of `bytes`.
    pub(crate) fn of(bytes: &[u8; 32]) -> Self {
        let mut key = Self(Box::new([0; 32]));
        key.0.copy_from_slice(bytes);
        key
    }

    /// A copy of `bytes`; `None` if they are not 32. Wiping `bytes` stays with the caller.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::of)
    }

    /// The bytes; each call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are the same key, in constant time.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        backend::equal(self.0.as_slice(), other.0.as_slice())
    }
}

impl Drop for KeyBytes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Whether both secrets are the same, in constant time; their lengths are no secret.
#[must_use]
pub fn same_secret(one: &[u8], other: &[u8]) -> bool {
    backend::equal(one, other)
}

/// Overwrites the stack below the caller's frame, where the functions it has called left their locals.
#[inline(never)]
pub(crate) fn overwrite_dead_stack() {
    // Frames of the library's key expansion reach down some 2 KiB.
    let mut dead = [0_u8; 4_096];
    black_box(&mut dead);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portal_core::SeededEntropy;

    use super::*;

    #[test]
    fn keys_are_random_and_of_32_bytes() {
        let entropy = SeededEntropy::new(1);
        let (one, two) = (KeyBytes::generate(&entropy), KeyBytes::generate(&entropy));
        assert!(!one.same_as(&two));
        assert!(one.same_as(&KeyBytes::copy_of(one.expose()).unwrap()));
        for length in [0, 31, 33] {
            assert!(KeyBytes::copy_of(&vec![1; length]).is_none());
        }
    }
}
