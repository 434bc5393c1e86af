//! ML-KEM-768 and ML-KEM-1024 (FIPS 203).
//!
//! A decapsulation key is kept and written down as its seed d‖z of 64 bytes, never in the expanded form: a seed is
//! always valid. A ciphertext that was tampered with decapsulates to a secret that nobody knows (implicit rejection),
//! not to an error.

use std::fmt;

use portal_core::{Entropy, Sensitive};

use super::{
    DecapsulationError, EncapsulationError, InvalidEncapsulationKey, KeyGenerationError, SharedSecret,
};
use crate::{backend, seed};

/// The length of a seed.
pub const SEED_LEN: usize = 64;

/// A parameter set of FIPS 203, table 2.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ParameterSet {
    /// ML-KEM-1024: security category 5.
    MlKem1024,
    /// ML-KEM-768: security category 3.
    MlKem768,
}

impl ParameterSet {
    /// Every parameter set.
    pub const ALL: [Self; 2] = [Self::MlKem768, Self::MlKem1024];

    /// The length of an encapsulation key in bytes.
    #[must_use]
    pub const fn encapsulation_key_len(self) -> usize {
        match self {
            Self::MlKem768 => 1_184,
            Self::MlKem1024 => 1_568,
        }
    }

    /// The length of a ciphertext in bytes.
    #[must_use]
    pub const fn ciphertext_len(self) -> usize {
        match self {
            Self::MlKem768 => 1_088,
            Self::MlKem1024 => 1_568,
        }
    }

    /// The name in FIPS 203.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MlKem768 => "ML-KEM-768",
            Self::MlKem1024 => "ML-KEM-1024",
        }
    }
}

/// The private half of a key pair, ready to use. Wiped on drop; has no `Debug`.
pub struct DecapsulationKey {
    secret: backend::MlKemSecret,
    public: EncapsulationKey,
}

impl DecapsulationKey {
    /// The key that belongs to the seed d‖z, always the same one (FIPS 203, algorithm 16).
    ///
    /// # Errors
    /// [`KeyGenerationError`] if the cryptographic library failed; every seed is a valid one.
    pub fn from_seed(set: ParameterSet, seed: &[u8; SEED_LEN]) -> Result<Self, KeyGenerationError> {
        let (secret, public) = backend::MlKemSecret::from_seed(set, seed).ok_or(KeyGenerationError)?;
        let public = EncapsulationKey::from_bytes(set, &public)
            .map_err(|InvalidEncapsulationKey| KeyGenerationError)?;
        Ok(Self { secret, public })
    }

    /// A new key, and the seed to keep it by.
    ///
    /// # Errors
    /// [`KeyGenerationError`].
    pub fn generate(
        set: ParameterSet,
        entropy: &dyn Entropy,
    ) -> Result<(Self, Sensitive<[u8; SEED_LEN]>), KeyGenerationError> {
        let seed = seed::draw(entropy);
        Ok((Self::from_seed(set, seed.expose())?, seed))
    }

    /// The shared secret in `ciphertext`.
    ///
    /// # Errors
    /// [`DecapsulationError`] for a ciphertext of the wrong length.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<SharedSecret, DecapsulationError> {
        if ciphertext.len() != self.public.set.ciphertext_len() {
            return Err(DecapsulationError);
        }
        self.secret.decapsulate(ciphertext).ok_or(DecapsulationError)
    }

    /// The public half.
    #[must_use]
    pub const fn encapsulation_key(&self) -> &EncapsulationKey {
        &self.public
    }
}

/// The public half of a key pair, parsed once.
pub struct EncapsulationKey {
    set: ParameterSet,
    key: backend::MlKemPublic,
    bytes: Box<[u8]>,
}

impl EncapsulationKey {
    /// The key with this encoding.
    ///
    /// # Errors
    /// [`InvalidEncapsulationKey`] if it has the wrong length or a coefficient is not reduced (FIPS 203, section 7.2).
    pub fn from_bytes(set: ParameterSet, bytes: &[u8]) -> Result<Self, InvalidEncapsulationKey> {
        let key = backend::MlKemPublic::from_bytes(set, bytes).ok_or(InvalidEncapsulationKey)?;
        Ok(Self { set, key, bytes: bytes.into() })
    }

    /// The encoding that [`Self::from_bytes`] reads.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The parameter set of the key.
    #[must_use]
    pub const fn parameter_set(&self) -> ParameterSet {
        self.set
    }

    /// A ciphertext and the shared secret in it, others at each call. The randomness is that of the cryptographic
    /// library.
    ///
    /// # Errors
    /// [`EncapsulationError`] if the library failed, for example for want of entropy.
    pub fn encapsulate(&self) -> Result<(Vec<u8>, SharedSecret), EncapsulationError> {
        let mut ciphertext = vec![0; self.set.ciphertext_len()];
        let secret = self.encapsulate_into(&mut ciphertext)?;
        Ok((ciphertext, secret))
    }

    /// As [`Self::encapsulate`], the ciphertext being written to `out`, which has its length.
    pub(super) fn encapsulate_into(&self, out: &mut [u8]) -> Result<SharedSecret, EncapsulationError> {
        self.key.encapsulate(out).ok_or(EncapsulationError)
    }
}

impl PartialEq for EncapsulationKey {
    fn eq(&self, other: &Self) -> bool {
        self.set == other.set && self.bytes == other.bytes
    }
}

impl Eq for EncapsulationKey {}

impl fmt::Debug for EncapsulationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncapsulationKey({})", self.set.name())
    }
}
