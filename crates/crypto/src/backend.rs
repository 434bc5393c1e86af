//! The library behind the functions of this crate; the one place that names it.
//!
//! A second backend is a second module with the same functions, chosen here.

mod aws_lc;

pub(crate) use aws_lc::{
    Aes256Gcm, CmacAes256, Ed25519Public, Ed25519Secret, Hmac, MlDsa65Public, MlDsa65Secret, MlKemPublic,
    MlKemSecret, X25519Secret, equal, hkdf_expand, hkdf_sha256, sha3_256, sha256, sha384, shake256,
};

/// The length of a verifying key of ML-DSA-65 (FIPS 204, table 2).
pub(crate) const ML_DSA_65_PUBLIC: usize = 1_952;
/// The length of a signature of ML-DSA-65.
pub(crate) const ML_DSA_65_SIGNATURE: usize = 3_309;
