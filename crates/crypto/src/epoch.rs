//! The epoch key of one service and tenant, and the records of the subject keys that it wraps.
//!
//! ```text
//! record = version 1 (0x01) | suite 2 (0x0301) | epoch id 16 | generation 4 | created 8
//!          | nonce 12 | wrapped key 32 | tag 16 | commitment 32                                    123 bytes
//! AAD    = "portal/subject-key/v1\0" | the record's first 31 bytes | service | tenant 16 | subject 16
//! commitment = HMAC-SHA-256(subject key, "portal/subject-key-commit/v1" | service | subject 16 | generation 4)
//! ```
//! Integers are big-endian, times are microseconds since 1970. GCM alone does not commit to its key, so the commitment is
//! checked at every unwrap. Rewrapping to a new epoch changes neither subject key nor commitment: no field is touched.

use portal_core::entropy::random_bytes;
use portal_core::id::{EpochId, Id, SubjectId};
use portal_core::{Entropy, Timestamp};

use crate::aead::{Aes256GcmKey, NONCE_LEN, TAG_LEN};
use crate::backend;
use crate::envelope::{MAX_SERVICE, Scope, SubjectKey};
use crate::key::{KeyBytes, overwrite_dead_stack};
use crate::short_bytes::ShortBytes;
use crate::suite::{Algorithm, Disabled, Suites};
use crate::wrapped::{KeyContext, RecordError, WrappedKeyRecord};

/// The length of the record of a subject key.
pub const SUBJECT_KEY_RECORD: usize = HEADER + NONCE_LEN + KEY + TAG_LEN + COMMIT;

const VERSION: u8 = 1;
const SUITE: Algorithm = Algorithm::Aes256Gcm;
const HEADER: usize = 1 + 2 + 16 + 4 + 8;
const KEY: usize = 32;
const COMMIT: usize = 32;
const AAD_LABEL: &[u8] = b"portal/subject-key/v1\0";
const MAX_AAD: usize = AAD_LABEL.len() + HEADER + MAX_SERVICE + 16 + 16;
const COMMIT_LABEL: &[u8] = b"portal/subject-key-commit/v1";

/// These are not the bytes of the record of a subject key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the record of a subject key")]
pub struct InvalidRecord;

/// Why a subject key was not made, unwrapped or rewrapped. Never holds any of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SubjectKeyError {
    /// The unwrapped key does not answer the record's commitment.
    #[error("the unwrapped key is not the one that was recorded")]
    Commitment,
    /// The configuration has switched the record's suite off.
    #[error(transparent)]
    Disabled(#[from] Disabled),
    /// The record is wrapped under another epoch key.
    #[error("the record is wrapped under epoch {found}, not {expected}")]
    Epoch {
        /// The key's.
        expected: EpochId,
        /// The record's.
        found: EpochId,
    },
    /// The cryptographic library could not wrap the key.
    #[error("the cryptographic library failed")]
    Library,
    /// Not wrapped under this key for this owner, or changed since.
    #[error("the subject key does not unwrap for this subject under this epoch key")]
    Refused,
    /// The new epoch key belongs to another service or tenant.
    #[error("the new epoch belongs to another service or tenant")]
    Scope,
}

/// The record of a subject key, as the key database keeps it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SubjectKeyRecord {
    header: Header,
    nonce: [u8; NONCE_LEN],
    wrapped: [u8; KEY + TAG_LEN],
    commitment: [u8; COMMIT],
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Header {
    epoch: EpochId,
    generation: u32,
    created: Timestamp,
}

impl SubjectKeyRecord {
    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`InvalidRecord`] for another length, version or suite.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidRecord> {
        Self::parse(bytes).ok_or(InvalidRecord)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[version], rest) = bytes.split_first_chunk()?;
        let (suite, rest) = rest.split_first_chunk()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (created, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (wrapped, rest) = rest.split_first_chunk()?;
        let header = Header {
            epoch: EpochId::from_bytes(*epoch),
            generation: u32::from_be_bytes(*generation),
            created: Timestamp::from_micros(i64::from_be_bytes(*created)),
        };
        let known = version == VERSION && u16::from_be_bytes(*suite) == SUITE.id();
        let commitment = rest.try_into().ok().filter(|_| known)?;
        Some(Self { header, nonce: *nonce, wrapped: *wrapped, commitment })
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SUBJECT_KEY_RECORD] {
        let parts: [&[u8]; 4] = [&self.header.to_bytes(), &self.nonce, &self.wrapped, &self.commitment];
        ShortBytes::of(&parts).into_array()
    }

    /// The epoch key that unwraps it.
    #[must_use]
    pub const fn epoch(&self) -> EpochId {
        self.header.epoch
    }

    /// The generation of the subject key.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.header.generation
    }

    /// When the subject key was made.
    #[must_use]
    pub const fn created(&self) -> Timestamp {
        self.header.created
    }
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER] {
        let (suite, created) = (SUITE.id().to_be_bytes(), self.created.as_micros().to_be_bytes());
        let (epoch, generation) = (self.epoch.bytes(), self.generation.to_be_bytes());
        ShortBytes::of(&[&[VERSION], &suite, &epoch, &generation, &created]).into_array()
    }
}

/// An epoch key with its key schedule. Wiped on drop; has no `Debug` and no `Clone`: share it by `Arc`.
pub struct EpochKey {
    schedule: Aes256GcmKey,
    id: EpochId,
    scope: Scope,
    suites: Suites,
}

impl EpochKey {
    /// A key that has just been made, to be used under `id` after its [`KeyContext::epoch`] record has been stored.
    #[must_use]
    pub fn new(bytes: &KeyBytes, id: EpochId, scope: Scope, suites: Suites) -> Self {
        let schedule = Aes256GcmKey::new(bytes.expose());
        overwrite_dead_stack();
        Self { schedule, id, scope, suites }
    }

    /// The key of a stored record, which the provider has unwrapped to `bytes`.
    ///
    /// # Errors
    /// [`RecordError`] if `bytes` are not the key that was recorded.
    pub fn of_record(
        record: &WrappedKeyRecord,
        bytes: &KeyBytes,
        scope: Scope,
        suites: Suites,
    ) -> Result<Self, RecordError> {
        let id = EpochId::from_bytes(*record.key_id());
        record.check(&KeyContext::epoch(scope, id), bytes)?;
        Ok(Self::new(bytes, id, scope, suites))
    }

    /// The id that records name it by.
    #[must_use]
    pub const fn id(&self) -> EpochId {
        self.id
    }

    /// Whose subject keys it wraps.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// Makes a new key for `subject` and its record. The record has to be stored before anything is sealed.
    ///
    /// # Errors
    /// [`SubjectKeyError::Disabled`] if AES-256-GCM is switched off.
    pub fn new_subject_key(
        &self,
        subject: SubjectId,
        generation: u32,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<(SubjectKey, SubjectKeyRecord), SubjectKeyError> {
        self.suites.require(SUITE)?;
        let key = KeyBytes::generate(entropy);
        let header = Header { epoch: self.id, generation, created: now };
        let commitment = self.commitment(&key, subject, generation);
        let record = self.wrap(header, subject, (&key, commitment), entropy)?;
        Ok((SubjectKey::new(key, self.scope.owner(subject), generation, self.suites), record))
    }

    /// The subject key of `record`.
    ///
    /// # Errors
    /// [`SubjectKeyError`], one variant per cause.
    pub fn unwrap(
        &self,
        subject: SubjectId,
        record: &SubjectKeyRecord,
    ) -> Result<SubjectKey, SubjectKeyError> {
        let key = self.unwrap_bytes(subject, record)?;
        Ok(SubjectKey::new(key, self.scope.owner(subject), record.generation(), self.suites))
    }

    /// The record of the same subject key under the epoch key `new`: generation, time and commitment stay.
    ///
    /// # Errors
    /// [`SubjectKeyError`], one variant per cause.
    pub fn rewrap(
        &self,
        new: &Self,
        subject: SubjectId,
        record: &SubjectKeyRecord,
        entropy: &dyn Entropy,
    ) -> Result<SubjectKeyRecord, SubjectKeyError> {
        if new.scope != self.scope {
            return Err(SubjectKeyError::Scope);
        }
        new.suites.require(SUITE)?;
        let key = self.unwrap_bytes(subject, record)?;
        let header = Header { epoch: new.id, ..record.header };
        new.wrap(header, subject, (&key, record.commitment), entropy)
    }

    /// The record of `subject`'s `key`, whose commitment is known.
    fn wrap(
        &self,
        header: Header,
        subject: SubjectId,
        (key, commitment): (&KeyBytes, [u8; COMMIT]),
        entropy: &dyn Entropy,
    ) -> Result<SubjectKeyRecord, SubjectKeyError> {
        let nonce: [u8; NONCE_LEN] = random_bytes(entropy);
        let aad = self.aad(header, subject);
        let mut wrapped = [0; KEY + TAG_LEN];
        let (text, tag) = wrapped.split_at_mut(KEY);
        text.copy_from_slice(key.expose());
        // Encrypted where it stands: the copy of the key is gone with it.
        let sealed = self.schedule.seal_in_place(&nonce, aad.as_slice(), text);
        tag.copy_from_slice(&sealed.map_err(|_| SubjectKeyError::Library)?);
        Ok(SubjectKeyRecord { header, nonce, wrapped, commitment })
    }

    fn unwrap_bytes(
        &self,
        subject: SubjectId,
        record: &SubjectKeyRecord,
    ) -> Result<KeyBytes, SubjectKeyError> {
        self.suites.require(SUITE)?;
        if record.epoch() != self.id {
            return Err(SubjectKeyError::Epoch { expected: self.id, found: record.epoch() });
        }
        let aad = self.aad(record.header, subject);
        let open = |out: &mut [u8; KEY]| {
            self.schedule.open_into(&record.nonce, aad.as_slice(), &record.wrapped, out)
        };
        let key = KeyBytes::filled(open).map_err(|_| SubjectKeyError::Refused)?;
        let expected = self.commitment(&key, subject, record.generation());
        if backend::equal(&expected, &record.commitment) { Ok(key) } else { Err(SubjectKeyError::Commitment) }
    }

    fn aad(&self, header: Header, subject: SubjectId) -> ShortBytes<MAX_AAD> {
        let (service, tenant) = (self.scope.service.name().as_bytes(), self.scope.tenant.bytes());
        ShortBytes::of(&[AAD_LABEL, &header.to_bytes(), service, &tenant, &subject.bytes()])
    }

    fn commitment(&self, key: &KeyBytes, subject: SubjectId, generation: u32) -> [u8; COMMIT] {
        let service = self.scope.service.name().as_bytes();
        let parts = [COMMIT_LABEL, service, &subject.bytes(), &generation.to_be_bytes()];
        backend::Hmac::new(key.expose()).tag(&parts)
    }
}

#[cfg(test)]
mod tests;
