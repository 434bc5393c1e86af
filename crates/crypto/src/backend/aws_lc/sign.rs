//! ML-DSA-65, Ed25519 and ECDSA on P-256 of aws-lc-rs. The library frees signing keys through `OPENSSL_free`, which wipes them.

use aws_lc_rs::agreement;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    ML_DSA_65, ML_DSA_65_SIGNING, ParsedPublicKey, PqdsaKeyPair, PqdsaSigningAlgorithm,
};
use portal_core::Sensitive;

use crate::backend::{ML_DSA_65_PUBLIC, ML_DSA_65_SIGNATURE};

/// A signing key of ML-DSA-65.
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

/// A signing key of Ed25519.
pub(crate) struct Ed25519Secret(Ed25519KeyPair);

impl Ed25519Secret {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        self.0.try_sign(message).ok()?.as_ref().try_into().ok()
    }

    pub(crate) fn public(&self) -> Option<[u8; 32]> {
        self.0.public_key().as_ref().try_into().ok()
    }
}

/// A verifying key of Ed25519, parsed once.
#[derive(Clone)]
pub(crate) struct Ed25519Public(ParsedPublicKey);

impl Ed25519Public {
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        ParsedPublicKey::new(&ED25519, bytes).ok().map(Self)
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

/// A signing key of ECDSA on P-256 with SHA-256.
pub(crate) struct P256Secret(EcdsaKeyPair);

impl P256Secret {
    /// From the private number, big-endian; `None` unless it is from 1 to the order of the curve less 1.
    pub(crate) fn from_scalar(scalar: &[u8; 32]) -> Option<Self> {
        // The signature API wants both halves, and only the one of key agreement computes the other.
        let public = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, scalar).ok()?;
        let public = public.compute_public_key().ok()?;
        EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            scalar,
            public.as_ref(),
        )
        .ok()
        .map(Self)
    }

    /// Signs with a nonce of the library's own entropy: r and s, 32 bytes each.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        self.0.sign(&SystemRandom::new(), message).ok()?.as_ref().try_into().ok()
    }

    /// The point, not compressed.
    pub(crate) fn public(&self) -> Option<[u8; 65]> {
        self.0.public_key().as_ref().try_into().ok()
    }
}

/// A verifying key of ECDSA on P-256, parsed once.
#[derive(Clone)]
pub(crate) struct P256Public(ParsedPublicKey);

impl P256Public {
    /// From a point that is not compressed; `None` unless it is on the curve.
    pub(crate) fn from_bytes(bytes: &[u8; 65]) -> Option<Self> {
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes).ok().map(Self)
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}
