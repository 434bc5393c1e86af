//! Signed objects in JSON: JWS General JSON (RFC 7515, section 7.2.1) with two signatures, Ed25519 (RFC 9864) and
//! ML-DSA-65 (RFC 9964), that only count together.
//!
//! Strict by intent, as [`crate::token`] is: the object has `payload` and `signatures`, each of the two signatures has
//! `protected` and `signature`, each header has `alg`, `kid` and `typ`, and nothing has anything else or anything twice;
//! base64url has one spelling; the keys are the ones of the pair, one signature by each.

use serde_json::{Map, Value, json};

use crate::base64url;
use crate::pair::{PairSigningKey, PairVerifyingKey};
use crate::sign::{BackendFailure, ed25519};
use crate::strict_json::{self, JsonError};
use crate::suite::{Algorithm, Disabled, Suites};
use crate::token::KeyId;

/// The longest object that is read, in bytes.
pub const MAX_OBJECT: usize = 1 << 20;

/// Why an object is not believed. Never holds any of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JwsError {
    /// A signature is not one of this object by its key.
    #[error("a signature does not verify")]
    BadSignature,
    /// The configuration has switched an algorithm off.
    #[error(transparent)]
    Disabled(#[from] Disabled),
    /// A JSON object repeats a member.
    #[error("a JSON object repeats a member")]
    DuplicateMember,
    /// Not one signature by each half of the pair.
    #[error("not one signature by each key")]
    MissingSignature,
    /// A part is not base64url in its one spelling without padding.
    #[error("a part is not base64url in canonical form")]
    NotBase64Url,
    /// Not a JSON object of the expected members.
    #[error("not a JWS of two signatures")]
    NotJws,
    /// The object is longer than [`MAX_OBJECT`].
    #[error("the object is too long")]
    TooLong,
    /// A signature names a key that is not of the pair.
    #[error("a signature names no known key")]
    UnknownKey,
    /// A signature names another algorithm than its key's.
    #[error("a signature names another algorithm than its key's")]
    WrongAlgorithm,
    /// The object is of another type.
    #[error("the object is of another type")]
    WrongType,
}

/// Signs `payload` by both halves of `key`; `typ` says what the object is.
///
/// # Errors
/// [`BackendFailure`].
pub fn sign(payload: &[u8], typ: &str, key: &PairSigningKey) -> Result<String, BackendFailure> {
    let payload = base64url::encode(payload);
    let [classical, quantum_safe] = key_ids(key.verifying_key());
    let protected = |algorithm: Algorithm, id: &KeyId| {
        base64url::encode(json!({ "alg": algorithm.name(), "kid": id.as_str(), "typ": typ }).to_string())
    };
    let classical = protected(Algorithm::Ed25519, &classical);
    let quantum_safe = protected(Algorithm::MlDsa65, &quantum_safe);
    let by_classical = key.ed25519().sign(&signed(&classical, &payload))?;
    let by_quantum_safe = key.ml_dsa_65().sign(&signed(&quantum_safe, &payload))?;
    let object = json!({
        "payload": payload,
        "signatures": [
            { "protected": classical, "signature": base64url::encode(by_classical) },
            { "protected": quantum_safe, "signature": base64url::encode(by_quantum_safe) },
        ],
    });
    Ok(object.to_string())
}

/// The payload of `object`, if it is of the type `typ` and both halves of `key` have signed it.
///
/// # Errors
/// [`JwsError`], one variant per cause.
pub fn verify(object: &str, typ: &str, key: &PairVerifyingKey, suites: Suites) -> Result<Vec<u8>, JwsError> {
    if object.len() > MAX_OBJECT {
        return Err(JwsError::TooLong);
    }
    let object = strict_json::object(object.as_bytes())?;
    let [payload, signatures] = members(&object, ["payload", "signatures"])?;
    let payload = payload.as_str().ok_or(JwsError::NotJws)?;
    let Some([one, two]) = signatures.as_array().map(Vec::as_slice) else {
        return Err(JwsError::MissingSignature);
    };
    let (one, two) = (verify_one(one, payload, typ, key)?, verify_one(two, payload, typ, key)?);
    if one == two {
        return Err(JwsError::MissingSignature);
    }
    suites.require(one)?;
    suites.require(two)?;
    base64url::decode(payload).ok_or(JwsError::NotBase64Url)
}

/// The algorithm of the half of `key` that the signature is of.
fn verify_one(
    signature: &Value,
    payload: &str,
    typ: &str,
    key: &PairVerifyingKey,
) -> Result<Algorithm, JwsError> {
    let [protected, signature] =
        texts(signature.as_object().ok_or(JwsError::NotJws)?, ["protected", "signature"])?;
    let header = strict_json::object(&base64url::decode(protected).ok_or(JwsError::NotBase64Url)?)?;
    let [named, id, named_type] = texts(&header, ["alg", "kid", "typ"])?;
    let signature = base64url::decode(signature).ok_or(JwsError::NotBase64Url)?;
    let [classical, quantum_safe] = key_ids(key);
    let algorithm = match id {
        id if id == classical.as_str() => Algorithm::Ed25519,
        id if id == quantum_safe.as_str() => Algorithm::MlDsa65,
        _ => return Err(JwsError::UnknownKey),
    };
    if named != algorithm.name() {
        return Err(JwsError::WrongAlgorithm);
    }
    if named_type != typ {
        return Err(JwsError::WrongType);
    }
    let signed = signed(protected, payload);
    let verified = match algorithm {
        Algorithm::Ed25519 => key.ed25519().verify(&signed, &signature),
        _ => key.ml_dsa_65().verify(&signed, &signature),
    };
    verified.map(|()| algorithm).map_err(|_| JwsError::BadSignature)
}

fn signed(protected: &str, payload: &str) -> Vec<u8> {
    [protected, ".", payload].concat().into_bytes()
}

/// The thumbprints of both halves (RFC 7638): of Ed25519 by RFC 8037, of ML-DSA-65 by RFC 9964.
fn key_ids(key: &PairVerifyingKey) -> [KeyId; 2] {
    [ed25519_id(key.ed25519()), KeyId::of(key.ml_dsa_65())]
}

fn ed25519_id(key: &ed25519::VerifyingKey) -> KeyId {
    let x = base64url::encode(key.as_bytes());
    KeyId::of_members(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#))
}

/// The members of these names, if there are no others.
fn members<'a, const N: usize>(
    object: &'a Map<String, Value>,
    names: [&str; N],
) -> Result<[&'a Value; N], JwsError> {
    if object.len() != N {
        return Err(JwsError::NotJws);
    }
    let mut found = [&Value::Null; N];
    for (value, name) in found.iter_mut().zip(names) {
        *value = object.get(name).ok_or(JwsError::NotJws)?;
    }
    Ok(found)
}

fn texts<'a, const N: usize>(
    object: &'a Map<String, Value>,
    names: [&str; N],
) -> Result<[&'a str; N], JwsError> {
    let mut found = [""; N];
    for (text, value) in found.iter_mut().zip(members(object, names)?) {
        *text = value.as_str().ok_or(JwsError::NotJws)?;
    }
    Ok(found)
}

impl From<JsonError> for JwsError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Duplicate => Self::DuplicateMember,
            JsonError::Malformed => Self::NotJws,
        }
    }
}

#[cfg(test)]
mod tests;
