//! Two signatures that only count together: Ed25519 (RFC 8032) and ML-DSA-65 (FIPS 204), for what must hold for decades.
//!
//! A forger has to break both. Encodings, all of fixed length, the classical half first:
//!
//! | what | bytes |
//! |---|---|
//! | seed (64) | seed of Ed25519 (32) ‖ seed of ML-DSA-65 (32) |
//! | verifying key (1,984) | key of Ed25519 (32) ‖ key of ML-DSA-65 (1,952) |
//! | signature (3,373) | signature of Ed25519 (64) ‖ signature of ML-DSA-65 (3,309) |
//!
//! Both halves sign `"portal/pair-signature/v1\0" ‖ message`, so that neither of them, taken out of a pair, is a
//! signature of the message by itself. Formats that carry two signatures of their own (JWS General JSON, COSE, signed
//! notes) take the halves, each over the bytes of its format.

use portal_core::{Entropy, Sensitive};

use crate::seed;
use crate::sign::{self, Algorithm, BackendFailure, InvalidSignature, InvalidVerifyingKey, ed25519};

/// The length of a seed.
pub const SEED_LEN: usize = 64;
/// The length of a verifying key.
pub const VERIFYING_KEY_LEN: usize = ed25519::VERIFYING_KEY_LEN + Algorithm::MlDsa65.verifying_key_len();
/// The length of a signature.
pub const SIGNATURE_LEN: usize = ed25519::SIGNATURE_LEN + Algorithm::MlDsa65.signature_len();

const DOMAIN: &[u8] = b"portal/pair-signature/v1\0";

/// The signing half of a key pair of pairs. Wiped on drop; has no `Debug` and no `Clone`.
pub struct PairSigningKey {
    ed25519: ed25519::SigningKey,
    ml_dsa_65: sign::SigningKey,
    public: PairVerifyingKey,
}

impl PairSigningKey {
    /// The keys that belong to `seed`, always the same ones.
    ///
    /// # Errors
    /// [`BackendFailure`]; every seed is a valid one.
    pub fn from_seed(seed: &[u8; SEED_LEN]) -> Result<Self, BackendFailure> {
        let (classical, quantum_safe) = seed.split_first_chunk().ok_or(BackendFailure)?;
        let quantum_safe = quantum_safe.try_into().map_err(|_| BackendFailure)?;
        let ed25519 = ed25519::SigningKey::from_seed(classical)?;
        let ml_dsa_65 = sign::SigningKey::from_seed(quantum_safe)?;
        let public = PairVerifyingKey {
            ed25519: ed25519.verifying_key().clone(),
            ml_dsa_65: ml_dsa_65.verifying_key().clone(),
        };
        Ok(Self { ed25519, ml_dsa_65, public })
    }

    /// New keys, and the seed to keep them by.
    ///
    /// # Errors
    /// [`BackendFailure`].
    pub fn generate(entropy: &dyn Entropy) -> Result<(Self, Sensitive<[u8; SEED_LEN]>), BackendFailure> {
        let seed = seed::draw(entropy);
        Ok((Self::from_seed(seed.expose())?, seed))
    }

    /// A signature of `message`, 3,373 bytes, another one at each call.
    ///
    /// # Errors
    /// [`BackendFailure`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BackendFailure> {
        let message = [DOMAIN, message].concat();
        let mut signature = Vec::with_capacity(SIGNATURE_LEN);
        signature.extend_from_slice(&self.ed25519.sign(&message)?);
        signature.extend_from_slice(&self.ml_dsa_65.sign(&message)?);
        Ok(signature)
    }

    /// The classical half, for formats that carry two signatures of their own.
    #[must_use]
    pub const fn ed25519(&self) -> &ed25519::SigningKey {
        &self.ed25519
    }

    /// The quantum-safe half, for formats that carry two signatures of their own.
    #[must_use]
    pub const fn ml_dsa_65(&self) -> &sign::SigningKey {
        &self.ml_dsa_65
    }

    /// The public half.
    #[must_use]
    pub const fn verifying_key(&self) -> &PairVerifyingKey {
        &self.public
    }
}

/// The verifying half of a key pair of pairs, parsed once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PairVerifyingKey {
    ed25519: ed25519::VerifyingKey,
    ml_dsa_65: sign::VerifyingKey,
}

impl PairVerifyingKey {
    /// The keys with this encoding.
    ///
    /// # Errors
    /// [`InvalidVerifyingKey`] if it has the wrong length or a half of it is invalid.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidVerifyingKey> {
        let (classical, quantum_safe) =
            bytes.split_at_checked(ed25519::VERIFYING_KEY_LEN).ok_or(InvalidVerifyingKey)?;
        Ok(Self {
            ed25519: ed25519::VerifyingKey::from_bytes(classical)?,
            ml_dsa_65: sign::VerifyingKey::from_bytes(Algorithm::MlDsa65, quantum_safe)?,
        })
    }

    /// The encoding that [`Self::from_bytes`] reads, 1,984 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.ed25519.as_bytes(), self.ml_dsa_65.as_bytes()].concat()
    }

    /// Checks that both halves of `signature` are of `message` by this key.
    ///
    /// # Errors
    /// [`InvalidSignature`] if either is not.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let (classical, quantum_safe) =
            signature.split_at_checked(ed25519::SIGNATURE_LEN).ok_or(InvalidSignature)?;
        let message = [DOMAIN, message].concat();
        self.ed25519.verify(&message, classical)?;
        self.ml_dsa_65.verify(&message, quantum_safe)
    }

    /// The classical half.
    #[must_use]
    pub const fn ed25519(&self) -> &ed25519::VerifyingKey {
        &self.ed25519
    }

    /// The quantum-safe half.
    #[must_use]
    pub const fn ml_dsa_65(&self) -> &sign::VerifyingKey {
        &self.ml_dsa_65
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use portal_core::SeededEntropy;

    use super::*;

    fn key(seed: u64) -> PairSigningKey {
        PairSigningKey::generate(&SeededEntropy::new(seed)).unwrap().0
    }

    #[test]
    fn both_halves_must_verify() {
        let (ours, theirs) = (key(1), key(2));
        let verify = |message: &[u8], signature: &[u8]| ours.verifying_key().verify(message, signature);
        let signature = ours.sign(b"message").unwrap();
        assert_eq!(signature.len(), SIGNATURE_LEN);
        assert_eq!(verify(b"message", &signature), Ok(()));
        assert_eq!(verify(b"massage", &signature), Err(InvalidSignature));
        let foreign = theirs.sign(b"message").unwrap();
        assert_eq!(verify(b"message", &foreign), Err(InvalidSignature));
        let mixed = |classical: &[u8], quantum_safe: &[u8]| [&classical[..64], &quantum_safe[64..]].concat();
        assert_eq!(verify(b"message", &mixed(&signature, &foreign)), Err(InvalidSignature));
        assert_eq!(verify(b"message", &mixed(&foreign, &signature)), Err(InvalidSignature));
        // The halves may come from different calls, since each signs the whole message.
        assert_eq!(verify(b"message", &mixed(&signature, &ours.sign(b"message").unwrap())), Ok(()));
        for at in [0, 63, 64, SIGNATURE_LEN - 1] {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert_eq!(verify(b"message", &changed), Err(InvalidSignature), "byte {at}");
        }
        for wrong in [&signature[..64], &signature[64..], &signature[..SIGNATURE_LEN - 1], &[]] {
            assert_eq!(verify(b"message", wrong), Err(InvalidSignature), "{} bytes", wrong.len());
        }
        assert_eq!(verify(b"message", &[signature.as_slice(), &[0]].concat()), Err(InvalidSignature));
    }

    #[test]
    fn a_half_alone_is_no_signature_of_the_message() {
        let key = key(1);
        let signature = key.sign(b"message").unwrap();
        let public = key.verifying_key();
        assert_eq!(public.ed25519().verify(b"message", &signature[..64]), Err(InvalidSignature));
        assert_eq!(public.ml_dsa_65().verify(b"message", &signature[64..]), Err(InvalidSignature));
        let signed = b"portal/pair-signature/v1\0message";
        assert_eq!(public.ed25519().verify(signed, &signature[..64]), Ok(()));
        assert_eq!(public.ml_dsa_65().verify(signed, &signature[64..]), Ok(()));
    }

    #[test]
    fn keys_survive_their_encodings() {
        let (key, seed) = PairSigningKey::generate(&SeededEntropy::new(1)).unwrap();
        let bytes = key.verifying_key().to_bytes();
        assert_eq!(bytes.len(), VERIFYING_KEY_LEN);
        assert_eq!(PairVerifyingKey::from_bytes(&bytes).as_ref(), Ok(key.verifying_key()));
        let again = PairSigningKey::from_seed(seed.expose()).unwrap();
        assert_eq!(again.verifying_key(), key.verifying_key());
        let halves = seed.expose().split_at(32);
        let classical = ed25519::SigningKey::from_seed(halves.0.try_into().unwrap()).unwrap();
        assert_eq!(classical.verifying_key().as_bytes(), &bytes[..32]);
        let quantum_safe = sign::SigningKey::from_seed(halves.1.try_into().unwrap()).unwrap();
        assert_eq!(quantum_safe.verifying_key().as_bytes(), &bytes[32..]);
        for wrong in [&bytes[1..], &bytes[..32], &bytes[32..], &[]] {
            assert_eq!(PairVerifyingKey::from_bytes(wrong).err(), Some(InvalidVerifyingKey));
        }
    }
}
