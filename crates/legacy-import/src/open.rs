//! Opening what was sealed to a key of Kyber-768. There is no way to seal.

use portal_core::Sensitive;
use portal_crypto::aead::Aes256GcmKey;
use portal_crypto::suite::Algorithm;

use crate::kem::{Disagreement, InvalidPrivateKey, PrivateKey};
use crate::key_id::KeyId;
use crate::record::Verified;

/// Why a record does not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// The two implementations of Kyber-768 do not agree: nothing they say is used.
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    /// It was not sealed to this key, or not in this place.
    #[error("the sealed value does not open")]
    Refused(#[source] portal_crypto::aead::OpenError),
}

/// A private key of Kyber-768, round 3, with AES-256-GCM under the secrets that it decapsulates. Overwritten on drop;
/// has no `Debug` and no `Clone`.
///
/// Not ML-KEM-768: FIPS 203 derives other secrets from the same ciphertext.
pub struct LegacyOpen(PrivateKey);

impl LegacyOpen {
    /// What encapsulated the key of what this opens.
    pub const ALGORITHM: Algorithm = Algorithm::Kyber768Round3;

    /// The key encoded as in the submission, [`crate::kem::PRIVATE_KEY_LEN`] bytes.
    ///
    /// # Errors
    /// [`InvalidPrivateKey`].
    pub fn from_bytes(private: &[u8]) -> Result<Self, InvalidPrivateKey> {
        PrivateKey::from_bytes(private).map(Self)
    }

    /// The name of this key in what is sealed to it.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.0.id()
    }

    /// The plaintext of a record. Which key it names plays no part: a record sealed to another one does not open.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, record: Verified<'_>) -> Result<Sensitive<Vec<u8>>, OpenError> {
        let record = record.record();
        let secret = self.0.decapsulate(record.kem_ciphertext())?;
        let key = Aes256GcmKey::new(secret.expose());
        key.open(record.nonce(), &record.place(), record.sealed()).map_err(OpenError::Refused)
    }
}
