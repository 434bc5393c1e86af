//! RustCrypto and the dalek crates: pure Rust, for builds without a C compiler, and the other side of the differential
//! tests.
//!
//! All of them are built with their `zeroize` feature: keys, key schedules, hash and MAC states are wiped on drop. Copies
//! that the compiler makes on the stack while they are moved or computed with are not. Randomness comes from the
//! operating system.

mod aead;
mod kem;
mod sign;

use hkdf::Hkdf;
use hmac::{KeyInit, Mac};
use portal_core::Sensitive;
use sha2::{Digest, Sha256, Sha384, Sha512};
use sha3::Sha3_256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub(crate) use self::aead::{Aes256Gcm, CmacAes256};
pub(crate) use self::kem::{MlKemPublic, MlKemSecret, X25519Secret};
pub(crate) use self::sign::{
    Ed25519Public, Ed25519Secret, MlDsa65Public, MlDsa65Secret, P256Public, P256Secret,
};

/// The SHA-256 of the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    digest::<Sha256>(parts).into()
}

/// The SHA-384 of the parts, one after the other.
pub(crate) fn sha384(parts: &[&[u8]]) -> [u8; 48] {
    digest::<Sha384>(parts).into()
}

/// The SHA-512 of the parts, one after the other.
pub(crate) fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    digest::<Sha512>(parts).into()
}

/// The SHA3-256 of the parts, one after the other.
pub(crate) fn sha3_256(parts: &[&[u8]]) -> [u8; 32] {
    digest::<Sha3_256>(parts).into()
}

fn digest<D: Digest>(parts: &[&[u8]]) -> sha2::digest::Output<D> {
    let mut hasher = D::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// Whether the slices are equal, in time that depends on their lengths only.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// A key of HMAC-SHA-256.
#[derive(Clone)]
pub(crate) struct Hmac(hmac::Hmac<Sha256>);

impl Hmac {
    pub(crate) fn new(key: &[u8]) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        Self(hmac::Hmac::new_from_slice(key).expect("a key of HMAC"))
    }

    /// The tag of the parts, one after the other.
    pub(crate) fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// HKDF-SHA-256 (RFC 5869), extract and expand, to 32 bytes.
pub(crate) fn hkdf_sha256(secret: &[u8], salt: &[u8], info: &[u8]) -> Sensitive<[u8; 32]> {
    expand(&Hkdf::new(Some(salt), secret), &[info])
}

/// HKDF-Expand with SHA-256 (RFC 5869, section 2.3); the parts of `info` stand one after the other.
pub(crate) fn hkdf_expand<const N: usize>(prk: &[u8; 32], info: &[&[u8]]) -> Sensitive<[u8; N]> {
    #[expect(clippy::expect_used, reason = "refuses less than the 32 bytes of a hash")]
    expand(&Hkdf::from_prk(prk).expect("a key of 32 bytes"), info)
}

/// HKDF-Expand with SHA-512 (RFC 5869, section 2.3); the parts of `info` stand one after the other.
///
/// Over HMAC, since the library refuses a key shorter than the hash, which the RFC only advises against.
pub(crate) fn hkdf_expand_sha512<const N: usize>(prk: &[u8; 32], info: &[&[u8]]) -> Sensitive<[u8; N]> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let keyed: hmac::Hmac<Sha512> = hmac::Hmac::new_from_slice(prk).expect("a key of HMAC");
    let (mut out, mut block) = ([0; N], Zeroizing::new([0; 64]));
    for (counter, part) in (1_u8..).zip(out.chunks_mut(64)) {
        let mut mac = keyed.clone();
        if counter > 1 {
            mac.update(block.as_slice());
        }
        info.iter().for_each(|part| mac.update(part));
        mac.update(&[counter]);
        block.copy_from_slice(&mac.finalize().into_bytes());
        part.iter_mut().zip(block.iter()).for_each(|(to, from)| *to = *from);
    }
    Sensitive::new(out)
}

fn expand<const N: usize>(prk: &Hkdf<Sha256>, info: &[&[u8]]) -> Sensitive<[u8; N]> {
    let mut out = [0; N];
    #[expect(clippy::expect_used, reason = "expanding fails past 255 blocks; this is a few")]
    prk.expand_multi_info(info, &mut out).expect("a few blocks of HKDF");
    Sensitive::new(out)
}
