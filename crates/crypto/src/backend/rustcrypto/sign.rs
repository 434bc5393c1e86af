//! ML-DSA-65 of `ml-dsa`, Ed25519 of `ed25519-dalek` and ECDSA of `p256`.

use ed25519_dalek::{Signer, Verifier};
use getrandom::SysRng;
use ml_dsa::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ml_dsa::{B32, MlDsa65, Signature, SigningKey, VerifyingKey};
use portal_core::Sensitive;
use zeroize::Zeroize;

/// A signing key of ML-DSA-65.
#[derive(Clone)]
pub(crate) struct MlDsa65Secret(Box<SigningKey<MlDsa65>>);

impl MlDsa65Secret {
    /// The key pair of a seed (FIPS 204, `ML-DSA.KeyGen_internal`).
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        let mut seed = B32::from(*seed);
        let key = SigningKey::from_seed(&seed);
        seed.zeroize();
        Some(Self(Box::new(key)))
    }

    /// From PKCS#8 (RFC 9881, section 6), the form that holds the seed alone.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        SigningKey::from_pkcs8_der(der).ok().map(Box::new).map(Self)
    }

    /// To PKCS#8 version 1, as other TLS libraries read it.
    pub(crate) fn to_pkcs8(&self) -> Option<Sensitive<Vec<u8>>> {
        self.0.to_pkcs8_der().ok().map(|document| Sensitive::new(document.as_bytes().to_vec()))
    }

    /// Signs with an empty context, hedged by the operating system's entropy.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signature = self.0.expanded_key().sign_randomized(message, &[], &mut SysRng).ok()?;
        Some(signature.encode().to_vec())
    }

    pub(crate) fn public(&self) -> Option<MlDsa65Public> {
        Some(MlDsa65Public::new(self.0.expanded_key().verifying_key()))
    }
}

/// A verifying key of ML-DSA-65, parsed once.
#[derive(Clone)]
pub(crate) struct MlDsa65Public {
    key: Box<VerifyingKey<MlDsa65>>,
    bytes: Box<[u8]>,
}

impl MlDsa65Public {
    fn new(key: VerifyingKey<MlDsa65>) -> Self {
        let bytes = key.encode().to_vec().into();
        Self { key: Box::new(key), bytes }
    }

    /// From the 1,952 bytes of FIPS 204.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::new(VerifyingKey::decode(bytes.try_into().ok()?)))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether `signature` is one of `message` under an empty context.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::try_from(signature)
            .is_ok_and(|signature| self.key.verify_with_context(message, &[], &signature))
    }
}

/// A signing key of Ed25519.
pub(crate) struct Ed25519Secret(ed25519_dalek::SigningKey);

impl Ed25519Secret {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        Some(Self(ed25519_dalek::SigningKey::from_bytes(seed)))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        self.0.try_sign(message).ok().map(|signature| signature.to_bytes())
    }

    pub(crate) fn public(&self) -> Option<[u8; 32]> {
        Some(self.0.verifying_key().to_bytes())
    }
}

/// A verifying key of Ed25519, parsed once.
#[derive(Clone)]
pub(crate) struct Ed25519Public(ed25519_dalek::VerifyingKey);

impl Ed25519Public {
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        ed25519_dalek::VerifyingKey::from_bytes(bytes).ok().map(Self)
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

/// A signing key of ECDSA on P-256 with SHA-256.
pub(crate) struct P256Secret(p256::ecdsa::SigningKey);

impl P256Secret {
    /// From the private number, big-endian; `None` unless it is from 1 to the order of the curve less 1.
    pub(crate) fn from_scalar(scalar: &[u8; 32]) -> Option<Self> {
        p256::ecdsa::SigningKey::from_slice(scalar).ok().map(Self)
    }

    /// Signs with the nonce of RFC 6979: r and s, 32 bytes each.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        let signature: p256::ecdsa::Signature = self.0.try_sign(message).ok()?;
        Some(signature.to_bytes().into())
    }

    /// The point, not compressed.
    pub(crate) fn public(&self) -> Option<[u8; 65]> {
        self.0.verifying_key().to_sec1_point(false).as_bytes().try_into().ok()
    }
}

/// A verifying key of ECDSA on P-256, parsed once.
#[derive(Clone)]
pub(crate) struct P256Public(p256::ecdsa::VerifyingKey);

impl P256Public {
    /// From a point that is not compressed; `None` unless it is on the curve.
    pub(crate) fn from_bytes(bytes: &[u8; 65]) -> Option<Self> {
        p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes).ok().map(Self)
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        p256::ecdsa::Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}
