//! The library behind the functions of this crate; the one place that names it.
//!
//! Two modules with the same functions, one feature each: `aws_lc` (the default) and `rustcrypto`, which needs no C
//! compiler. With both features aws-lc-rs computes. Tests have RustCrypto always and set the one against the other.

#[cfg(feature = "backend-aws-lc")]
mod aws_lc;
#[cfg(all(test, feature = "backend-aws-lc"))]
mod differential;
#[cfg(any(test, not(feature = "backend-aws-lc")))]
pub(crate) mod rustcrypto;
#[cfg(test)]
mod vectors;

use portal_core::Sensitive;
use shake::{ExtendableOutput, Shake256, Update, XofReader};

#[cfg(feature = "backend-aws-lc")]
use aws_lc as active;
#[cfg(not(feature = "backend-aws-lc"))]
use rustcrypto as active;

#[cfg(not(any(feature = "backend-aws-lc", feature = "backend-rustcrypto")))]
compile_error!("portal-crypto needs one of its features backend-aws-lc and backend-rustcrypto");

pub(crate) use active::{
    Aes256Gcm, CmacAes256, Ed25519Public, Ed25519Secret, Hmac, MlDsa65Public, MlDsa65Secret, MlKemPublic,
    MlKemSecret, P256Public, P256Secret, X25519Secret, equal, hkdf_expand, hkdf_expand_sha512, hkdf_sha256,
    sha3_256, sha256, sha384, sha512,
};

/// The library that computes, with its version: for inventories.
#[cfg(feature = "backend-aws-lc")]
pub const BACKEND: &str = "aws-lc-rs 1.19.0";
/// The library that computes, with its version: for inventories.
#[cfg(not(feature = "backend-aws-lc"))]
pub const BACKEND: &str = "RustCrypto aes-gcm 0.11.1";

/// The length of a verifying key of ML-DSA-65 (FIPS 204, table 2).
pub(crate) const ML_DSA_65_PUBLIC: usize = 1_952;
/// The length of a signature of ML-DSA-65.
pub(crate) const ML_DSA_65_SIGNATURE: usize = 3_309;

/// The first `N` bytes of SHAKE-256 over `input` (FIPS 202). Of RustCrypto with both backends: aws-lc-rs has none.
pub(crate) fn shake256<const N: usize>(input: &[u8]) -> Sensitive<[u8; N]> {
    let mut hasher = Shake256::default();
    hasher.update(input);
    let mut out = [0; N];
    hasher.finalize_xof().read(&mut out);
    Sensitive::new(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::BACKEND;

    #[test]
    fn the_version_is_the_locked_one() {
        let lock = include_str!("../../../Cargo.lock");
        let mut words = BACKEND.rsplit(' ');
        let (version, name) = (words.next().unwrap(), words.next().unwrap());
        assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")), "{BACKEND}");
    }
}
