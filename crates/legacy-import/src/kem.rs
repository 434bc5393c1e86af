//! Decapsulating Kyber-768 of round 3, twice, by code of two origins.
//!
//! Invariants: no shared secret leaves this module on which `pqc_kyber` and libcrux do not agree, so that a fault of one
//! of them (the AVX2 code of `pqc_kyber` forgets implicit rejection, by which whoever can ask often enough learns the
//! key) is a refusal and not an answer; there is no way to encapsulate; the private key is overwritten on drop.
//!
//! To a ciphertext that nobody encapsulated the two give different answers, and say by that that they reject it: round 3
//! has SHAKE-256(z ‖ SHA3-256(c)), libcrux 0.0.11 puts the J of FIPS 203 in the place of z. Each is held to its own.

use std::hint::black_box;

use libcrux_ml_kem::kyber768;
use libcrux_ml_kem::mlkem768::MlKem768PrivateKey;
use portal_core::Sensitive;
use subtle::ConstantTimeEq;

use crate::key_id::KeyId;

// The crate exports this module from its reference code alone. If anything in the build turns its feature `avx2` on, this
// line does not compile, and must not: see above.
#[expect(unused_imports, reason = "named for the compiler to look for it")]
use pqc_kyber::indcpa as _;

/// Bytes of a private key, which contains the public one.
pub const PRIVATE_KEY_LEN: usize = 2_400;
/// Bytes of an encapsulated secret.
pub const CIPHERTEXT_LEN: usize = 1_088;
/// Where the public key stands in the private one.
const PUBLIC_KEY: std::ops::Range<usize> = 1_152..2_336;

// Both crates, as they are built here, have the sizes of Kyber-768.
const _: () = assert!(pqc_kyber::KYBER_SECRETKEYBYTES == PRIVATE_KEY_LEN);
const _: () = assert!(pqc_kyber::KYBER_CIPHERTEXTBYTES == CIPHERTEXT_LEN);
const _: () = assert!(pqc_kyber::KYBER_K == 3 && !pqc_kyber::KYBER_90S);
const _: () = assert!(MlKem768PrivateKey::len() == PRIVATE_KEY_LEN);

/// The bytes are not a private key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPrivateKey {
    /// The hash of the public key in it is not that of the public key in it.
    #[error("the Kyber-768 private key is damaged: it does not contain the hash of its public key")]
    Damaged,
    /// It has [`PRIVATE_KEY_LEN`] bytes.
    #[error("a Kyber-768 private key has 2,400 bytes, not {0}")]
    Length(usize),
}

/// The two implementations computed different secrets: one of them is wrong, or the machine is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("two implementations of Kyber-768 do not agree on the shared secret")]
pub struct Disagreement;

/// A private key of Kyber-768, round 3.
pub(crate) struct PrivateKey {
    key: Box<MlKem768PrivateKey>,
    id: KeyId,
}

impl PrivateKey {
    pub(crate) fn from_bytes(private: &[u8]) -> Result<Self, InvalidPrivateKey> {
        let length = InvalidPrivateKey::Length(private.len());
        let key = Box::new(MlKem768PrivateKey::try_from(private).map_err(|_| length)?);
        let public = private.get(PUBLIC_KEY).ok_or(length)?;
        let key = Self { key, id: KeyId::of(public) };
        // Which ciphertext it is asked about plays no part.
        let any = [0; CIPHERTEXT_LEN].into();
        if kyber768::validate_private_key(&key.key, &any) { Ok(key) } else { Err(InvalidPrivateKey::Damaged) }
    }

    pub(crate) fn id(&self) -> KeyId {
        self.id
    }

    /// The secret in `ciphertext`, or for one that was not made by encapsulation a secret that nobody knows: Kyber
    /// rejects implicitly.
    pub(crate) fn decapsulate(
        &self,
        ciphertext: &[u8; CIPHERTEXT_LEN],
    ) -> Result<Sensitive<[u8; 32]>, Disagreement> {
        let first = pqc_kyber::decapsulate(ciphertext, self.key.as_slice()).map_err(|_| Disagreement)?;
        let second = kyber768::decapsulate(&self.key, &ciphertext.into());
        let rejected = Rejected::of(self.key.as_slice(), ciphertext);
        agreed(Sensitive::new(first), &Sensitive::new(second), &rejected)
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        // The type offers no access to its bytes but by value. The black box keeps the compiler from seeing that nobody
        // reads them any more.
        *self.key = MlKem768PrivateKey::default();
        black_box(&self.key);
    }
}

/// What each implementation answers to a ciphertext that it rejects.
struct Rejected {
    pqc_kyber: Sensitive<[u8; 32]>,
    libcrux: Sensitive<[u8; 32]>,
}

impl Rejected {
    fn of(private: &[u8; PRIVATE_KEY_LEN], ciphertext: &[u8; CIPHERTEXT_LEN]) -> Self {
        let z = private.last_chunk::<32>().unwrap_or(&[0; 32]);
        let hash = libcrux_sha3::sha256(ciphertext);
        let kdf = |secret: &[u8]| {
            let input = Sensitive::new([secret, &hash].concat());
            Sensitive::new(libcrux_sha3::shake256::<32>(input.expose()))
        };
        let j = Sensitive::new([z.as_slice(), ciphertext].concat());
        let j = Sensitive::new(libcrux_sha3::shake256::<32>(j.expose()));
        Self { pqc_kyber: kdf(z), libcrux: kdf(j.expose()) }
    }
}

/// What `first` says, if `second` says the same: this secret, or that there is none.
fn agreed(
    first: Sensitive<[u8; 32]>,
    second: &Sensitive<[u8; 32]>,
    rejected: &Rejected,
) -> Result<Sensitive<[u8; 32]>, Disagreement> {
    let equal = |a: &Sensitive<[u8; 32]>, b: &Sensitive<[u8; 32]>| a.expose().ct_eq(b.expose());
    let both_reject = equal(&first, &rejected.pqc_kyber) & equal(second, &rejected.libcrux);
    let agreed: bool = (equal(&first, second) | both_reject).into();
    if agreed { Ok(first) } else { Err(Disagreement) }
}

#[cfg(test)]
mod tests;
