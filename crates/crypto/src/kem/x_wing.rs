//! X-Wing (draft-connolly-cfrg-xwing-kem): X25519 and ML-KEM-768 together, safe as long as one of them is.
//!
//! A decapsulation key is a seed of 32 bytes; SHAKE-256 expands it to d‖z of ML-KEM and the private key of X25519. The
//! shared secret is SHA3-256(ss_M ‖ ss_X ‖ ct_X ‖ pk_X ‖ label). An X25519 share of small order, whose secret everybody
//! knows, is refused (RFC 7748, section 6.1).

use std::fmt;

use portal_core::{Entropy, Sensitive};

use super::ml_kem::{self, ParameterSet};
use super::{
    DecapsulationError, EncapsulationError, InvalidEncapsulationKey, KeyGenerationError, SharedSecret,
};
use crate::{backend, seed};

/// The length of a seed.
pub const SEED_LEN: usize = 32;
/// The length of an encapsulation key: pk_M ‖ pk_X.
pub const ENCAPSULATION_KEY_LEN: usize = ML_KEM_PUBLIC_LEN + 32;
/// The length of a ciphertext: ct_M ‖ ct_X.
pub const CIPHERTEXT_LEN: usize = ML_KEM_CIPHERTEXT_LEN + 32;

const ML_KEM_PUBLIC_LEN: usize = ParameterSet::MlKem768.encapsulation_key_len();
const ML_KEM_CIPHERTEXT_LEN: usize = ParameterSet::MlKem768.ciphertext_len();
const LABEL: &[u8; 6] = br"\.//^\";

/// A ciphertext.
pub type Ciphertext = [u8; CIPHERTEXT_LEN];

/// The private half of a key pair, expanded and ready to use. Wiped on drop; has no `Debug`.
pub struct DecapsulationKey {
    ml_kem: ml_kem::DecapsulationKey,
    x25519: backend::X25519Secret,
    public: EncapsulationKey,
}

impl DecapsulationKey {
    /// The key that belongs to `seed`, always the same one.
    ///
    /// # Errors
    /// [`KeyGenerationError`] if the cryptographic library failed; every seed is a valid one.
    pub fn from_seed(seed: &[u8; SEED_LEN]) -> Result<Self, KeyGenerationError> {
        let expanded = backend::shake256::<96>(seed);
        let (ml_kem, x25519) = expanded.expose().split_first_chunk::<64>().ok_or(KeyGenerationError)?;
        let x25519 = x25519.first_chunk().ok_or(KeyGenerationError)?;
        let ml_kem = ml_kem::DecapsulationKey::from_seed(ParameterSet::MlKem768, ml_kem)?;
        let x25519 = backend::X25519Secret::from_bytes(x25519).ok_or(KeyGenerationError)?;
        let mut public = [0; ENCAPSULATION_KEY_LEN];
        let (left, right) = public.split_at_mut(ML_KEM_PUBLIC_LEN);
        left.copy_from_slice(ml_kem.encapsulation_key().as_bytes());
        right.copy_from_slice(&x25519.public().ok_or(KeyGenerationError)?);
        let public =
            EncapsulationKey::from_bytes(&public).map_err(|InvalidEncapsulationKey| KeyGenerationError)?;
        Ok(Self { ml_kem, x25519, public })
    }

    /// A new key, and the seed to keep it by.
    ///
    /// # Errors
    /// [`KeyGenerationError`].
    pub fn generate(entropy: &dyn Entropy) -> Result<(Self, Sensitive<[u8; SEED_LEN]>), KeyGenerationError> {
        let seed = seed::draw(entropy);
        Ok((Self::from_seed(seed.expose())?, seed))
    }

    /// The shared secret in `ciphertext`. One that was tampered with has a secret that nobody knows.
    ///
    /// # Errors
    /// [`DecapsulationError`] for a ciphertext of the wrong length, or with an X25519 share of small order.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<SharedSecret, DecapsulationError> {
        let ciphertext: &Ciphertext = ciphertext.try_into().map_err(|_| DecapsulationError)?;
        let (ct_m, ct_x) = ciphertext.split_last_chunk::<32>().ok_or(DecapsulationError)?;
        let ss_m = self.ml_kem.decapsulate(ct_m)?;
        let ss_x = self.x25519.agree(ct_x).ok_or(DecapsulationError)?;
        Ok(combine(&ss_m, &ss_x, ct_x, &self.public.x25519))
    }

    /// The public half.
    #[must_use]
    pub const fn encapsulation_key(&self) -> &EncapsulationKey {
        &self.public
    }
}

/// The public half of a key pair, parsed once.
#[derive(Eq, PartialEq)]
pub struct EncapsulationKey {
    ml_kem: ml_kem::EncapsulationKey,
    x25519: [u8; 32],
}

impl EncapsulationKey {
    /// The key with this encoding, pk_M ‖ pk_X.
    ///
    /// # Errors
    /// [`InvalidEncapsulationKey`] if it has the wrong length or its ML-KEM half is invalid.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidEncapsulationKey> {
        let (ml_kem, x25519) = bytes.split_last_chunk::<32>().ok_or(InvalidEncapsulationKey)?;
        let ml_kem = ml_kem::EncapsulationKey::from_bytes(ParameterSet::MlKem768, ml_kem)?;
        Ok(Self { ml_kem, x25519: *x25519 })
    }

    /// The encoding that [`Self::from_bytes`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ENCAPSULATION_KEY_LEN] {
        let mut bytes = [0; ENCAPSULATION_KEY_LEN];
        let (left, right) = bytes.split_at_mut(ML_KEM_PUBLIC_LEN);
        left.copy_from_slice(self.ml_kem.as_bytes());
        right.copy_from_slice(&self.x25519);
        bytes
    }

    /// A ciphertext and the shared secret in it, others at each call. The randomness is that of the cryptographic
    /// library.
    ///
    /// # Errors
    /// [`EncapsulationError`] if the X25519 half of the key is of small order, or the library failed.
    pub fn encapsulate(&self) -> Result<(Ciphertext, SharedSecret), EncapsulationError> {
        let mut ciphertext = [0; CIPHERTEXT_LEN];
        let (ct_m, ct_x) = ciphertext.split_at_mut(ML_KEM_CIPHERTEXT_LEN);
        let ss_m = self.ml_kem.encapsulate_into(ct_m)?;
        let ephemeral = backend::X25519Secret::generate().ok_or(EncapsulationError)?;
        let share = ephemeral.public().ok_or(EncapsulationError)?;
        ct_x.copy_from_slice(&share);
        let ss_x = ephemeral.agree(&self.x25519).ok_or(EncapsulationError)?;
        Ok((ciphertext, combine(&ss_m, &ss_x, &share, &self.x25519)))
    }
}

impl fmt::Debug for EncapsulationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncapsulationKey(X-Wing)")
    }
}

fn combine(ss_m: &SharedSecret, ss_x: &SharedSecret, ct_x: &[u8; 32], pk_x: &[u8; 32]) -> SharedSecret {
    Sensitive::new(backend::sha3_256(&[ss_m.expose(), ss_x.expose(), ct_x, pk_x, LABEL]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use portal_core::SeededEntropy;

    use super::*;
    use crate::backend::rustcrypto;
    use crate::hex;

    /// The vectors of the draft, with their randomness: RustCrypto's ML-KEM takes it, the rest is the backend's.
    #[test]
    fn encapsulation_of_the_draft() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/x-wing.json")).unwrap();
        for vector in vectors.as_array().unwrap() {
            let bytes = |name: &str| hex::bytes(vector[name].as_str().unwrap());
            let (public, randomness, ciphertext) = (bytes("pk"), bytes("eseed"), bytes("ct"));
            let public = EncapsulationKey::from_bytes(&public).unwrap();
            let ml_kem =
                rustcrypto::MlKemPublic::from_bytes(ParameterSet::MlKem768, public.ml_kem.as_bytes())
                    .unwrap();
            let mut ct_m = [0; ML_KEM_CIPHERTEXT_LEN];
            let ss_m = ml_kem.encapsulate_with(randomness[..32].try_into().unwrap(), &mut ct_m).unwrap();
            let ephemeral = backend::X25519Secret::from_bytes(randomness[32..].try_into().unwrap()).unwrap();
            let share = ephemeral.public().unwrap();
            assert_eq!([ct_m.as_slice(), &share].concat(), ciphertext);
            let ss_x = ephemeral.agree(&public.x25519).unwrap();
            assert_eq!(combine(&ss_m, &ss_x, &share, &public.x25519).expose().as_slice(), bytes("ss"));
        }
    }

    #[test]
    fn both_halves_of_a_ciphertext_count() {
        let (key, _) = DecapsulationKey::generate(&SeededEntropy::new(1)).unwrap();
        let (ciphertext, secret) = key.encapsulation_key().encapsulate().unwrap();
        assert_eq!(key.decapsulate(&ciphertext).unwrap().expose(), secret.expose());
        for at in [0, ML_KEM_CIPHERTEXT_LEN - 1, ML_KEM_CIPHERTEXT_LEN, CIPHERTEXT_LEN - 2] {
            let mut changed = ciphertext;
            changed[at] ^= 1;
            assert_ne!(key.decapsulate(&changed).unwrap().expose(), secret.expose(), "byte {at}");
        }
        for wrong in [&ciphertext[1..], &ciphertext[..CIPHERTEXT_LEN - 1], &[]] {
            assert_eq!(key.decapsulate(wrong).err(), Some(DecapsulationError));
        }
    }

    #[test]
    fn shares_of_small_order_are_refused() {
        let (key, _) = DecapsulationKey::generate(&SeededEntropy::new(1)).unwrap();
        let (mut ciphertext, _) = key.encapsulation_key().encapsulate().unwrap();
        ciphertext[ML_KEM_CIPHERTEXT_LEN..].fill(0);
        assert_eq!(key.decapsulate(&ciphertext).err(), Some(DecapsulationError));
        let mut public = key.encapsulation_key().to_bytes();
        public[ML_KEM_PUBLIC_LEN..].fill(0);
        assert_eq!(
            EncapsulationKey::from_bytes(&public).unwrap().encapsulate().err(),
            Some(EncapsulationError)
        );
    }

    #[test]
    fn a_key_is_its_seed_and_its_encoding() {
        let (key, seed) = DecapsulationKey::generate(&SeededEntropy::new(1)).unwrap();
        let again = DecapsulationKey::from_seed(seed.expose()).unwrap();
        assert_eq!(again.encapsulation_key(), key.encapsulation_key());
        let bytes = key.encapsulation_key().to_bytes();
        assert_eq!(EncapsulationKey::from_bytes(&bytes).as_ref(), Ok(key.encapsulation_key()));
        let mut unreduced = bytes;
        unreduced[..3].fill(0xff);
        for wrong in [&bytes[1..], &bytes[..ML_KEM_PUBLIC_LEN], &unreduced, &[]] {
            assert_eq!(EncapsulationKey::from_bytes(wrong).err(), Some(InvalidEncapsulationKey));
        }
    }
}
