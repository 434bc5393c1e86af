//! ML-KEM of `ml-kem` and X25519 of `x25519-dalek`.

use ml_kem::{B32, Decapsulate, FromSeed, KeyExport, MlKem768, MlKem1024, Seed, TryKeyInit};
use portal_core::Sensitive;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use crate::kem::ml_kem::ParameterSet;

/// `N` bytes of the operating system's entropy; `None` if it has none to give.
fn random<const N: usize>() -> Option<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).ok()?;
    Some(bytes)
}

/// A decapsulation key of ML-KEM, expanded.
pub(crate) enum MlKemSecret {
    MlKem768(Box<ml_kem::DecapsulationKey<MlKem768>>),
    MlKem1024(Box<ml_kem::DecapsulationKey<MlKem1024>>),
}

impl MlKemSecret {
    /// The key of the seed d‖z (FIPS 203, `ML-KEM.KeyGen_internal`) and the encoding of its encapsulation key.
    pub(crate) fn from_seed(set: ParameterSet, seed: &[u8; 64]) -> Option<(Self, Vec<u8>)> {
        let mut seed = Seed::from(*seed);
        let pair = match set {
            ParameterSet::MlKem768 => {
                let (secret, public) = MlKem768::from_seed(&seed);
                (Self::MlKem768(Box::new(secret)), public.to_bytes().to_vec())
            }
            ParameterSet::MlKem1024 => {
                let (secret, public) = MlKem1024::from_seed(&seed);
                (Self::MlKem1024(Box::new(secret)), public.to_bytes().to_vec())
            }
        };
        seed.zeroize();
        Some(pair)
    }

    /// The key with the expanded encoding of FIPS 203, as vectors have it.
    #[cfg(test)]
    #[expect(deprecated, reason = "other than in tests, keys are made of seeds")]
    pub(crate) fn from_expanded(set: ParameterSet, bytes: &[u8]) -> Option<Self> {
        match set {
            ParameterSet::MlKem768 => {
                let key = ml_kem::DecapsulationKey::from_expanded(bytes.try_into().ok()?);
                key.ok().map(Box::new).map(Self::MlKem768)
            }
            ParameterSet::MlKem1024 => {
                let key = ml_kem::DecapsulationKey::from_expanded(bytes.try_into().ok()?);
                key.ok().map(Box::new).map(Self::MlKem1024)
            }
        }
    }

    /// The shared secret in `ciphertext`; `None` if its length is wrong.
    pub(crate) fn decapsulate(&self, ciphertext: &[u8]) -> Option<Sensitive<[u8; 32]>> {
        let mut secret = match self {
            Self::MlKem768(key) => key.decapsulate(ciphertext.try_into().ok()?),
            Self::MlKem1024(key) => key.decapsulate(ciphertext.try_into().ok()?),
        };
        Some(take(&mut secret))
    }
}

/// The secret, whose array is wiped.
fn take(secret: &mut B32) -> Sensitive<[u8; 32]> {
    let taken = Sensitive::new((*secret).into());
    secret.zeroize();
    taken
}

/// An encapsulation key of ML-KEM, parsed once.
pub(crate) enum MlKemPublic {
    MlKem768(Box<ml_kem::EncapsulationKey<MlKem768>>),
    MlKem1024(Box<ml_kem::EncapsulationKey<MlKem1024>>),
}

impl MlKemPublic {
    /// From the encoding of FIPS 203, after the checks of its section 7.2.
    pub(crate) fn from_bytes(set: ParameterSet, bytes: &[u8]) -> Option<Self> {
        match set {
            ParameterSet::MlKem768 => {
                ml_kem::EncapsulationKey::new_from_slice(bytes).ok().map(Box::new).map(Self::MlKem768)
            }
            ParameterSet::MlKem1024 => {
                ml_kem::EncapsulationKey::new_from_slice(bytes).ok().map(Box::new).map(Self::MlKem1024)
            }
        }
    }

    /// Writes a ciphertext to `out`, which has its length, and gives the shared secret in it.
    pub(crate) fn encapsulate(&self, out: &mut [u8]) -> Option<Sensitive<[u8; 32]>> {
        self.encapsulate_with(&*random()?, out)
    }

    /// As [`Self::encapsulate`], with this randomness (FIPS 203, `ML-KEM.Encaps_internal`).
    pub(crate) fn encapsulate_with(&self, m: &[u8; 32], out: &mut [u8]) -> Option<Sensitive<[u8; 32]>> {
        let mut m = B32::from(*m);
        let mut secret = match self {
            Self::MlKem768(key) => {
                let (ciphertext, secret) = key.encapsulate_deterministic(&m);
                write(out, &ciphertext)?;
                secret
            }
            Self::MlKem1024(key) => {
                let (ciphertext, secret) = key.encapsulate_deterministic(&m);
                write(out, &ciphertext)?;
                secret
            }
        };
        m.zeroize();
        Some(take(&mut secret))
    }
}

fn write(out: &mut [u8], bytes: &[u8]) -> Option<()> {
    (out.len() == bytes.len()).then(|| out.copy_from_slice(bytes))
}

/// A private key of X25519 (RFC 7748).
pub(crate) struct X25519Secret(StaticSecret);

impl X25519Secret {
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        Some(Self(StaticSecret::from(*bytes)))
    }

    /// A new one, from the operating system's entropy.
    pub(crate) fn generate() -> Option<Self> {
        Self::from_bytes(&*random()?)
    }

    pub(crate) fn public(&self) -> Option<[u8; 32]> {
        Some(PublicKey::from(&self.0).to_bytes())
    }

    /// The shared secret with the holder of `peer`; `None` if it is all zero (a point of small order).
    pub(crate) fn agree(&self, peer: &[u8; 32]) -> Option<Sensitive<[u8; 32]>> {
        let secret = self.0.diffie_hellman(&PublicKey::from(*peer));
        secret.was_contributory().then(|| Sensitive::new(secret.to_bytes()))
    }
}
