//! The access token of the mesh: a JWT of type `at+jwt` (RFC 9068) signed by ML-DSA-65 (RFC 9964).
//!
//! Strict by intent, since one issuer writes what these functions read. The header has exactly `alg`, `kid` and `typ`;
//! the key is picked by `kid` from a known set and its own algorithm must be the one named; base64url has one
//! spelling; no JSON object repeats a member; the signature is checked before a claim is looked at. Claims that are
//! not known are ignored, as RFC 7519 wants. An algorithm that is switched off neither signs nor verifies.

mod claims;
mod keys;

use std::time::Duration;

use portal_core::Timestamp;

pub use claims::{AccessClaims, InvalidScope, Scope};
pub use keys::{KeyId, KeySet, KeySetError, TokenKey};

use crate::base64url;
use crate::sign::{Algorithm, BackendFailure};
use crate::strict_json::{self, JsonError};
use crate::suite::{Disabled, Suites};

/// The longest token that is read or written, in bytes: what an HTTP header may hold.
pub const MAX_TOKEN: usize = 16 * 1_024;

/// The longest life of an access token.
pub const MAX_LIFE: Duration = Duration::from_secs(300);

/// What stands for the client of a sign-in at Portal itself: RFC 9068 demands one.
pub const FIRST_PARTY: &str = "portal";

const TYPE: &str = "at+jwt";

/// What a verifier expects of a token.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// The only issuer that is believed.
    pub issuer: &'a str,
    /// The verifier's own name.
    pub audience: &'a str,
    /// The current time.
    pub now: Timestamp,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// The algorithms that are switched on.
    pub suites: Suites,
}

/// Why a token is not believed. Never holds any of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// The signature is not one of this token by this key.
    #[error("the signature does not verify")]
    BadSignature,
    /// A claim is missing or has the wrong shape.
    #[error("the claim {0} is missing or has the wrong shape")]
    Claim(&'static str),
    /// The header has `crit`: it demands extensions, and there are none.
    #[error("the header demands extensions")]
    CriticalExtension,
    /// The configuration has switched the algorithm of the token off.
    #[error(transparent)]
    Disabled(#[from] Disabled),
    /// A JSON object repeats a member.
    #[error("a JSON object repeats a member")]
    DuplicateMember,
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The header brings or points to a key.
    #[error("the header brings or points to a key")]
    KeyInHeader,
    /// The token lives longer than [`MAX_LIFE`].
    #[error("the token lives too long")]
    LifeTooLong,
    /// The part is not base64url in its one spelling without padding.
    #[error("the token is not base64url in canonical form")]
    NotBase64Url,
    /// The token does not have three parts.
    #[error("the token does not have three parts")]
    NotCompact,
    /// The header or the claims are not a JSON object.
    #[error("the token does not hold JSON objects")]
    NotJson,
    /// The token is not valid yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The signature does not have the size of the algorithm's.
    #[error("the signature has the wrong size")]
    SignatureSize,
    /// The token was issued in the future.
    #[error("the token was issued in the future")]
    IssuedInFuture,
    /// The token is longer than [`MAX_TOKEN`].
    #[error("the token is too long")]
    TooLong,
    /// The header has a member that this issuer does not write.
    #[error("the header has an unexpected member")]
    UnexpectedHeader,
    /// The header names no key, or none of the set.
    #[error("the token names no known key")]
    UnknownKey,
    /// The header names another algorithm than the key's own.
    #[error("the token names another algorithm than its key's")]
    WrongAlgorithm,
    /// The token is for another audience.
    #[error("the token is for another audience")]
    WrongAudience,
    /// The token is from another issuer.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// The token is of another type.
    #[error("the token is not an access token")]
    WrongType,
}

/// Why a token was not issued.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IssueError {
    /// The library could not sign.
    #[error(transparent)]
    Backend(#[from] BackendFailure),
    /// The configuration has switched the algorithm of the key off.
    #[error(transparent)]
    Disabled(#[from] Disabled),
    /// No verifier would believe it.
    #[error("no verifier would believe this token")]
    Unbelievable(#[source] TokenError),
}

/// Signs an access token; times are cut to whole seconds.
///
/// # Errors
/// [`IssueError::Disabled`] if the key's algorithm is not among `suites`; [`IssueError::Unbelievable`] for a life over
/// [`MAX_LIFE`] or below zero, an empty text claim, or a token over [`MAX_TOKEN`].
pub fn issue(claims: &AccessClaims, key: &TokenKey, suites: Suites) -> Result<String, IssueError> {
    suites.require(key.verifying_key().algorithm().suite())?;
    claims.check().map_err(IssueError::Unbelievable)?;
    let mut token = format!("{}.{}", key.header(), base64url::encode(claims.to_json()));
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&base64url::encode(signature));
    if token.len() > MAX_TOKEN {
        return Err(IssueError::Unbelievable(TokenError::TooLong));
    }
    Ok(token)
}

/// Reads an access token, if every one of its claims can be believed.
///
/// # Errors
/// [`TokenError`], one variant per cause.
pub fn verify(token: &str, keys: &KeySet, expect: &Expect<'_>) -> Result<AccessClaims, TokenError> {
    verify_and_name(token, keys, expect).map(|(_, claims)| claims)
}

/// As [`verify`]; with the id of the key that signed it.
///
/// # Errors
/// [`TokenError`], one variant per cause.
pub fn verify_and_name(
    token: &str,
    keys: &KeySet,
    expect: &Expect<'_>,
) -> Result<(KeyId, AccessClaims), TokenError> {
    if token.len() > MAX_TOKEN {
        return Err(TokenError::TooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::NotCompact)?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::NotCompact)?;
    if payload.contains('.') {
        return Err(TokenError::NotCompact);
    }
    let (algorithm, key_id) = read_header(&decode(header)?)?;
    expect.suites.require(algorithm.suite())?;
    let key = keys.get(&key_id).ok_or(TokenError::UnknownKey)?;
    if key.algorithm() != algorithm {
        return Err(TokenError::WrongAlgorithm);
    }
    let signature = decode(signature)?;
    if signature.len() != algorithm.signature_len() {
        return Err(TokenError::SignatureSize);
    }
    key.verify(signed.as_bytes(), &signature).map_err(|_| TokenError::BadSignature)?;
    let claims = AccessClaims::from_json(&decode(payload)?)?;
    check(&claims, expect)?;
    Ok((key_id, claims))
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    base64url::decode(part).ok_or(TokenError::NotBase64Url)
}

/// The algorithm and the key that the header names, if it holds nothing else.
fn read_header(bytes: &[u8]) -> Result<(Algorithm, KeyId), TokenError> {
    let header = strict_json::object(bytes)?;
    for name in header.keys() {
        match name.as_str() {
            "alg" | "kid" | "typ" => {}
            "crit" => return Err(TokenError::CriticalExtension),
            "jku" | "jwk" | "x5c" | "x5t" | "x5t#S256" | "x5u" => return Err(TokenError::KeyInHeader),
            _ => return Err(TokenError::UnexpectedHeader),
        }
    }
    let text = |name: &str| header.get(name).and_then(serde_json::Value::as_str);
    if text("typ") != Some(TYPE) {
        return Err(TokenError::WrongType);
    }
    let named = text("alg");
    let algorithm = Algorithm::ALL.into_iter().find(|algorithm| named == Some(algorithm.name()));
    let key_id = text("kid").and_then(KeyId::parse).ok_or(TokenError::UnknownKey)?;
    Ok((algorithm.ok_or(TokenError::WrongAlgorithm)?, key_id))
}

/// Who, for whom, and when.
fn check(claims: &AccessClaims, expect: &Expect<'_>) -> Result<(), TokenError> {
    if claims.issuer != expect.issuer {
        return Err(TokenError::WrongIssuer);
    }
    if claims.audience != expect.audience {
        return Err(TokenError::WrongAudience);
    }
    let latest = expect.now.plus(expect.leeway);
    if claims.issued_at > latest {
        return Err(TokenError::IssuedInFuture);
    }
    if claims.not_before > latest {
        return Err(TokenError::NotYetValid);
    }
    if claims.expires_at.plus(expect.leeway) <= expect.now {
        return Err(TokenError::Expired);
    }
    if claims.expires_at > claims.issued_at.plus(MAX_LIFE).plus(expect.leeway) {
        return Err(TokenError::LifeTooLong);
    }
    Ok(())
}

impl From<JsonError> for TokenError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Duplicate => Self::DuplicateMember,
            JsonError::Malformed => Self::NotJson,
        }
    }
}

#[cfg(test)]
mod tests;
