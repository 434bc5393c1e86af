//! One value of an earlier system, as it lies there: sealed, signed, and not yet believed.
//!
//! Invariants: a [`LegacyRecord`] has the right shape; it has one encoding, so what is signed is not ambiguous; a
//! [`Verified`] one was signed by the key that verified it, and only such a one can be opened.

use std::fmt;

use portal_core::LogSafe;
use portal_core::id::{Id, SubjectId};
use uuid::Uuid;

use crate::kem::CIPHERTEXT_LEN;
use crate::key_id::KeyId;
use crate::verify::SIGNATURE_LEN;

/// Bytes of a nonce of AES-256-GCM.
pub const NONCE_LEN: usize = 12;
/// Bytes of a tag of AES-256-GCM: the shortest sealed value.
pub const TAG_LEN: usize = 16;
/// Bytes of the longest sealed value, with its tag.
pub const MAX_SEALED: usize = 1 << 20;
/// Characters of the longest name of a table or field.
pub const MAX_NAME: usize = 64;
/// What every signed encoding begins with.
const LABEL: &[u8] = b"portal-legacy-record/v1\0";

/// A record of an earlier system.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RecordId(Uuid);

impl Id for RecordId {
    fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    fn uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl LogSafe for RecordId {}

/// What is wrong with the shape of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidRecord {
    /// A name is 1 to 64 of `a-z`, `0-9` and `_`.
    #[error("the field's name is not 1 to 64 of a-z, 0-9 and _")]
    Field,
    /// It has 1,088 bytes.
    #[error("the KEM ciphertext has 1,088 bytes, not {0}")]
    KemCiphertext(usize),
    /// It has 12 bytes.
    #[error("the nonce has 12 bytes, not {0}")]
    Nonce(usize),
    /// It has [`TAG_LEN`] to [`MAX_SEALED`] bytes.
    #[error("the sealed value has 16 to 1,048,576 bytes, not {0}")]
    Sealed(usize),
    /// It has 3,293 bytes.
    #[error("the signature has 3,293 bytes, not {0}")]
    Signature(usize),
    /// A name is 1 to 64 of `a-z`, `0-9` and `_`.
    #[error("the table's name is not 1 to 64 of a-z, 0-9 and _")]
    Table,
}

/// A record as it is read from somewhere, before its shape is checked.
pub struct Parts {
    /// Which record.
    pub record_id: RecordId,
    /// Whom it is about.
    pub subject_id: SubjectId,
    /// The table it stood in.
    pub table: String,
    /// The field of that table.
    pub field: String,
    /// The Kyber-768 key it is sealed to.
    pub kem_key: KeyId,
    /// The encapsulated secret, 1,088 bytes.
    pub kem_ciphertext: Vec<u8>,
    /// 12 bytes.
    pub nonce: Vec<u8>,
    /// Ciphertext and tag of AES-256-GCM.
    pub sealed: Vec<u8>,
    /// The Dilithium3 key that signed it.
    pub signer: KeyId,
    /// 3,293 bytes.
    pub signature: Vec<u8>,
}

/// A record of the right shape. Its `Debug` shows ids and names.
pub struct LegacyRecord {
    record_id: RecordId,
    subject_id: SubjectId,
    table: String,
    field: String,
    kem_key: KeyId,
    kem_ciphertext: Box<[u8; CIPHERTEXT_LEN]>,
    nonce: [u8; NONCE_LEN],
    sealed: Vec<u8>,
    signer: KeyId,
    signature: Box<[u8; SIGNATURE_LEN]>,
}

impl TryFrom<Parts> for LegacyRecord {
    type Error = InvalidRecord;

    fn try_from(parts: Parts) -> Result<Self, InvalidRecord> {
        let boxed = |bytes: Vec<u8>| bytes.into_boxed_slice();
        if !(TAG_LEN..=MAX_SEALED).contains(&parts.sealed.len()) {
            return Err(InvalidRecord::Sealed(parts.sealed.len()));
        }
        Ok(Self {
            record_id: parts.record_id,
            subject_id: parts.subject_id,
            table: name(parts.table).ok_or(InvalidRecord::Table)?,
            field: name(parts.field).ok_or(InvalidRecord::Field)?,
            kem_key: parts.kem_key,
            kem_ciphertext: boxed(parts.kem_ciphertext)
                .try_into()
                .map_err(|wrong: Box<[u8]>| InvalidRecord::KemCiphertext(wrong.len()))?,
            nonce: parts.nonce.try_into().map_err(|wrong: Vec<u8>| InvalidRecord::Nonce(wrong.len()))?,
            sealed: parts.sealed,
            signer: parts.signer,
            signature: boxed(parts.signature)
                .try_into()
                .map_err(|wrong: Box<[u8]>| InvalidRecord::Signature(wrong.len()))?,
        })
    }
}

fn name(name: String) -> Option<String> {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    ((1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain)).then_some(name)
}

impl LegacyRecord {
    /// Which record.
    #[must_use]
    pub fn record_id(&self) -> RecordId {
        self.record_id
    }

    /// Whom it is about.
    #[must_use]
    pub fn subject_id(&self) -> SubjectId {
        self.subject_id
    }

    /// The table it stood in.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The field of that table.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The Kyber-768 key it is sealed to.
    #[must_use]
    pub fn kem_key(&self) -> KeyId {
        self.kem_key
    }

    /// The encapsulated secret, which is the key of AES-256-GCM.
    #[must_use]
    pub fn kem_ciphertext(&self) -> &[u8; CIPHERTEXT_LEN] {
        &self.kem_ciphertext
    }

    /// The nonce of AES-256-GCM.
    #[must_use]
    pub fn nonce(&self) -> &[u8; NONCE_LEN] {
        &self.nonce
    }

    /// Ciphertext and tag of AES-256-GCM.
    #[must_use]
    pub fn sealed(&self) -> &[u8] {
        &self.sealed
    }

    /// The Dilithium3 key that signed it.
    #[must_use]
    pub fn signer(&self) -> KeyId {
        self.signer
    }

    /// The signature of [`Self::signed_bytes`].
    #[must_use]
    pub fn signature(&self) -> &[u8; SIGNATURE_LEN] {
        &self.signature
    }

    /// The associated data of AES-256-GCM: where the value belongs.
    #[must_use]
    pub fn place(&self) -> Vec<u8> {
        let mut place = Vec::with_capacity(36 + self.table.len() + self.field.len());
        place.extend_from_slice(self.record_id.uuid().as_bytes());
        place.extend_from_slice(self.subject_id.uuid().as_bytes());
        for name in [&self.table, &self.field] {
            // At most 64.
            place.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
            place.extend_from_slice(name.as_bytes());
        }
        place
    }

    /// What the signature is over: all of it but the signature.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        // At most 2^20.
        let len = u32::try_from(self.sealed.len()).unwrap_or(u32::MAX).to_be_bytes();
        [
            LABEL,
            &self.place(),
            self.kem_key.as_bytes(),
            self.kem_ciphertext.as_slice(),
            &self.nonce,
            &len,
            &self.sealed,
            self.signer.as_bytes(),
        ]
        .concat()
    }
}

impl fmt::Debug for LegacyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LegacyRecord")
            .field("record_id", &self.record_id)
            .field("table", &self.table)
            .field("field", &self.field)
            .finish_non_exhaustive()
    }
}

/// A record whose signature was verified.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a>(&'a LegacyRecord);

impl<'a> Verified<'a> {
    /// For [`crate::LegacyVerify`], which alone may say so.
    pub(crate) fn new(record: &'a LegacyRecord) -> Self {
        Self(record)
    }

    /// The record.
    #[must_use]
    pub fn record(self) -> &'a LegacyRecord {
        self.0
    }
}
