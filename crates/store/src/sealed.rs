//! Sealed columns: what is personal is an envelope in the database, and opens in its own cell only.
//!
//! An entity has fields of type [`Sealed<T>`]; a repository has one [`SealedColumn<T>`] per such field, which knows the
//! table, the column and the padding, and seals and opens with the key of the person that the row is about:
//!
//! ```
//! # use portal_crypto::envelope::{Padding, SubjectKey};
//! # use portal_store::StoreError;
//! # use portal_store::sealed::{Row, SealedColumn, Sealing};
//! const EMAIL: SealedColumn<String> = SealedColumn::new("account", "email", Padding::To64);
//!
//! # fn example(sealing: &Sealing, key: &SubjectKey, row: Row) -> Result<(), StoreError> {
//! let sealed = EMAIL.seal(sealing, key, row, &"anna@example.org".to_owned())?; // the field of the entity
//! assert_eq!(EMAIL.open(sealing, key, row, &sealed)?, "anna@example.org");
//! # Ok(()) }
//! ```
//!
//! Promises: a cell that was changed, cut, extended, moved to another row, column or person, or put back from an older
//! version of its row is refused with [`Corrupt`](crate::StoreError::Corrupt), which names the place and the cause and
//! never the content. What several columns say together is bound by the row's digest: [`digest`].
//!
//! That a cell of an older state is refused needs a version that grows whenever the cell is sealed anew: the service says
//! which. Where a cell is sealed once and never again, as in rows that are only appended and in the names of devices of
//! sessions, the version is a constant: there is no older cell of that row to put back. Beside that the digest of the row
//! covers every cell, so that a cell alone can't be put back in any row that has a digest; a whole older row with its own
//! digest can.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@column`] | [`SealedColumn`]: one cell, or many at once |
//! | [`digest`] | [`digest::DigestedRow`]: the digest over all columns of a row |
//! | [`metrics`] | how many cells were sealed, opened and refused, and how long it took |
//! | [`value`] | [`Sealed`] as a column type, [`Sealable`] |

use std::fmt;
use std::sync::Arc;

use portal_core::Entropy;
use portal_core::id::Id;
use portal_crypto::envelope::SubjectKey;
use portal_crypto::hash::sha256;
use sea_orm::prelude::Uuid;

pub mod column;
pub mod digest;
pub mod metrics;
pub mod value;

pub use column::{Cell, SealedColumn};
pub use digest::{DigestedRow, RowDigests};
pub use value::{Sealable, Sealed};

use crate::Metrics;
use metrics::CellMetrics;

/// What sealing and opening need beside the key: entropy for nonces, and where it is counted. Cheap to clone.
#[derive(Clone)]
pub struct Sealing {
    entropy: Arc<dyn Entropy>,
    metrics: CellMetrics,
}

impl Sealing {
    /// Draws nonces from `entropy`, which must be fit for keys, and counts in `metrics`.
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>, metrics: &Metrics) -> Self {
        Self { entropy, metrics: metrics.cells().clone() }
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing").finish_non_exhaustive()
    }
}

/// The keys of one person: the one that seals now, and those that still open.
pub trait KeysOfSubject {
    /// The key that new values are sealed under.
    fn sealing(&self) -> &SubjectKey;

    /// The key of this generation, if there is one.
    fn opening(&self, generation: u32) -> Option<&SubjectKey>;
}

/// The newest key, and those of earlier generations that it comes [after](SubjectKey::after).
impl KeysOfSubject for SubjectKey {
    fn sealing(&self) -> &SubjectKey {
        self
    }

    fn opening(&self, generation: u32) -> Option<&SubjectKey> {
        self.of_generation(generation)
    }
}

impl<K: KeysOfSubject + ?Sized> KeysOfSubject for Arc<K> {
    fn sealing(&self) -> &SubjectKey {
        (**self).sealing()
    }

    fn opening(&self, generation: u32) -> Option<&SubjectKey> {
        (**self).opening(generation)
    }
}

/// A row, and which state of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Row {
    /// Its id; of a composite primary key [`row_id`].
    pub id: [u8; 16],
    /// Its version, which grows with each change of the row.
    pub version: u64,
}

impl Row {
    /// The row with this id.
    #[must_use]
    pub fn new(id: impl Id, version: u64) -> Self {
        Self { id: *id.uuid().as_bytes(), version }
    }

    /// The row whose primary key has these parts, as in [`row_id`].
    #[must_use]
    pub fn composite(parts: &[&[u8]], version: u64) -> Self {
        Self { id: row_id(parts), version }
    }
}

impl fmt::Display for Row {
    /// The id alone, as a UUID.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.id).as_hyphenated().fmt(f)
    }
}

/// The id of a row whose primary key is not a UUID: the first 16 bytes of
/// `SHA-256("portal/row-id/v1\0" | length 4 | part | length 4 | part …)`, with the columns of the key in their order,
/// integers in 8 bytes big-endian, UUIDs in 16 bytes, text in UTF-8.
#[must_use]
pub fn row_id(parts: &[&[u8]]) -> [u8; 16] {
    let mut key = b"portal/row-id/v1\0".to_vec();
    for part in parts {
        // A part of a primary key is far below 4 GiB; a longer one would not collide with a shorter, only with itself.
        key.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        key.extend_from_slice(part);
    }
    let mut id = [0; 16];
    for (byte, digest) in id.iter_mut().zip(sha256(&key)) {
        *byte = digest;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's hashlib: stored cells are bound to it.
    #[test]
    fn ids_of_composite_keys_never_change() {
        let check = |parts: &[&[u8]], expected: &str| {
            assert_eq!(Uuid::from_bytes(row_id(parts)).simple().to_string(), expected);
        };
        check(&[], "6afa9f3ec7d4408f62048c41a9465035");
        check(&[b"a", &7_i64.to_be_bytes()], "b433875ed9011ce76e77773f3b581060");
    }

    #[test]
    fn borders_between_the_parts_count() {
        assert_ne!(row_id(&[b"ab", b"c"]), row_id(&[b"a", b"bc"]));
        assert_ne!(row_id(&[b"ab"]), row_id(&[b"ab", b""]));
    }
}
