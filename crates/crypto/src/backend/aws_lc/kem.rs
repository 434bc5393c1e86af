//! ML-KEM and X25519 of aws-lc-rs, which wipes its keys and shared secrets when it frees them.
//!
//! aws-lc-rs 1.19 takes no seed for ML-KEM: the expansion of a seed into a decapsulation key is `ml-kem`'s (RustCrypto),
//! which wipes its key, but not what it computes on the stack. Encapsulation and decapsulation are aws-lc's, with
//! randomness from its own generator.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::kem::{self, Algorithm, Ciphertext, ML_KEM_768, ML_KEM_1024};
use portal_core::Sensitive;
use zeroize::Zeroize;

use crate::kem::ml_kem::ParameterSet;

fn algorithm(set: ParameterSet) -> &'static Algorithm {
    match set {
        ParameterSet::MlKem768 => &ML_KEM_768,
        ParameterSet::MlKem1024 => &ML_KEM_1024,
    }
}

/// A decapsulation key of ML-KEM, expanded.
pub(crate) struct MlKemSecret(kem::DecapsulationKey);

impl MlKemSecret {
    /// The key of the seed d‖z (FIPS 203, `ML-KEM.KeyGen_internal`) and the encoding of its encapsulation key.
    pub(crate) fn from_seed(set: ParameterSet, seed: &[u8; 64]) -> Option<(Self, Vec<u8>)> {
        match set {
            ParameterSet::MlKem768 => expand::<ml_kem::MlKem768>(set, seed),
            ParameterSet::MlKem1024 => expand::<ml_kem::MlKem1024>(set, seed),
        }
    }

    /// The key with the expanded encoding of FIPS 203; its hash is checked by the first decapsulation.
    pub(crate) fn from_expanded(set: ParameterSet, bytes: &[u8]) -> Option<Self> {
        kem::DecapsulationKey::new(algorithm(set), bytes).ok().map(Self)
    }

    /// The shared secret in `ciphertext`; `None` if its length is wrong.
    pub(crate) fn decapsulate(&self, ciphertext: &[u8]) -> Option<Sensitive<[u8; 32]>> {
        shared(self.0.decapsulate(Ciphertext::from(ciphertext)).ok()?.as_ref())
    }
}

#[expect(deprecated, reason = "the expanded form is the only one that aws-lc-rs takes")]
fn expand<P>(set: ParameterSet, seed: &[u8; 64]) -> Option<(MlKemSecret, Vec<u8>)>
where
    P: ml_kem::FromSeed<SeedSize = ml_kem::array::sizes::U64>,
    P::DecapsulationKey: ml_kem::ExpandedKeyEncoding,
    P::EncapsulationKey: ml_kem::KeyExport,
{
    use ml_kem::{ExpandedKeyEncoding, KeyExport};
    let mut seed = ml_kem::Seed::from(*seed);
    let (secret, public) = P::from_seed(&seed);
    seed.zeroize();
    let mut expanded = secret.to_expanded_bytes();
    let secret = MlKemSecret::from_expanded(set, &expanded);
    expanded.zeroize();
    Some((secret?, public.to_bytes().to_vec()))
}

fn shared(bytes: &[u8]) -> Option<Sensitive<[u8; 32]>> {
    bytes.try_into().ok().map(Sensitive::new)
}

/// An encapsulation key of ML-KEM, parsed once.
pub(crate) struct MlKemPublic(kem::EncapsulationKey);

impl MlKemPublic {
    /// From the encoding of FIPS 203, after the checks of its section 7.2.
    pub(crate) fn from_bytes(set: ParameterSet, bytes: &[u8]) -> Option<Self> {
        // The library makes the second check when it encapsulates; a key that can't be used is no key.
        let (coefficients, _) = bytes.split_at_checked(set.encapsulation_key_len() - 32)?;
        if !coefficients.chunks_exact(3).all(reduced) {
            return None;
        }
        kem::EncapsulationKey::new(algorithm(set), bytes).ok().map(Self)
    }

    /// Writes a ciphertext to `out`, which has its length, and gives the shared secret in it.
    pub(crate) fn encapsulate(&self, out: &mut [u8]) -> Option<Sensitive<[u8; 32]>> {
        let (ciphertext, secret) = self.0.encapsulate().ok()?;
        if ciphertext.as_ref().len() != out.len() {
            return None;
        }
        out.copy_from_slice(ciphertext.as_ref());
        shared(secret.as_ref())
    }
}

/// Whether the two 12-bit numbers in three bytes are below q. Of public data, so it may branch.
fn reduced(bytes: &[u8]) -> bool {
    const Q: u16 = 3_329;
    let [a, b, c] = bytes else { return false };
    let (a, b, c) = (u16::from(*a), u16::from(*b), u16::from(*c));
    (a | (b & 0xf) << 8) < Q && (b >> 4 | c << 4) < Q
}

/// A private key of X25519 (RFC 7748).
pub(crate) struct X25519Secret(PrivateKey);

impl X25519Secret {
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        PrivateKey::from_private_key(&X25519, bytes).ok().map(Self)
    }

    /// A new one, from the library's own entropy.
    pub(crate) fn generate() -> Option<Self> {
        PrivateKey::generate(&X25519).ok().map(Self)
    }

    pub(crate) fn public(&self) -> Option<[u8; 32]> {
        self.0.compute_public_key().ok()?.as_ref().try_into().ok()
    }

    /// The shared secret with the holder of `peer`; `None` if it is all zero (a point of small order).
    pub(crate) fn agree(&self, peer: &[u8; 32]) -> Option<Sensitive<[u8; 32]>> {
        agreement::agree(&self.0, UnparsedPublicKey::new(&X25519, peer), (), |secret| {
            shared(secret).ok_or(())
        })
        .ok()
    }
}
