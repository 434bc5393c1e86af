//! Blind indexes: finding a sealed value by equality without opening anything.
//!
//! ```text
//! key   = HKDF-Expand(SHA-256, key of Label::BlindIndex,
//!             "portal/blind-index-column/v1\0" | tenant 16 | generation 4 | length 4 | table | length 4 | column)
//! index = HMAC-SHA-256(key, normalised value), the first bits of it
//! ```
//! The caller normalises: what is to be found as equal has to be equal byte by byte. An index tells whoever sees the
//! column which rows have equal values, and how often each occurs. Where a column has few different values, fewer bits
//! make several of them fall together; the matches are then opened and compared. Deterministic encryption is not used.

use portal_core::id::{Id, TenantId};

use crate::backend;
use crate::kdf::{Label, ServiceSecret};
use crate::mac::MacKey;

const LABEL: &[u8] = b"portal/blind-index-column/v1\0";

/// How long an index is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct IndexBits(u8);

/// An index has 1 to 128 bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an index has 1 to 128 bits")]
pub struct InvalidIndexBits;

impl IndexBits {
    /// 128 bits, 16 bytes: two values never fall together.
    pub const FULL: Self = Self(128);

    /// Fewer bits, for columns of few different values: `2^bits` well below their number makes matches ambiguous.
    ///
    /// # Errors
    /// [`InvalidIndexBits`] for none and more than 128.
    pub const fn new(bits: u8) -> Result<Self, InvalidIndexBits> {
        if matches!(bits, 1..=128) { Ok(Self(bits)) } else { Err(InvalidIndexBits) }
    }

    /// The length of an index in bytes; the bits that are too many in the last one are zero.
    #[must_use]
    pub const fn byte_len(self) -> usize {
        (self.0 as usize).div_ceil(8)
    }
}

/// The column that an index stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IndexedColumn<'a> {
    /// The tenant that the data is kept for.
    pub tenant: TenantId,
    /// The table.
    pub table: &'a str,
    /// The sealed column.
    pub column: &'a str,
}

/// The key of one column's index. Wiped on drop; has no `Debug`.
#[derive(Clone)]
pub struct BlindIndexKey {
    key: MacKey,
    generation: u32,
}

impl BlindIndexKey {
    /// The key of `column`. A higher generation is another key: a data migration writes the index anew under it.
    #[must_use]
    pub fn derive(secret: &ServiceSecret, column: &IndexedColumn<'_>, generation: u32) -> Self {
        let length = |name: &str| u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes();
        let service_key = secret.derive(Label::BlindIndex);
        let key = backend::hkdf_expand::<32>(
            service_key.expose(),
            &[
                LABEL,
                &column.tenant.bytes(),
                &generation.to_be_bytes(),
                &length(column.table),
                column.table.as_bytes(),
                &length(column.column),
                column.column.as_bytes(),
            ],
        );
        Self { key: MacKey::new(key.expose()), generation }
    }

    /// Which of the column's keys it is.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The index of `value`, which the caller has normalised: [`IndexBits::byte_len`] bytes.
    #[must_use]
    pub fn index(&self, value: &[u8], bits: IndexBits) -> Vec<u8> {
        let mut index = self.key.tag(value).to_vec();
        index.truncate(bits.byte_len());
        if let (Some(last), used @ 1..) = (index.last_mut(), bits.0 % 8) {
            *last &= 0xff << (8 - used);
        }
        index
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use portal_core::id::TenantId;
    use proptest::prelude::*;

    use super::*;

    const EMAIL: IndexedColumn<'_> =
        IndexedColumn { tenant: TenantId::DEFAULT, table: "account", column: "email" };

    fn key(secret: u8, column: &IndexedColumn<'_>, generation: u32) -> BlindIndexKey {
        BlindIndexKey::derive(&ServiceSecret::new(&[secret; 32]), column, generation)
    }

    /// Computed with Python's `hmac`: a change would lose every index.
    #[test]
    fn indexes_never_change() {
        let index = key(0x42, &EMAIL, 1).index(b"anna@example.org", IndexBits::FULL);
        assert_eq!(index, crate::hex::decode::<16>("352da18a215902803977af262f5936bb").unwrap());
    }

    #[test]
    fn each_secret_tenant_column_and_generation_has_its_own_index() {
        let other_tenant = IndexedColumn { tenant: TenantId::from_bytes([1; 16]), ..EMAIL };
        let keys = [
            key(1, &EMAIL, 1),
            key(2, &EMAIL, 1),
            key(1, &EMAIL, 2),
            key(1, &other_tenant, 1),
            key(1, &IndexedColumn { table: "session", ..EMAIL }, 1),
            key(1, &IndexedColumn { column: "name", ..EMAIL }, 1),
            key(1, &IndexedColumn { table: "accounte", column: "mail", ..EMAIL }, 1),
        ];
        let indexes: BTreeSet<_> = keys.iter().map(|key| key.index(b"value", IndexBits::FULL)).collect();
        assert_eq!(indexes.len(), keys.len());
        assert_eq!(keys.each_ref().map(BlindIndexKey::generation), [1, 1, 2, 1, 1, 1, 1]);
    }

    #[test]
    fn an_index_has_one_to_128_bits() {
        for bits in [0, 129, 255] {
            assert_eq!(IndexBits::new(bits), Err(InvalidIndexBits));
        }
        assert_eq!(IndexBits::new(128), Ok(IndexBits::FULL));
        for (bits, bytes) in [(1, 1), (8, 1), (9, 2), (16, 2), (127, 16), (128, 16)] {
            assert_eq!(IndexBits::new(bits).unwrap().byte_len(), bytes);
        }
    }

    proptest! {
        #[test]
        fn fewer_bits_are_the_first_ones(value in prop::collection::vec(any::<u8>(), 0..64), bits in 1_u8..=128) {
            let key = key(1, &EMAIL, 1);
            let full = key.index(&value, IndexBits::FULL);
            let cut = key.index(&value, IndexBits::new(bits).unwrap());
            let shift = 128 - u32::from(bits);
            let number = |bytes: &[u8]| bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
            let expected = number(&full) >> shift << shift;
            prop_assert_eq!(number(&cut) << (8 * (16 - cut.len())), expected);
        }
    }
}
