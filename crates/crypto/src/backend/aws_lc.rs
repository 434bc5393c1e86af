//! aws-lc-rs, the library that also runs under rustls.

mod aead;
mod kem;
mod sign;

use aws_lc_rs::{constant_time, digest, hkdf, hmac};
use portal_core::Sensitive;

pub(crate) use self::aead::{Aes256Gcm, CmacAes256};
pub(crate) use self::kem::{MlKemPublic, MlKemSecret, X25519Secret};
pub(crate) use self::sign::{
    Ed25519Public, Ed25519Secret, MlDsa65Public, MlDsa65Secret, P256Public, P256Secret,
};

/// The SHA-256 of the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    digest(&digest::SHA256, parts)
}

/// The SHA-384 of the parts, one after the other.
pub(crate) fn sha384(parts: &[&[u8]]) -> [u8; 48] {
    digest(&digest::SHA384, parts)
}

/// The SHA-512 of the parts, one after the other.
pub(crate) fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    digest(&digest::SHA512, parts)
}

/// The SHA3-256 of the parts, one after the other.
pub(crate) fn sha3_256(parts: &[&[u8]]) -> [u8; 32] {
    digest(&digest::SHA3_256, parts)
}

fn digest<const N: usize>(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> [u8; N] {
    let mut context = digest::Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; N];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// Whether the slices are equal, in time that depends on their lengths only.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// A key of HMAC-SHA-256; the library wipes it on drop.
#[derive(Clone)]
pub(crate) struct Hmac(hmac::Key);

impl Hmac {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The tag of the parts, one after the other.
    pub(crate) fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

/// HKDF-SHA-256 (RFC 5869), extract and expand, to 32 bytes.
pub(crate) fn hkdf_sha256(secret: &[u8], salt: &[u8], info: &[u8]) -> Sensitive<[u8; 32]> {
    let mut out = [0; 32];
    #[expect(
        clippy::expect_used,
        reason = "expanding fails past 255 blocks and on a wrong buffer; this is one block"
    )]
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(secret)
        .expand(&[info], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut out))
        .expect("one block of HKDF");
    Sensitive::new(out)
}

/// HKDF-Expand with SHA-256 (RFC 5869, section 2.3); the parts of `info` stand one after the other.
pub(crate) fn hkdf_expand<const N: usize>(prk: &[u8; 32], info: &[&[u8]]) -> Sensitive<[u8; N]> {
    expand(hkdf::HKDF_SHA256, prk, info)
}

/// HKDF-Expand with SHA-512 (RFC 5869, section 2.3); the parts of `info` stand one after the other.
pub(crate) fn hkdf_expand_sha512<const N: usize>(prk: &[u8; 32], info: &[&[u8]]) -> Sensitive<[u8; N]> {
    expand(hkdf::HKDF_SHA512, prk, info)
}

fn expand<const N: usize>(algorithm: hkdf::Algorithm, prk: &[u8; 32], info: &[&[u8]]) -> Sensitive<[u8; N]> {
    let mut out = [0; N];
    #[expect(
        clippy::expect_used,
        reason = "expanding fails past 255 blocks and on a wrong buffer; this is a few"
    )]
    hkdf::Prk::new_less_safe(algorithm, prk)
        .expand(info, Length(N))
        .and_then(|okm| okm.fill(&mut out))
        .expect("a few blocks of HKDF");
    Sensitive::new(out)
}

/// The length of an output of HKDF.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}
