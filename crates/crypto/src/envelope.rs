//! The field envelope, version 1: one sealed value that opens in its own place under its own key, and nowhere else.
//!
//! ```text
//! envelope = version 1 (0x01) | suite 1 | generation 4 | nonce | ciphertext | tag 16
//! AAD      = "portal/field/v1\0" | suite 1 | generation 4 | service | tenant 16 | subject 16
//!            | length 1 | table | length 1 | column | row 16 | row version 8              (not stored)
//! suite    = 0x01 AES-256-GCM, nonce 12, 34 bytes more than the plaintext
//!          | 0x02 XAES-256-GCM, nonce 24, 46 bytes more
//! ```
//! Integers are big-endian. The name of the service needs no length: no name of a [`Workload`] begins another one.
//!
//! Promises: a change of any bit, a cut, an extension, another place, another owner, another key and an older version of
//! the cell are refused; the one key that the generation names is tried and no other. Not promised: a whole older row
//! put back with its digest opens, unless the row is ledgered.

mod aad;
mod padding;
mod subject_key;
#[cfg(test)]
mod tests;

use portal_core::Workload;
use portal_core::id::{SubjectId, TenantId};

pub use padding::Padding;
pub use subject_key::SubjectKey;

use crate::aead;
use crate::suite::{Algorithm, Disabled};

/// The version in the first byte of every envelope.
pub const VERSION: u8 = 1;

/// The longest name of a table or column, in bytes: what PostgreSQL allows.
pub const MAX_NAME: usize = 63;

/// The longest name of a service, in bytes; a test holds [`Workload`] to it.
pub(crate) const MAX_SERVICE: usize = 16;

/// How often one subject key seals before the next generation has to take over. Random nonces of 96 bits stand 2^32
/// messages (NIST SP 800-38D, section 8.3); a key's count starts anew in each process that loads it, so 16 of them may
/// reach this bound before that one is.
pub const MAX_SEALS: u64 = 1 << 28;

/// What a key hierarchy belongs to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Scope {
    /// The service that holds the data.
    pub service: Workload,
    /// The tenant that the data is kept for.
    pub tenant: TenantId,
}

/// Whose data it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Owner {
    /// The service that holds the data.
    pub service: Workload,
    /// The tenant that the data is kept for.
    pub tenant: TenantId,
    /// The person that the data is about.
    pub subject: SubjectId,
}

impl Owner {
    /// The scope that the owner belongs to.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        Scope { service: self.service, tenant: self.tenant }
    }
}

impl Scope {
    /// The owner of what is about `subject` in this scope.
    #[must_use]
    pub const fn owner(self, subject: SubjectId) -> Owner {
        Owner { service: self.service, tenant: self.tenant, subject }
    }
}

/// Where a value stands. It is authenticated with the value and not stored in the envelope.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place<'a> {
    /// Whose value it is.
    pub owner: Owner,
    /// The table, 1 to [`MAX_NAME`] bytes.
    pub table: &'a str,
    /// The column, 1 to [`MAX_NAME`] bytes.
    pub column: &'a str,
    /// The row's id.
    pub row: [u8; 16],
    /// The row's version, which grows with each change of the row.
    pub row_version: u64,
}

/// How an envelope is sealed: its second byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Suite {
    Aes256Gcm,
    XAes256Gcm,
}

impl Suite {
    const fn id(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::XAes256Gcm => 2,
        }
    }

    const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::XAes256Gcm),
            _ => None,
        }
    }

    const fn algorithm(self) -> Algorithm {
        match self {
            Self::Aes256Gcm => Algorithm::Aes256Gcm,
            Self::XAes256Gcm => Algorithm::XAes256Gcm,
        }
    }

    const fn nonce_len(self) -> usize {
        match self {
            Self::Aes256Gcm => aead::NONCE_LEN,
            Self::XAes256Gcm => aead::X_NONCE_LEN,
        }
    }
}

/// What an envelope says in the clear.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// What it was sealed with.
    pub algorithm: Algorithm,
    /// The generation of the subject key it was sealed under.
    pub generation: u32,
}

impl Header {
    /// Reads the header, to find the one key that may open the envelope.
    ///
    /// # Errors
    /// [`OpenError::Malformed`] if it is not the beginning of an envelope of a version and suite known here.
    pub fn read(envelope: &[u8]) -> Result<Self, OpenError> {
        split(envelope).map(|(suite, generation, _)| Self { algorithm: suite.algorithm(), generation })
    }
}

/// Suite, generation, and what follows them.
fn split(envelope: &[u8]) -> Result<(Suite, u32, &[u8]), OpenError> {
    let (&[version, suite], rest) = envelope.split_first_chunk().ok_or(OpenError::Malformed)?;
    let (generation, rest) = rest.split_first_chunk().ok_or(OpenError::Malformed)?;
    if version != VERSION {
        return Err(OpenError::Malformed);
    }
    let suite = Suite::from_id(suite).ok_or(OpenError::Malformed)?;
    Ok((suite, u32::from_be_bytes(*generation), rest))
}

/// Why a value was not sealed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SealError {
    /// The configuration has switched every suite of the envelope off.
    #[error(transparent)]
    Disabled(#[from] Disabled),
    /// The key has sealed [`MAX_SEALS`] times: a new generation has to take over.
    #[error("the subject key has sealed as often as it may")]
    Exhausted,
    /// The name of the table or column has not 1 to [`MAX_NAME`] bytes.
    #[error("the name of the table or column is empty or too long")]
    Name,
    /// The key is another owner's.
    #[error("the key belongs to another owner")]
    Owner,
    /// The value is longer than AES-GCM can seal, some 64 GiB.
    #[error("the value is too long")]
    TooLong,
}

/// Why an envelope was not opened. Never holds any of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// The configuration has switched the envelope's suite off.
    #[error(transparent)]
    Disabled(#[from] Disabled),
    /// The envelope was sealed under another generation of the key.
    #[error("the envelope was sealed under generation {found} of the subject key, not {expected}")]
    Generation {
        /// The key's.
        expected: u32,
        /// The envelope's.
        found: u32,
    },
    /// These are not the bytes of an envelope.
    #[error("not an envelope of a known version and suite")]
    Malformed,
    /// The name of the table or column has not 1 to [`MAX_NAME`] bytes.
    #[error("the name of the table or column is empty or too long")]
    Name,
    /// The key is another owner's.
    #[error("the key belongs to another owner")]
    Owner,
    /// The value is authentic but was sealed with another padding than the column's.
    #[error("the value was sealed with another padding")]
    Padding,
    /// Not sealed under this key in this place, or changed since.
    #[error("the envelope does not open here under this key")]
    Refused,
}
