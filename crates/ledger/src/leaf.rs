//! What is appended: a commitment to a content, hidden by a salt.
//!
//! `commitment = SHA-256("portal/ledger-leaf/v1" 0x00 ‖ salt 32 ‖ length of kind, u32 big-endian ‖ kind ‖ content)`, and
//! the leaf of the tree is `SHA-256(0x00 ‖ commitment)`. Whoever has content and salt can check it; from the commitment
//! alone not even a guess of the content can be confirmed.

use portal_core::entropy::random_bytes;
use portal_core::{Entropy, Sensitive};
use portal_crypto::hash::{self, Sha256};
use portal_crypto::merkle;

const DOMAIN: &[u8] = b"portal/ledger-leaf/v1\0";

/// What a leaf commits to.
#[derive(Clone, Copy)]
pub struct Leaf<'a> {
    /// The kind of event, for example `consent.given`: one content never means two things.
    pub kind: &'a str,
    /// The event in the encoding of its kind, which must have one form only. May be personal: it is not stored.
    pub content: &'a [u8],
}

/// What hides the content of a leaf: 32 random bytes, for one leaf alone.
#[derive(Clone, Debug)]
pub struct Salt(Sensitive<[u8; 32]>);

impl Salt {
    /// A new salt. Draw it before the transaction begins, which may be run again.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(Sensitive::new(random_bytes(entropy)))
    }

    /// The salt with these bytes, as a receipt carries it.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Sensitive::new(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

/// A salted commitment: what the tree is over, and all of a leaf that is public.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Commitment(Sha256);

impl Commitment {
    /// The commitment to `leaf` under `salt`.
    #[must_use]
    pub fn of(leaf: Leaf<'_>, salt: &Salt) -> Self {
        // No kind is 4 GiB long; were it, its length would still not be mistaken for that of a shorter one in use.
        let length = u32::try_from(leaf.kind.len()).unwrap_or(u32::MAX).to_be_bytes();
        let parts = [DOMAIN, salt.expose(), &length, leaf.kind.as_bytes(), leaf.content];
        Self(hash::sha256(&parts.concat()))
    }

    pub(crate) const fn from_bytes(bytes: Sha256) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &Sha256 {
        &self.0
    }

    /// The leaf of the tree.
    #[must_use]
    pub fn leaf_hash(&self) -> Sha256 {
        merkle::leaf_hash(&self.0)
    }
}
