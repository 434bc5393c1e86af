//! Ed25519 (RFC 8032): for clients that know no other, and as the classical half of [`crate::pair`].
//!
//! Verification is that of RFC 8032 without the cofactor. A key of small order is not refused: verify under keys that
//! were handed over by somebody trusted, as always.

use std::fmt;

use portal_core::{Entropy, Sensitive};

use super::{BackendFailure, InvalidSignature, InvalidVerifyingKey};
use crate::{backend, seed};

/// The length of a seed.
pub const SEED_LEN: usize = 32;
/// The length of a verifying key.
pub const VERIFYING_KEY_LEN: usize = 32;
/// The length of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// A signing key. Wiped on drop; has no `Debug`.
pub struct SigningKey {
    secret: backend::Ed25519Secret,
    public: VerifyingKey,
}

impl SigningKey {
    /// The key pair that belongs to `seed`, always the same one.
    ///
    /// # Errors
    /// [`BackendFailure`]; every seed is a valid one.
    pub fn from_seed(seed: &[u8; SEED_LEN]) -> Result<Self, BackendFailure> {
        let secret = backend::Ed25519Secret::from_seed(seed).ok_or(BackendFailure)?;
        let bytes = secret.public().ok_or(BackendFailure)?;
        let public = VerifyingKey::from_bytes(&bytes).map_err(|InvalidVerifyingKey| BackendFailure)?;
        Ok(Self { secret, public })
    }

    /// A new key pair, and the seed to keep it by.
    ///
    /// # Errors
    /// [`BackendFailure`].
    pub fn generate(entropy: &dyn Entropy) -> Result<(Self, Sensitive<[u8; SEED_LEN]>), BackendFailure> {
        let seed = seed::draw(entropy);
        Ok((Self::from_seed(seed.expose())?, seed))
    }

    /// The signature of `message`, always the same one.
    ///
    /// # Errors
    /// [`BackendFailure`].
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], BackendFailure> {
        self.secret.sign(message).ok_or(BackendFailure)
    }

    /// The other half of the pair.
    #[must_use]
    pub const fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }
}

/// A verifying key, parsed once.
#[derive(Clone)]
pub struct VerifyingKey {
    key: backend::Ed25519Public,
    bytes: [u8; VERIFYING_KEY_LEN],
}

impl VerifyingKey {
    /// The key with this encoding.
    ///
    /// # Errors
    /// [`InvalidVerifyingKey`] if it has the wrong length. Bytes that are no point of the curve are refused here or
    /// verify nothing, as the cryptographic library has it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidVerifyingKey> {
        let bytes = bytes.try_into().map_err(|_| InvalidVerifyingKey)?;
        let key = backend::Ed25519Public::from_bytes(&bytes).ok_or(InvalidVerifyingKey)?;
        Ok(Self { key, bytes })
    }

    /// The encoding that [`Self::from_bytes`] reads.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; VERIFYING_KEY_LEN] {
        &self.bytes
    }

    /// Checks that `signature` is one of `message` by this key.
    ///
    /// # Errors
    /// [`InvalidSignature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let signature = signature.try_into().map_err(|_| InvalidSignature)?;
        if self.key.verify(message, signature) { Ok(()) } else { Err(InvalidSignature) }
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for VerifyingKey {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey(Ed25519)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::hex;

    /// RFC 8032, section 7.1, tests 1 to 3.
    #[test]
    fn rfc_8032() {
        let check = |seed: &str, public: &str, message: &[u8], signature: [&str; 2]| {
            let key = SigningKey::from_seed(&hex::decode(seed).unwrap()).unwrap();
            assert_eq!(*key.verifying_key().as_bytes(), hex::decode(public).unwrap());
            let signature: [u8; 64] = hex::decode(&signature.concat()).unwrap();
            assert_eq!(key.sign(message).unwrap(), signature);
            assert_eq!(key.verifying_key().verify(message, &signature), Ok(()));
        };
        check(
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            &[],
            [
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
                "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ],
        );
        check(
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            &[0x72],
            [
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
                "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ],
        );
        check(
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            &[0xaf, 0x82],
            [
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac",
                "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ],
        );
    }

    #[test]
    fn verifies_its_own_signatures_only() {
        let key = SigningKey::from_seed(&[1; 32]).unwrap();
        let signature = key.sign(b"message").unwrap();
        let verify = |message: &[u8], signature: &[u8]| key.verifying_key().verify(message, signature);
        assert_eq!(verify(b"message", &signature), Ok(()));
        assert_eq!(verify(b"massage", &signature), Err(InvalidSignature));
        assert_eq!(verify(b"message", signature.split_last().unwrap().1), Err(InvalidSignature));
        let other = SigningKey::from_seed(&[2; 32]).unwrap();
        assert!(other.verifying_key() != key.verifying_key());
        assert_eq!(other.verifying_key().verify(b"message", &signature), Err(InvalidSignature));
        for bit in 0..512 {
            let mut flipped = signature;
            *flipped.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            assert_eq!(verify(b"message", &flipped), Err(InvalidSignature), "bit {bit}");
        }
        // The same signature with s + L instead of s (RFC 8032, section 5.1.7, forbids it).
        let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
        let order: [u8; 32] = hex::decode(order).unwrap();
        let (mut malleable, mut carry) = (signature, 0);
        for (byte, add) in malleable.iter_mut().skip(32).zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
        }
        assert_eq!(verify(b"message", &malleable), Err(InvalidSignature));
    }
}
