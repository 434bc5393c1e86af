//! aws-lc-rs, the library that also runs under rustls.

mod aead;
mod kem;

use aws_lc_rs::signature::{
    KeyPair, ML_DSA_65, ML_DSA_65_SIGNING, ParsedPublicKey, PqdsaKeyPair, PqdsaSigningAlgorithm,
};
use aws_lc_rs::{constant_time, digest, hkdf, hmac};
use portal_core::Sensitive;

pub(crate) use self::aead::Aes256Gcm;
pub(crate) use self::kem::{MlKemPublic, MlKemSecret, X25519Secret, shake256};

/// The length of a verifying key of ML-DSA-65 (FIPS 204, table 2).
const ML_DSA_65_PUBLIC: usize = 1_952;
/// The length of a signature of ML-DSA-65.
pub(crate) const ML_DSA_65_SIGNATURE: usize = 3_309;

/// The SHA-256 of the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    digest(&digest::SHA256, parts)
}

/// The SHA-384 of the parts, one after the other.
pub(crate) fn sha384(parts: &[&[u8]]) -> [u8; 48] {
    digest(&digest::SHA384, parts)
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
    let mut out = [0; N];
    #[expect(
        clippy::expect_used,
        reason = "expanding fails past 255 blocks and on a wrong buffer; this is a few"
    )]
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, prk)
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

/// A signing key of ML-DSA-65; the library wipes it on drop.
#[derive(Clone)]
pub(crate) struct MlDsa65Secret(PqdsaKeyPair);

impl MlDsa65Secret {
    /// The key pair of a seed (FIPS 204, `ML-DSA.KeyGen_internal`).
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, seed).ok().map(Self)
    }

    /// From PKCS#8 (RFC 9881, section 6).
    pub(crate) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        PqdsaKeyPair::from_pkcs8(&ML_DSA_65_SIGNING, der).ok().map(Self)
    }

    /// To PKCS#8 version 1, as other TLS libraries read it.
    pub(crate) fn to_pkcs8(&self) -> Option<Sensitive<Vec<u8>>> {
        self.0.to_pkcs8v1().ok().map(|document| Sensitive::new(document.as_ref().to_vec()))
    }

    /// Signs with an empty context, hedged by the library's own entropy.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let algorithm: &PqdsaSigningAlgorithm = self.0.algorithm();
        let mut signature = vec![0; algorithm.signature_len()];
        self.0.sign(message, &mut signature).ok()?;
        Some(signature)
    }

    pub(crate) fn public(&self) -> Option<MlDsa65Public> {
        MlDsa65Public::from_bytes(self.0.public_key().as_ref())
    }
}

/// A verifying key of ML-DSA-65, parsed once.
#[derive(Clone)]
pub(crate) struct MlDsa65Public(ParsedPublicKey);

impl MlDsa65Public {
    /// From the 1,952 bytes of FIPS 204. The length is checked first, since the library also takes X.509 encodings.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != ML_DSA_65_PUBLIC {
            return None;
        }
        ParsedPublicKey::new(&ML_DSA_65, bytes).ok().map(Self)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// Whether `signature` is one of `message` under an empty context.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        signature.len() == ML_DSA_65_SIGNATURE && self.0.verify_sig(message, signature).is_ok()
    }
}
