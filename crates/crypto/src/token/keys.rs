//! The keys of tokens: named by their thumbprint (RFC 7638, RFC 9964), published as a JWK set (RFC 7517).

use std::collections::BTreeMap;
use std::fmt;

use portal_core::LogSafe;
use serde_json::{Map, Value, json};

use super::TYPE;
use crate::sign::{Algorithm, BackendFailure, SigningKey, VerifyingKey};
use crate::strict_json::{self, JsonError};
use crate::{base64url, hash};

/// RFC 9964: the key type of algorithms that a key has one of.
const KEY_TYPE: &str = "AKP";

/// The longest key set that is read: some forty keys.
const MAX_KEY_SET: usize = 128 * 1_024;

/// The id of a key: the SHA-256 thumbprint of its required members, so that an id can't be given to another key.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(String);

impl KeyId {
    /// The id of `key`.
    #[must_use]
    pub fn of(key: &VerifyingKey) -> Self {
        let public = base64url::encode(key.as_bytes());
        Self::of_members(&format!(
            r#"{{"alg":"{}","kty":"{KEY_TYPE}","pub":"{public}"}}"#,
            key.algorithm().name()
        ))
    }

    /// The id of the key whose required members, in order and without white space, are this JSON (RFC 7638).
    pub(crate) fn of_members(members: &str) -> Self {
        Self(base64url::encode(hash::sha256(members.as_bytes())))
    }

    /// The id with this thumbprint.
    #[must_use]
    pub fn from_thumbprint(thumbprint: &hash::Sha256) -> Self {
        Self(base64url::encode(thumbprint))
    }

    /// The thumbprint that the id spells.
    #[must_use]
    pub fn thumbprint(&self) -> hash::Sha256 {
        // An id is made of a thumbprint, or was parsed as one.
        base64url::decode(&self.0).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
    }

    /// The id, if the text has the shape of one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digest = base64url::decode(text)?;
        (digest.len() == size_of::<hash::Sha256>()).then(|| Self(text.to_owned()))
    }

    /// The id as text, 43 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl LogSafe for KeyId {}

/// A key that signs tokens. It has no `Debug` and is wiped on drop.
#[derive(Clone)]
pub struct TokenKey {
    signing: SigningKey,
    id: KeyId,
    header: String,
}

impl TokenKey {
    /// The ML-DSA-65 key of `seed`, for example of `ServiceSecret::derive(Label::TokenSigning)`.
    ///
    /// # Errors
    /// [`BackendFailure`].
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, BackendFailure> {
        let signing = SigningKey::from_seed(seed)?;
        let id = KeyId::of(signing.verifying_key());
        let algorithm = signing.verifying_key().algorithm().name();
        let header = base64url::encode(format!(r#"{{"alg":"{algorithm}","kid":"{id}","typ":"{TYPE}"}}"#));
        Ok(Self { signing, id, header })
    }

    /// The id that tokens name this key by.
    #[must_use]
    pub const fn id(&self) -> &KeyId {
        &self.id
    }

    /// The key that verifies.
    #[must_use]
    pub const fn verifying_key(&self) -> &VerifyingKey {
        self.signing.verifying_key()
    }

    /// The header of every token of this key, encoded.
    pub(super) fn header(&self) -> &str {
        &self.header
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, BackendFailure> {
        self.signing.sign(message)
    }
}

/// Why a key set is not taken. Nothing of a refused set is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeySetError {
    /// Two keys are the same.
    #[error("two keys of the set are the same")]
    DuplicateKey,
    /// A JSON object repeats a member.
    #[error("a JSON object repeats a member")]
    DuplicateMember,
    /// A key of ours is not well-formed.
    #[error("a key of the set is not well-formed")]
    MalformedKey,
    /// The text is not a JSON object with an array of keys.
    #[error("not a JWK set")]
    NotJson,
    /// The set holds a private or symmetric key.
    #[error("the set holds a secret key")]
    SecretKey,
    /// The text is too long.
    #[error("the set is too long")]
    TooLong,
    /// A key's `kid` is not its thumbprint.
    #[error("a key's id is not its thumbprint")]
    WrongKeyId,
    /// A key is not for verifying signatures.
    #[error("a key of the set is not for verifying signatures")]
    WrongUse,
}

/// The keys that a verifier believes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeySet(BTreeMap<KeyId, VerifyingKey>);

impl KeySet {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `key` and tells its id.
    pub fn insert(&mut self, key: VerifyingKey) -> KeyId {
        let id = KeyId::of(&key);
        self.0.insert(id.clone(), key);
        id
    }

    /// The key with this id.
    #[must_use]
    pub fn get(&self, id: &KeyId) -> Option<&VerifyingKey> {
        self.0.get(id)
    }

    /// The ids of the keys, in order.
    pub fn ids(&self) -> impl Iterator<Item = &KeyId> {
        self.0.keys()
    }

    /// The set as a JWK set, keys in the order of their ids.
    #[must_use]
    pub fn to_jwks_json(&self) -> String {
        let keys: Vec<_> = self.0.iter().map(|(id, key)| jwk(id, key)).collect();
        json!({ "keys": keys }).to_string()
    }

    /// Reads a JWK set. Keys of other types and algorithms are passed over (RFC 7517, section 5); one that should be
    /// ours and is not well-formed spoils the set.
    ///
    /// # Errors
    /// [`KeySetError`], one variant per cause.
    pub fn from_jwks_json(text: &str) -> Result<Self, KeySetError> {
        if text.len() > MAX_KEY_SET {
            return Err(KeySetError::TooLong);
        }
        let set = strict_json::object(text.as_bytes())?;
        let members = set.get("keys").and_then(Value::as_array).ok_or(KeySetError::NotJson)?;
        let mut keys = Self::new();
        for member in members {
            let member = member.as_object().ok_or(KeySetError::NotJson)?;
            let Some(key) = read_jwk(member)? else { continue };
            let id = KeyId::of(&key);
            if member.get("kid").is_some_and(|named| named.as_str() != Some(id.as_str())) {
                return Err(KeySetError::WrongKeyId);
            }
            if keys.0.insert(id, key).is_some() {
                return Err(KeySetError::DuplicateKey);
            }
        }
        Ok(keys)
    }
}

fn jwk(id: &KeyId, key: &VerifyingKey) -> Value {
    json!({
        "kty": KEY_TYPE,
        "alg": key.algorithm().name(),
        "kid": id.as_str(),
        "use": "sig",
        "pub": base64url::encode(key.as_bytes()),
    })
}

/// The key, or `None` for one of another type or algorithm.
fn read_jwk(members: &Map<String, Value>) -> Result<Option<VerifyingKey>, KeySetError> {
    if ["d", "k", "priv"].iter().any(|secret| members.contains_key(*secret)) {
        return Err(KeySetError::SecretKey);
    }
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    if text("kty").ok_or(KeySetError::MalformedKey)? != KEY_TYPE {
        return Ok(None);
    }
    // RFC 9964 demands `alg` of keys of this type.
    let named = text("alg").ok_or(KeySetError::MalformedKey)?;
    let Some(algorithm) = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == named) else {
        return Ok(None);
    };
    let verifies = |operations: &Value| {
        operations.as_array().is_some_and(|list| list.iter().any(|operation| operation == "verify"))
    };
    if members.get("use").is_some_and(|named| named != "sig")
        || members.get("key_ops").is_some_and(|operations| !verifies(operations))
    {
        return Err(KeySetError::WrongUse);
    }
    let public = text("pub").and_then(base64url::decode).ok_or(KeySetError::MalformedKey)?;
    VerifyingKey::from_bytes(algorithm, &public).map(Some).map_err(|_| KeySetError::MalformedKey)
}

impl From<JsonError> for KeySetError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Duplicate => Self::DuplicateMember,
            JsonError::Malformed => Self::NotJson,
        }
    }
}
