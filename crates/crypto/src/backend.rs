//! The library behind the functions of this crate; the one place that names it.
//!
//! A second backend is a second module with the same functions, chosen here.

mod aws_lc;

pub(crate) use aws_lc::{
    Aes256Gcm, Hmac, ML_DSA_65_SIGNATURE, MlDsa65Public, MlDsa65Secret, MlKemPublic, MlKemSecret,
    X25519Secret, equal, hkdf_expand, hkdf_sha256, sha3_256, sha256, sha384, shake256,
};
