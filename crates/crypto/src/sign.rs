//! Signatures that outlive quantum computers: ML-DSA (FIPS 204), pure mode, empty context.
//!
//! [`ed25519`] is the classical one; [`crate::pair`] is both together.
//!
//! A verifying key knows its algorithm; there is no way to verify with a key under another one.

use std::fmt;

use portal_core::Sensitive;

use crate::{backend, suite};

pub mod ed25519;
pub mod p256;

/// A signature algorithm, with its stable id.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// ML-DSA-65: keys of 1,952 bytes, signatures of 3,309.
    MlDsa65,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 1] = [Self::MlDsa65];

    /// The id in stored records.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::MlDsa65 => 0x0201,
        }
    }

    /// The algorithm with this id.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.id() == id)
    }

    /// The length of a signature in bytes.
    #[must_use]
    pub const fn signature_len(self) -> usize {
        match self {
            Self::MlDsa65 => backend::ML_DSA_65_SIGNATURE,
        }
    }

    /// The length of a verifying key in bytes.
    #[must_use]
    pub const fn verifying_key_len(self) -> usize {
        match self {
            Self::MlDsa65 => backend::ML_DSA_65_PUBLIC,
        }
    }

    /// The same algorithm among all: what switches it off.
    #[must_use]
    pub const fn suite(self) -> suite::Algorithm {
        match self {
            Self::MlDsa65 => suite::Algorithm::MlDsa65,
        }
    }

    /// The name in FIPS 204, certificates and JOSE (RFC 9964).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MlDsa65 => "ML-DSA-65",
        }
    }
}

/// The cryptographic library could not do what it was asked, for example for want of memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the cryptographic library failed")]
pub struct BackendFailure;

/// The bytes are not a verifying key of the algorithm.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a verifying key of this algorithm")]
pub struct InvalidVerifyingKey;

/// The signature is not one of this message by this key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct InvalidSignature;

/// A signing key of ML-DSA-65. It has no `Debug` and is wiped on drop.
#[derive(Clone)]
pub struct SigningKey {
    secret: backend::MlDsa65Secret,
    public: VerifyingKey,
}

impl SigningKey {
    /// The key pair that belongs to `seed`, always the same one (FIPS 204, algorithm 6).
    ///
    /// # Errors
    /// [`BackendFailure`]; every seed is a valid one.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, BackendFailure> {
        let secret = backend::MlDsa65Secret::from_seed(seed).ok_or(BackendFailure)?;
        let public = VerifyingKey(secret.public().ok_or(BackendFailure)?);
        Ok(Self { secret, public })
    }

    /// The key pair in a PKCS#8 document (RFC 9881, section 6).
    ///
    /// # Errors
    /// [`BackendFailure`] if it is no ML-DSA-65 private key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, BackendFailure> {
        let secret = backend::MlDsa65Secret::from_pkcs8(der).ok_or(BackendFailure)?;
        let public = VerifyingKey(secret.public().ok_or(BackendFailure)?);
        Ok(Self { secret, public })
    }

    /// The PKCS#8 document that [`Self::from_pkcs8`] reads: for a key file, and nowhere else.
    ///
    /// # Errors
    /// [`BackendFailure`].
    pub fn to_pkcs8(&self) -> Result<Sensitive<Vec<u8>>, BackendFailure> {
        self.secret.to_pkcs8().ok_or(BackendFailure)
    }

    /// A signature of `message`, 3,309 bytes, another one at each call (hedged signing).
    ///
    /// # Errors
    /// [`BackendFailure`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BackendFailure> {
        self.secret.sign(message).ok_or(BackendFailure)
    }

    /// The other half of the pair.
    #[must_use]
    pub const fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }
}

/// A verifying key, parsed once.
#[derive(Clone)]
pub struct VerifyingKey(backend::MlDsa65Public);

impl VerifyingKey {
    /// The key with this encoding (FIPS 204, `pkEncode`).
    ///
    /// # Errors
    /// [`InvalidVerifyingKey`] if it has the wrong length.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, InvalidVerifyingKey> {
        match algorithm {
            Algorithm::MlDsa65 => {
                backend::MlDsa65Public::from_bytes(bytes).map(Self).ok_or(InvalidVerifyingKey)
            }
        }
    }

    /// The encoding that [`Self::from_bytes`] reads.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// The algorithm of the key.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        Algorithm::MlDsa65
    }

    /// Checks that `signature` is one of `message` by this key.
    ///
    /// # Errors
    /// [`InvalidSignature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        if self.0.verify(message, signature) { Ok(()) } else { Err(InvalidSignature) }
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for VerifyingKey {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.algorithm().name())
    }
}
