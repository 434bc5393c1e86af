//! Keys of signed objects: named by their COSE key thumbprint (RFC 9679, RFC 9964), exchanged as COSE keys.

use std::fmt;

use coset::cbor::Value;
use coset::iana::{self, EllipticCurve, OkpKeyParameter};
use coset::{
    CborOrdering, CborSerializable, CoseKey, CoseKeyBuilder, KeyOperation, KeyType, Label, MlDsaVariant,
    RegisteredLabelWithPrivate,
};
use portal_core::LogSafe;

use crate::hash::{Sha256, sha256};
use crate::pair::{PairSigningKey, PairVerifyingKey};
use crate::sign::{self, BackendFailure, InvalidSignature, ed25519};
use crate::suite::Algorithm;

/// The longest encoded key that is read.
const MAX_KEY: usize = 4_096;

/// The most keys of a set that is read.
const MAX_KEYS: usize = 64;

/// The bytes are not the COSE key of a verifying key of ML-DSA-65 or Ed25519. A key with its private half is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a public COSE key of ML-DSA-65 or Ed25519")]
pub struct InvalidKey;

/// The id of a key: the SHA-256 of its required members, so that an id can't be given to another key.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Thumbprint(Sha256);

impl Thumbprint {
    /// The 32 bytes, as `kid` has them.
    #[must_use]
    pub const fn as_bytes(&self) -> &Sha256 {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    /// Hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

impl LogSafe for Thumbprint {}

/// A key that verifies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Key {
    /// Ed25519.
    Ed25519(ed25519::VerifyingKey),
    /// ML-DSA-65.
    MlDsa65(sign::VerifyingKey),
}

/// A key that signs.
#[derive(Clone, Copy)]
pub enum SigningKey<'a> {
    /// Ed25519.
    Ed25519(&'a ed25519::SigningKey),
    /// ML-DSA-65.
    MlDsa65(&'a sign::SigningKey),
}

impl Key {
    /// Both halves of a pair, for an object that counts only with both.
    #[must_use]
    pub fn both(pair: &PairVerifyingKey) -> [Self; 2] {
        [Self::Ed25519(pair.ed25519().clone()), Self::MlDsa65(pair.ml_dsa_65().clone())]
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::Ed25519,
            Self::MlDsa65(_) => Algorithm::MlDsa65,
        }
    }

    /// The id that objects name it by.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint(sha256(&encode(self.required())))
    }

    /// The COSE key, its thumbprint as `kid`.
    #[must_use]
    pub fn to_cose_key(&self) -> Vec<u8> {
        let mut key = self.required();
        key.key_id = self.thumbprint().as_bytes().to_vec();
        key.alg = Some(RegisteredLabelWithPrivate::Assigned(self.cose_algorithm()));
        encode(key)
    }

    /// Reads a COSE key: `kty`, the public members of its type, `alg` (which keys of type AKP must have), and `kid`, which
    /// has to be the thumbprint, and `key_ops`, which have to allow verifying, if they are there.
    ///
    /// # Errors
    /// [`InvalidKey`] for anything else; a private half is refused, not dropped.
    pub fn from_cose_key(bytes: &[u8]) -> Result<Self, InvalidKey> {
        if bytes.len() > MAX_KEY {
            return Err(InvalidKey);
        }
        let mut parsed = CoseKey::from_slice(bytes).map_err(|_| InvalidKey)?;
        parsed.canonicalize(CborOrdering::Lexicographic);
        let key = Self::of_members(&parsed).ok_or(InvalidKey)?;
        let named = parsed.key_id.is_empty() || parsed.key_id == key.thumbprint().as_bytes();
        let verifies = parsed.key_ops.is_empty()
            || parsed.key_ops.contains(&KeyOperation::Assigned(iana::KeyOperation::Verify));
        if named && verifies && parsed.base_iv.is_empty() { Ok(key) } else { Err(InvalidKey) }
    }

    /// Reads a COSE key set: an array of keys, each as [`Self::from_cose_key`] takes it.
    ///
    /// # Errors
    /// [`InvalidKey`] if it is none, or has a key that is none.
    pub fn from_cose_key_set(bytes: &[u8]) -> Result<Vec<Self>, InvalidKey> {
        if bytes.len() > MAX_KEY * MAX_KEYS {
            return Err(InvalidKey);
        }
        let Ok(Value::Array(keys)) = Value::from_slice(bytes) else { return Err(InvalidKey) };
        let read = |key: Value| Self::from_cose_key(&key.to_vec().map_err(|_| InvalidKey)?);
        keys.into_iter().map(read).collect()
    }

    fn of_members(parsed: &CoseKey) -> Option<Self> {
        let label = |number: i64| Label::Int(number);
        let alg = match &parsed.alg {
            None => None,
            Some(RegisteredLabelWithPrivate::Assigned(alg)) => Some(*alg),
            Some(_) => return None,
        };
        match (&parsed.kty, alg, parsed.params.as_slice()) {
            (
                KeyType::Assigned(iana::KeyType::AKP),
                Some(iana::Algorithm::ML_DSA_65),
                [(name, Value::Bytes(public))],
            ) if *name == label(iana::AkpKeyParameter::Pub as i64) => {
                sign::VerifyingKey::from_bytes(sign::Algorithm::MlDsa65, public).ok().map(Self::MlDsa65)
            }
            (
                KeyType::Assigned(iana::KeyType::OKP),
                None | Some(iana::Algorithm::Ed25519),
                [(curve, Value::Integer(number)), (x, Value::Bytes(public))],
            ) if *curve == label(OkpKeyParameter::Crv as i64)
                && *x == label(OkpKeyParameter::X as i64)
                && *number == (EllipticCurve::Ed25519 as i64).into() =>
            {
                ed25519::VerifyingKey::from_bytes(public).ok().map(Self::Ed25519)
            }
            _ => None,
        }
    }

    /// What the thumbprint is over.
    fn required(&self) -> CoseKey {
        match self {
            Self::Ed25519(key) => CoseKeyBuilder::new_okp_key()
                .param(OkpKeyParameter::Crv as i64, Value::from(EllipticCurve::Ed25519 as i64))
                .param(OkpKeyParameter::X as i64, Value::Bytes(key.as_bytes().to_vec()))
                .build(),
            Self::MlDsa65(key) => {
                CoseKeyBuilder::new_mldsa_pub_key(MlDsaVariant::MlDsa65, key.as_bytes().to_vec()).build()
            }
        }
    }

    pub(super) const fn cose_algorithm(&self) -> iana::Algorithm {
        match self {
            Self::Ed25519(_) => iana::Algorithm::Ed25519,
            Self::MlDsa65(_) => iana::Algorithm::ML_DSA_65,
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        match self {
            Self::Ed25519(key) => key.verify(message, signature),
            Self::MlDsa65(key) => key.verify(message, signature),
        }
    }
}

impl<'a> SigningKey<'a> {
    /// Both halves of a pair.
    #[must_use]
    pub const fn both(pair: &'a PairSigningKey) -> [Self; 2] {
        [Self::Ed25519(pair.ed25519()), Self::MlDsa65(pair.ml_dsa_65())]
    }

    /// The other half.
    #[must_use]
    pub fn verifying_key(self) -> Key {
        match self {
            Self::Ed25519(key) => Key::Ed25519(key.verifying_key().clone()),
            Self::MlDsa65(key) => Key::MlDsa65(key.verifying_key().clone()),
        }
    }

    /// The id that objects name it by.
    #[must_use]
    pub fn thumbprint(self) -> Thumbprint {
        self.verifying_key().thumbprint()
    }

    pub(super) const fn cose_algorithm(self) -> iana::Algorithm {
        match self {
            Self::Ed25519(_) => iana::Algorithm::Ed25519,
            Self::MlDsa65(_) => iana::Algorithm::ML_DSA_65,
        }
    }

    pub(super) fn sign(self, message: &[u8]) -> Result<Vec<u8>, BackendFailure> {
        match self {
            Self::Ed25519(key) => key.sign(message).map(Vec::from),
            Self::MlDsa65(key) => key.sign(message),
        }
    }
}

/// A key whose members stand in the order of the deterministic encoding: numbers up from 1, then down from −1.
fn encode(key: CoseKey) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "fails where a member stands twice; these are the ones of above")]
    key.to_vec().expect("a COSE key")
}
