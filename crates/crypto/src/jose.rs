//! Signed claims for clients outside: JWS in compact form (RFC 7515) by ML-DSA-65 (RFC 9964), ES256 (RFC 7518) or Ed25519
//! (RFC 8037, RFC 9864). What services take among themselves is [`crate::token`].
//!
//! Strict by intent, as that is. A verifier says of what type a token has to be and which algorithms it may have; the header
//! has `alg`, `typ` and at most `kid`; the algorithm has to be one of the key's own; base64url has one spelling; no
//! JSON object repeats a member; a claim is read only after the signature has been checked. A key comes from the caller, and
//! from the header only where the caller asked for that ([`verify_with_own_key`]: proofs of possession, RFC 9449). An
//! algorithm that is switched off neither signs nor verifies.

mod key;

use std::fmt;

use portal_core::LogSafe;
use serde_json::{Map, Value, json};

pub use key::{JwkError, PublicKey, SigningKey};

use crate::sign::BackendFailure;
use crate::strict_json::{self, JsonError};
use crate::suite::{self, Disabled, Suites};
use crate::{backend, base64url};

/// The longest token that is read or written, in bytes.
pub const MAX_TOKEN: usize = crate::token::MAX_TOKEN;

/// The claims of a token.
pub type Claims = Map<String, Value>;

/// How a token is signed, by the name in its header.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    /// `ML-DSA-65`, a key of type AKP.
    MlDsa65,
    /// `ES256`: ECDSA on P-256 with SHA-256, a key of type EC.
    Es256,
    /// `EdDSA`: Ed25519 under its older name (RFC 8037), a key of type OKP.
    EdDsa,
    /// `Ed25519`: the same under its own name (RFC 9864).
    Ed25519,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::MlDsa65, Self::Es256, Self::EdDsa, Self::Ed25519];

    /// The name in headers and keys.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MlDsa65 => "ML-DSA-65",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// The algorithm with exactly this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The same algorithm among all: what switches it off.
    #[must_use]
    pub const fn suite(self) -> suite::Algorithm {
        match self {
            Self::MlDsa65 => suite::Algorithm::MlDsa65,
            Self::Es256 => suite::Algorithm::EcdsaP256,
            Self::EdDsa | Self::Ed25519 => suite::Algorithm::Ed25519,
        }
    }

    /// The left half of the hash of `text`, encoded: `at_hash` and `c_hash` (OpenID Connect Core, section 3.1.3.6) of a token
    /// signed this way. The hash is the one within the algorithm: SHA-256, SHA-512, and 64 bytes of SHAKE256.
    #[must_use]
    pub fn half_hash(self, text: &str) -> String {
        let left = |hash: &[u8]| base64url::encode(hash.get(..hash.len() / 2).unwrap_or_default());
        let parts = [text.as_bytes()];
        match self {
            Self::MlDsa65 => left(backend::shake256::<64>(text.as_bytes()).expose()),
            Self::Es256 => left(&backend::sha256(&parts)),
            Self::EdDsa | Self::Ed25519 => left(&backend::sha512(&parts)),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl LogSafe for Algorithm {}

/// What a verifier expects of a token.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// The only type that is taken; `None` takes tokens that name none, and no others.
    pub typ: Option<&'a str>,
    /// The algorithms that are taken.
    pub algorithms: &'a [Algorithm],
    /// The algorithms that are switched on.
    pub suites: Suites,
}

/// Why a token is not believed. Never holds any of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JoseError {
    /// The signature is not one of this token by this key.
    #[error("the signature does not verify")]
    BadSignature,
    /// The header has `crit`: it demands extensions, and there are none.
    #[error("the header demands extensions")]
    CriticalExtension,
    /// The configuration has switched the algorithm of the token off.
    #[error(transparent)]
    Disabled(#[from] Disabled),
    /// A JSON object repeats a member.
    #[error("a JSON object repeats a member")]
    DuplicateMember,
    /// The key in the header can't be taken.
    #[error("the key in the header can't be taken")]
    HeaderKey(#[source] JwkError),
    /// The header brings or points to a key.
    #[error("the header brings or points to a key")]
    KeyInHeader,
    /// The header has to bring a key, and brings none.
    #[error("the header brings no key")]
    NoKey,
    /// What is signed, and was found to be, is not a JSON object.
    #[error("the token holds no claims")]
    NotClaims,
    /// The part is not base64url in its one spelling without padding.
    #[error("the token is not base64url in canonical form")]
    NotBase64Url,
    /// The token does not have three parts.
    #[error("the token does not have three parts")]
    NotCompact,
    /// The header is not a JSON object.
    #[error("the header is not a JSON object")]
    NotJson,
    /// The token is longer than [`MAX_TOKEN`].
    #[error("the token is too long")]
    TooLong,
    /// The header has a member that is not known.
    #[error("the header has an unexpected member")]
    UnexpectedHeader,
    /// The token names an algorithm that is not expected, or not its key's.
    #[error("the token names another algorithm than it may")]
    WrongAlgorithm,
    /// The token is of another type.
    #[error("the token is of another type")]
    WrongType,
}

/// Why a token was not signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SignError {
    /// The library could not sign.
    #[error(transparent)]
    Backend(#[from] BackendFailure),
    /// The configuration has switched the algorithm of the key off.
    #[error(transparent)]
    Disabled(#[from] Disabled),
    /// The token would be longer than [`MAX_TOKEN`].
    #[error("the token would be too long")]
    TooLong,
}

/// Signs `claims` as a token of the type `typ`, which names the key by its thumbprint.
///
/// # Errors
/// [`SignError`].
pub fn sign(claims: &Claims, typ: &str, key: &SigningKey, suites: Suites) -> Result<String, SignError> {
    let header = json!({
        "alg": key.algorithm().name(),
        "kid": key.public_key().id().as_str(),
        "typ": typ,
    });
    sign_under(&header, claims, key, suites)
}

/// Signs `claims` as a token that brings its key: what a client proves the possession of the key by.
///
/// # Errors
/// [`SignError`].
pub fn sign_with_own_key(
    claims: &Claims,
    typ: &str,
    key: &SigningKey,
    suites: Suites,
) -> Result<String, SignError> {
    let header = json!({
        "alg": key.algorithm().name(),
        "jwk": key.public_key().members(),
        "typ": typ,
    });
    sign_under(&header, claims, key, suites)
}

fn sign_under(
    header: &Value,
    claims: &Claims,
    key: &SigningKey,
    suites: Suites,
) -> Result<String, SignError> {
    suites.require(key.algorithm().suite())?;
    let claims = serde_json::to_vec(claims).map_err(|_| SignError::TooLong)?;
    let mut token = format!("{}.{}", base64url::encode(header.to_string()), base64url::encode(claims));
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&base64url::encode(signature));
    if token.len() > MAX_TOKEN { Err(SignError::TooLong) } else { Ok(token) }
}

/// The `kid` that a token names, for a look-up: nothing of the token has been checked, and the key that is found has to be.
///
/// # Errors
/// [`JoseError`] if it has no header that [`verify`] would read.
pub fn named_key(token: &str) -> Result<Option<String>, JoseError> {
    let header = Compact::parse(token)?.header(KeyFrom::Caller)?;
    Ok(header.key_id)
}

/// The claims of `token`, if `key` signed it as `expect` wants it. The `kid` of the header is not looked at: the caller did.
///
/// # Errors
/// [`JoseError`], one variant per cause.
pub fn verify(token: &str, key: &PublicKey, expect: &Expect<'_>) -> Result<Claims, JoseError> {
    let compact = Compact::parse(token)?;
    let header = compact.header(KeyFrom::Caller)?;
    let payload = compact.open(&header, key, expect)?;
    read_claims(&payload)
}

/// The claims of `token` and the key that signed it, which its header brings. That says nothing of whose key it is.
///
/// # Errors
/// [`JoseError`], one variant per cause.
pub fn verify_with_own_key(token: &str, expect: &Expect<'_>) -> Result<(PublicKey, Claims), JoseError> {
    let compact = Compact::parse(token)?;
    let mut header = compact.header(KeyFrom::Header)?;
    let key = header.key.take().ok_or(JoseError::NoKey)?;
    let payload = compact.open(&header, &key, expect)?;
    Ok((key, read_claims(&payload)?))
}

/// The three parts of a token.
struct Compact<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// The first two with the dot between them.
    signed: &'a str,
}

/// Where the key comes from.
#[derive(Clone, Copy, Eq, PartialEq)]
enum KeyFrom {
    Caller,
    Header,
}

/// What a header says.
struct Header {
    algorithm: String,
    typ: Option<String>,
    key_id: Option<String>,
    key: Option<PublicKey>,
}

impl<'a> Compact<'a> {
    fn parse(token: &'a str) -> Result<Self, JoseError> {
        if token.len() > MAX_TOKEN {
            return Err(JoseError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JoseError::NotCompact)?;
        let (header, payload) = signed.split_once('.').ok_or(JoseError::NotCompact)?;
        if payload.contains('.') {
            return Err(JoseError::NotCompact);
        }
        Ok(Self { header, payload, signature, signed })
    }

    fn header(&self, key_from: KeyFrom) -> Result<Header, JoseError> {
        let mut members = strict_json::object(&decode(self.header)?)?;
        let key = match members.remove("jwk") {
            None => None,
            Some(_) if key_from == KeyFrom::Caller => return Err(JoseError::KeyInHeader),
            Some(Value::Object(jwk)) => Some(PublicKey::from_jwk(&jwk).map_err(JoseError::HeaderKey)?),
            Some(_) => return Err(JoseError::HeaderKey(JwkError::Malformed)),
        };
        for name in members.keys() {
            match name.as_str() {
                "alg" | "typ" => {}
                "kid" if key_from == KeyFrom::Caller => {}
                "crit" => return Err(JoseError::CriticalExtension),
                "jku" | "x5c" | "x5t" | "x5t#S256" | "x5u" => return Err(JoseError::KeyInHeader),
                _ => return Err(JoseError::UnexpectedHeader),
            }
        }
        let mut text = |name: &str, wrong: JoseError| match members.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong),
        };
        Ok(Header {
            algorithm: text("alg", JoseError::WrongAlgorithm)?.ok_or(JoseError::WrongAlgorithm)?,
            typ: text("typ", JoseError::WrongType)?,
            key_id: text("kid", JoseError::UnexpectedHeader)?,
            key,
        })
    }

    /// The payload, if all that the header says is as expected and the signature is one by `key`.
    fn open(&self, header: &Header, key: &PublicKey, expect: &Expect<'_>) -> Result<Vec<u8>, JoseError> {
        if header.typ.as_deref() != expect.typ {
            return Err(JoseError::WrongType);
        }
        let algorithm = Algorithm::from_name(&header.algorithm)
            .filter(|algorithm| expect.algorithms.contains(algorithm) && key.takes(*algorithm))
            .ok_or(JoseError::WrongAlgorithm)?;
        expect.suites.require(algorithm.suite())?;
        let signature = decode(self.signature)?;
        key.verify(self.signed.as_bytes(), &signature).map_err(|_| JoseError::BadSignature)?;
        decode(self.payload)
    }
}

fn read_claims(payload: &[u8]) -> Result<Claims, JoseError> {
    strict_json::object(payload).map_err(|error| match error {
        JsonError::Duplicate => JoseError::DuplicateMember,
        JsonError::Malformed => JoseError::NotClaims,
    })
}

fn decode(part: &str) -> Result<Vec<u8>, JoseError> {
    base64url::decode(part).ok_or(JoseError::NotBase64Url)
}

impl From<JsonError> for JoseError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Duplicate => Self::DuplicateMember,
            JsonError::Malformed => Self::NotJson,
        }
    }
}

#[cfg(test)]
mod tests;
