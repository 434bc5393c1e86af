//! What a set of records says, in one number: the same before and after they move.

use portal_core::id::{Id, SubjectId};
use portal_crypto::hash::{Sha256, sha256};

use crate::record::{LegacyRecord, RecordId};

/// A running SHA-256 over records in the order of their ids.
///
/// It begins with 32 zero bytes and becomes, with each record, the SHA-256 of itself ‖ record id ‖ subject id ‖
/// length of the table's name (2 bytes) ‖ name ‖ length of the field's name (2) ‖ name ‖ length of the plaintext (8) ‖
/// plaintext. So it can be kept at a checkpoint and taken up again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ContentDigest(Sha256);

/// What a value is and where it stands.
#[derive(Clone, Copy)]
pub struct Content<'a> {
    /// Which record.
    pub record_id: RecordId,
    /// Whom it is about.
    pub subject_id: SubjectId,
    /// Its table.
    pub table: &'a str,
    /// Its field.
    pub field: &'a str,
    /// What it says.
    pub plaintext: &'a [u8],
}

impl<'a> Content<'a> {
    /// That of a legacy record.
    #[must_use]
    pub fn of(record: &'a LegacyRecord, plaintext: &'a [u8]) -> Self {
        Self {
            record_id: record.record_id(),
            subject_id: record.subject_id(),
            table: record.table(),
            field: record.field(),
            plaintext,
        }
    }
}

impl ContentDigest {
    /// That which [`Self::as_bytes`] gave.
    #[must_use]
    pub const fn from_bytes(bytes: Sha256) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &Sha256 {
        &self.0
    }

    /// This digest with one more record.
    #[must_use]
    pub fn with(self, content: Content<'_>) -> Self {
        let name = |name: &str| {
            [&u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes(), name.as_bytes()].concat()
        };
        let length = u64::try_from(content.plaintext.len()).unwrap_or(u64::MAX).to_be_bytes();
        let mut input = [
            self.0.as_slice(),
            content.record_id.uuid().as_bytes(),
            content.subject_id.uuid().as_bytes(),
            &name(content.table),
            &name(content.field),
            &length,
        ]
        .concat();
        // At once, so that the buffer does not grow and leave a copy behind.
        input.reserve_exact(content.plaintext.len());
        input.extend_from_slice(content.plaintext);
        let input = portal_core::Sensitive::new(input);
        Self(sha256(input.expose()))
    }
}
