//! A key wrapped by a provider's root key: what it is for, and the record it is kept in.
//!
//! ```text
//! context = "portal/root-wrap/v1\0" | length 1 | service | tenant 16 | use 1 | key id 16 | root id 16     (not stored)
//! record  = version 1 (0x01) | suite 2 | key id 16 | root id 16 | wrapped | commitment 32
//! wrapped = encapsulated key 1120 | ciphertext 32 | tag 16       suite 0x0101 X-Wing:        1,235 bytes in all
//!         | length 2 | what the provider made                    suite 0x0110 provider-wrap: 69 bytes and that
//! commitment = HMAC-SHA-256(key, "portal/key-commit/v1\0" | suite 2 | context)
//! ```
//! Integers are big-endian. A provider authenticates the context: as the `info` of HPKE, the associated data of
//! PKCS#11's AES-GCM or of a Transit engine. The commitment is checked after every unwrap, whatever the provider did.

use portal_core::id::{EpochId, Id, RootId};

use crate::backend;
use crate::envelope::Scope;
use crate::key::KeyBytes;
use crate::suite::Algorithm;

/// The version in the first byte of every record.
pub const VERSION: u8 = 1;

/// The length of the record of a key that is sealed to a root key of X-Wing.
pub const X_WING_RECORD: usize = HEADER + X_WING_WRAPPED + COMMIT;

/// The longest answer of a provider that a record takes, in bytes.
pub const MAX_PROVIDER_WRAPPED: usize = 512;

/// Encapsulated key, ciphertext and tag.
const X_WING_WRAPPED: usize = 1_120 + 32 + 16;
const HEADER: usize = 1 + 2 + 16 + 16;
const COMMIT: usize = 32;

const CONTEXT_LABEL: &[u8] = b"portal/root-wrap/v1\0";
const COMMIT_LABEL: &[u8] = b"portal/key-commit/v1\0";

/// What a wrapped key is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyUse {
    /// An epoch key.
    Epoch,
    /// The service secret that index, digest, token and page-token keys are derived from.
    ServiceSecret,
}

impl KeyUse {
    /// The id in the context. It never changes.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Epoch => 1,
            Self::ServiceSecret => 2,
        }
    }
}

/// What a provider binds a key to: it unwraps for the same context only.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct KeyContext {
    /// What the key is for.
    pub key_use: KeyUse,
    /// Whose data it protects.
    pub scope: Scope,
    /// The key's own id.
    pub key_id: [u8; 16],
}

impl KeyContext {
    /// The context of an epoch key.
    #[must_use]
    pub fn epoch(scope: Scope, id: EpochId) -> Self {
        Self { key_use: KeyUse::Epoch, scope, key_id: id.bytes() }
    }

    /// The context of a service secret.
    #[must_use]
    pub const fn service_secret(scope: Scope, id: [u8; 16]) -> Self {
        Self { key_use: KeyUse::ServiceSecret, scope, key_id: id }
    }

    /// The bytes that are authenticated with a key wrapped under `root`: other bytes for each context.
    #[must_use]
    pub fn to_bytes(&self, root: RootId) -> Vec<u8> {
        let service = self.scope.service.name().as_bytes();
        let length = u8::try_from(service.len()).unwrap_or(u8::MAX);
        let (tenant, root) = (self.scope.tenant.bytes(), root.bytes());
        [CONTEXT_LABEL, &[length], service, &tenant, &[self.key_use.id()], &self.key_id, &root].concat()
    }
}

/// A key as its provider gave it back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WrappedKey {
    /// [`Algorithm::XWing`] or [`Algorithm::ProviderWrap`].
    pub algorithm: Algorithm,
    /// The root key that unwraps it.
    pub root: RootId,
    /// The wrapped key: 1,168 bytes of X-Wing, up to [`MAX_PROVIDER_WRAPPED`] of a provider.
    pub bytes: Vec<u8>,
}

/// These are not the bytes of a record of a wrapped key, or not one that can be kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the record of a wrapped key")]
pub struct InvalidRecord;

/// Why an unwrapped key is not the one that the record was made for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// The key does not answer the record's commitment.
    #[error("the unwrapped key is not the one that was recorded")]
    Commitment,
    /// The record is another key's.
    #[error("the record belongs to another key")]
    KeyId,
}

/// A wrapped key with its id and its commitment, as the key database keeps it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WrappedKeyRecord {
    key_id: [u8; 16],
    wrapped: WrappedKey,
    commitment: [u8; COMMIT],
}

impl WrappedKeyRecord {
    /// The record of `key`, which a provider has wrapped in `context`.
    ///
    /// # Errors
    /// [`InvalidRecord`] if the wrapped key has not the length of its algorithm, or the algorithm is no wrapping one.
    pub fn new(context: &KeyContext, wrapped: WrappedKey, key: &KeyBytes) -> Result<Self, InvalidRecord> {
        let fits = match wrapped.algorithm {
            Algorithm::XWing => wrapped.bytes.len() == X_WING_WRAPPED,
            Algorithm::ProviderWrap => (1..=MAX_PROVIDER_WRAPPED).contains(&wrapped.bytes.len()),
            _ => false,
        };
        if !fits {
            return Err(InvalidRecord);
        }
        let commitment = commit(context, &wrapped, key);
        Ok(Self { key_id: context.key_id, wrapped, commitment })
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`InvalidRecord`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidRecord> {
        Self::parse(bytes).ok_or(InvalidRecord)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[version], rest) = bytes.split_first_chunk()?;
        let (suite, rest) = rest.split_first_chunk()?;
        let (key_id, rest) = rest.split_first_chunk()?;
        let (root, rest) = rest.split_first_chunk()?;
        let (wrapped, commitment) = rest.split_last_chunk()?;
        let algorithm = Algorithm::from_id(u16::from_be_bytes(*suite))?;
        let wrapped = match algorithm {
            Algorithm::XWing => (wrapped.len() == X_WING_WRAPPED).then_some(wrapped),
            Algorithm::ProviderWrap => {
                let (length, wrapped) = wrapped.split_first_chunk()?;
                let length = usize::from(u16::from_be_bytes(*length));
                let fits = wrapped.len() == length && (1..=MAX_PROVIDER_WRAPPED).contains(&length);
                fits.then_some(wrapped)
            }
            _ => None,
        }?;
        let wrapped = WrappedKey { algorithm, root: RootId::from_bytes(*root), bytes: wrapped.to_vec() };
        (version == VERSION).then_some(Self { key_id: *key_id, wrapped, commitment: *commitment })
    }

    /// The stored form: 1,235 bytes for X-Wing.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + 2 + self.wrapped.bytes.len() + COMMIT);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.wrapped.algorithm.id().to_be_bytes());
        bytes.extend_from_slice(&self.key_id);
        bytes.extend_from_slice(&self.wrapped.root.bytes());
        if self.wrapped.algorithm == Algorithm::ProviderWrap {
            let length = u16::try_from(self.wrapped.bytes.len()).unwrap_or(u16::MAX);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        bytes.extend_from_slice(&self.wrapped.bytes);
        bytes.extend_from_slice(&self.commitment);
        bytes
    }

    /// The id of the key.
    #[must_use]
    pub const fn key_id(&self) -> &[u8; 16] {
        &self.key_id
    }

    /// What to hand to the provider.
    #[must_use]
    pub const fn wrapped(&self) -> &WrappedKey {
        &self.wrapped
    }

    /// Checks that `key`, which the provider unwrapped in `context`, is the one that the record was made for.
    ///
    /// # Errors
    /// [`RecordError`], one variant per cause.
    pub fn check(&self, context: &KeyContext, key: &KeyBytes) -> Result<(), RecordError> {
        if self.key_id != context.key_id {
            return Err(RecordError::KeyId);
        }
        let expected = commit(context, &self.wrapped, key);
        if backend::equal(&expected, &self.commitment) { Ok(()) } else { Err(RecordError::Commitment) }
    }
}

fn commit(context: &KeyContext, wrapped: &WrappedKey, key: &KeyBytes) -> [u8; COMMIT] {
    let (suite, context) = (wrapped.algorithm.id().to_be_bytes(), context.to_bytes(wrapped.root));
    backend::Hmac::new(key.expose()).tag(&[COMMIT_LABEL, &suite, &context])
}

#[cfg(test)]
mod tests;
