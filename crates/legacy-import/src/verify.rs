//! Verifying Dilithium3 of round 3.1. There is no way to sign.

use portal_crypto::suite::Algorithm;

use crate::key_id::KeyId;
use crate::record::{LegacyRecord, Verified};

/// Bytes of a public key.
pub const PUBLIC_KEY_LEN: usize = 1_952;
/// Bytes of a signature. Those of ML-DSA-65 have 3,309.
pub const SIGNATURE_LEN: usize = 3_293;

/// A public key has [`PUBLIC_KEY_LEN`] bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a Dilithium3 public key has 1,952 bytes, not {0}")]
pub struct InvalidVerifyKey(pub usize);

/// The signature is not one of this key over this message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the Dilithium3 signature does not verify")]
pub struct InvalidSignature;

/// A public key of Dilithium3, round 3.1.
///
/// Not ML-DSA-65: FIPS 204 takes 48 bytes of challenge instead of 32, hashes the public key to 64 bytes and puts a
/// context in front of the message, so that neither accepts what the other signed.
pub struct LegacyVerify {
    public: Box<[u8; PUBLIC_KEY_LEN]>,
    id: KeyId,
}

impl LegacyVerify {
    /// What this verifies.
    pub const ALGORITHM: Algorithm = Algorithm::Dilithium3Round3;

    /// The key encoded as in the submission, [`PUBLIC_KEY_LEN`] bytes.
    ///
    /// # Errors
    /// [`InvalidVerifyKey`] for another length; every string of that length is a key.
    pub fn from_bytes(public: &[u8]) -> Result<Self, InvalidVerifyKey> {
        let public: Box<[u8; PUBLIC_KEY_LEN]> =
            Box::new(public.try_into().map_err(|_| InvalidVerifyKey(public.len()))?);
        Ok(Self { id: KeyId::of(public.as_slice()), public })
    }

    /// The name of this key in what it signed.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Believes a record if this key signed it.
    ///
    /// # Errors
    /// [`InvalidSignature`].
    pub fn record<'a>(&self, record: &'a LegacyRecord) -> Result<Verified<'a>, InvalidSignature> {
        self.verify(&record.signed_bytes(), record.signature())?;
        Ok(Verified::new(record))
    }

    /// Checks `signature` over `message`.
    ///
    /// # Errors
    /// [`InvalidSignature`], whatever is wrong with it.
    pub fn verify(&self, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<(), InvalidSignature> {
        pqc_dilithium::verify(signature, message, self.public.as_slice()).map_err(|error| match error {
            pqc_dilithium::SignError::Input | pqc_dilithium::SignError::Verify => InvalidSignature,
        })
    }
}

#[cfg(test)]
mod tests;
