//! Keys as JSON has them (RFC 7517): types AKP (RFC 9964), EC (RFC 7518, section 6.2) and OKP (RFC 8037).

use portal_core::{Entropy, Sensitive};
use serde_json::{Map, Value, json};

use super::Algorithm;
use crate::sign::{self, BackendFailure, InvalidSignature, ed25519, p256};
use crate::strict_json::{self, JsonError};
use crate::token::KeyId;
use crate::{base64url, seed};

/// The longest key that is read.
const MAX_JWK: usize = 8 * 1_024;

/// Members that only a private or symmetric key has.
const SECRET: [&str; 9] = ["d", "dp", "dq", "k", "oth", "p", "priv", "q", "qi"];

/// Why a key is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JwkError {
    /// A JSON object repeats a member.
    #[error("a JSON object repeats a member")]
    DuplicateMember,
    /// A member is missing or has the wrong shape, or the key is none of its algorithm.
    #[error("the key is not well-formed")]
    Malformed,
    /// It is a private or symmetric key.
    #[error("it is a secret key")]
    Secret,
    /// The text is too long.
    #[error("the key is too long")]
    TooLong,
    /// The key is of another type, curve or algorithm than those that are known here.
    #[error("keys of this type are not known")]
    Unknown,
    /// The key is not for verifying signatures.
    #[error("the key is not for verifying signatures")]
    WrongUse,
}

/// A key that verifies tokens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PublicKey {
    /// Of ML-DSA-65.
    MlDsa65(sign::VerifyingKey),
    /// Of ECDSA on P-256.
    P256(p256::VerifyingKey),
    /// Of Ed25519.
    Ed25519(ed25519::VerifyingKey),
}

impl PublicKey {
    /// The thumbprint (RFC 7638): the SHA-256 of the members that make up the key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        match self {
            Self::MlDsa65(key) => KeyId::of(key),
            Self::P256(key) => {
                let [x, y] = [key.x(), key.y()].map(base64url::encode);
                KeyId::of_members(&format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#))
            }
            Self::Ed25519(key) => {
                let x = base64url::encode(key.as_bytes());
                KeyId::of_members(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#))
            }
        }
    }

    /// The key as a key set has it: with its thumbprint as `kid`, and what it is for. `algorithm` is how it is used.
    #[must_use]
    pub fn to_jwk(&self, algorithm: Algorithm) -> Map<String, Value> {
        let mut members = self.members();
        for (name, value) in [("alg", algorithm.name()), ("kid", self.id().as_str()), ("use", "sig")] {
            members.insert(name.to_owned(), value.into());
        }
        members
    }

    /// The members that make up the key and no others.
    pub(super) fn members(&self) -> Map<String, Value> {
        let members = match self {
            Self::MlDsa65(key) => vec![
                ("kty", "AKP".to_owned()),
                ("alg", key.algorithm().name().to_owned()),
                ("pub", base64url::encode(key.as_bytes())),
            ],
            Self::P256(key) => vec![
                ("kty", "EC".to_owned()),
                ("crv", "P-256".to_owned()),
                ("x", base64url::encode(key.x())),
                ("y", base64url::encode(key.y())),
            ],
            Self::Ed25519(key) => vec![
                ("kty", "OKP".to_owned()),
                ("crv", "Ed25519".to_owned()),
                ("x", base64url::encode(key.as_bytes())),
            ],
        };
        members.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
    }

    /// Reads the text of a key, as [`Self::from_jwk`] does.
    ///
    /// # Errors
    /// [`JwkError`], one variant per cause.
    pub fn from_jwk_json(text: &str) -> Result<Self, JwkError> {
        if text.len() > MAX_JWK {
            return Err(JwkError::TooLong);
        }
        Self::from_jwk(&strict_json::object(text.as_bytes())?)
    }

    /// Reads a key. It has to be public, for signatures if it says what for, and of the algorithm that it names if it names
    /// one; other members, `kid` among them, are passed over (RFC 7517, section 4).
    ///
    /// # Errors
    /// [`JwkError`], one variant per cause.
    pub fn from_jwk(members: &Map<String, Value>) -> Result<Self, JwkError> {
        if SECRET.iter().any(|secret| members.contains_key(*secret)) {
            return Err(JwkError::Secret);
        }
        check_use(members)?;
        let text = |name: &str| members.get(name).and_then(Value::as_str).ok_or(JwkError::Malformed);
        let bytes = |name: &str| base64url::decode(text(name)?).ok_or(JwkError::Malformed);
        let named = members.get("alg").map(|_| text("alg")).transpose()?;
        let key = match text("kty")? {
            // RFC 9964 demands `alg` of keys of this type.
            "AKP" if named.ok_or(JwkError::Malformed)? == Algorithm::MlDsa65.name() => {
                sign::VerifyingKey::from_bytes(sign::Algorithm::MlDsa65, &bytes("pub")?).map(Self::MlDsa65)
            }
            "EC" if text("crv")? == "P-256" => {
                p256::VerifyingKey::from_coordinates(&bytes("x")?, &bytes("y")?).map(Self::P256)
            }
            "OKP" if text("crv")? == "Ed25519" => {
                ed25519::VerifyingKey::from_bytes(&bytes("x")?).map(Self::Ed25519)
            }
            _ => return Err(JwkError::Unknown),
        };
        let key = key.map_err(|_| JwkError::Malformed)?;
        match named {
            Some(name) if !Algorithm::from_name(name).is_some_and(|algorithm| key.takes(algorithm)) => {
                Err(JwkError::Unknown)
            }
            _ => Ok(key),
        }
    }

    /// Whether the key is one of `algorithm`.
    #[must_use]
    pub const fn takes(&self, algorithm: Algorithm) -> bool {
        matches!(
            (self, algorithm),
            (Self::MlDsa65(_), Algorithm::MlDsa65)
                | (Self::P256(_), Algorithm::Es256)
                | (Self::Ed25519(_), Algorithm::EdDsa | Algorithm::Ed25519)
        )
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        match self {
            Self::MlDsa65(key) => key.verify(message, signature),
            Self::P256(key) => key.verify(message, signature),
            Self::Ed25519(key) => key.verify(message, signature),
        }
    }
}

/// Refuses a key that says it is for something else than signatures.
fn check_use(members: &Map<String, Value>) -> Result<(), JwkError> {
    let verifies = |operations: &Value| {
        operations.as_array().is_some_and(|list| list.iter().any(|operation| operation == "verify"))
    };
    if members.get("use").is_some_and(|named| named != "sig")
        || members.get("key_ops").is_some_and(|operations| !verifies(operations))
    {
        return Err(JwkError::WrongUse);
    }
    Ok(())
}

/// A key that signs tokens. It has no `Debug` and is wiped on drop.
pub struct SigningKey {
    algorithm: Algorithm,
    secret: Secret,
    public: PublicKey,
}

enum Secret {
    MlDsa65(Box<sign::SigningKey>),
    P256(Box<p256::SigningKey>),
    Ed25519(Box<ed25519::SigningKey>),
}

impl SigningKey {
    /// The key of 32 secret bytes: a seed, for ES256 the private number.
    ///
    /// # Errors
    /// [`BackendFailure`], for ES256 also if the number is none of the curve's.
    pub fn from_seed(algorithm: Algorithm, seed: &[u8; 32]) -> Result<Self, BackendFailure> {
        let (secret, public) = match algorithm {
            Algorithm::MlDsa65 => {
                let key = sign::SigningKey::from_seed(seed)?;
                let public = PublicKey::MlDsa65(key.verifying_key().clone());
                (Secret::MlDsa65(Box::new(key)), public)
            }
            Algorithm::Es256 => {
                let key = p256::SigningKey::from_scalar(seed)?;
                let public = PublicKey::P256(key.verifying_key().clone());
                (Secret::P256(Box::new(key)), public)
            }
            Algorithm::EdDsa | Algorithm::Ed25519 => {
                let key = ed25519::SigningKey::from_seed(seed)?;
                let public = PublicKey::Ed25519(key.verifying_key().clone());
                (Secret::Ed25519(Box::new(key)), public)
            }
        };
        Ok(Self { algorithm, secret, public })
    }

    /// A new key, and the secret bytes to keep it by.
    ///
    /// # Errors
    /// [`BackendFailure`].
    pub fn generate(
        algorithm: Algorithm,
        entropy: &dyn Entropy,
    ) -> Result<(Self, Sensitive<[u8; 32]>), BackendFailure> {
        let seed = match algorithm {
            Algorithm::Es256 => p256::SigningKey::generate(entropy)?.1,
            Algorithm::MlDsa65 | Algorithm::EdDsa | Algorithm::Ed25519 => seed::draw(entropy),
        };
        Ok((Self::from_seed(algorithm, seed.expose())?, seed))
    }

    /// How it signs.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key that verifies.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BackendFailure> {
        match &self.secret {
            Secret::MlDsa65(key) => key.sign(message),
            Secret::P256(key) => key.sign(message).map(Vec::from),
            Secret::Ed25519(key) => key.sign(message).map(Vec::from),
        }
    }
}

impl From<JsonError> for JwkError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Duplicate => Self::DuplicateMember,
            JsonError::Malformed => Self::Malformed,
        }
    }
}
