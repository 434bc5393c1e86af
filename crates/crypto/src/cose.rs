//! Signed objects in CBOR: COSE_Sign1 and COSE_Sign (RFC 9052) with ML-DSA-65 (RFC 9964) and Ed25519 (RFC 9864).
//!
//! Strict by intent, since a signed object should have one meaning and one encoding. The protected header of a signature
//! has exactly `alg` and `kid`, the one of the body the content type if there is one; the unprotected headers are empty;
//! the payload is inside; the encoding is the deterministic one of RFC 8949, section 4.2. The key is picked by `kid`, its
//! thumbprint, from a known set, and its own algorithm must be the one named.
//!
//! An object of several signatures counts when all of them verify, one by each expected key and none besides.
//! [`receipt`] is the proof that something is in a log.

mod key;
pub mod receipt;
#[cfg(test)]
mod tests;

use coset::cbor::Value;
use coset::{
    AsCborValue, CborSerializable, ContentType, CoseSign, CoseSign1, CoseSign1Builder, CoseSignBuilder,
    CoseSignature, CoseSignatureBuilder, Header, HeaderBuilder, RegisteredLabelWithPrivate,
    TaggedCborSerializable,
};

pub use key::{InvalidKey, Key, SigningKey, Thumbprint};

use crate::sign::BackendFailure;
use crate::suite::{Disabled, Suites};

/// The longest object that is read or written, in bytes.
pub const MAX_OBJECT: usize = 1 << 20;

/// More than the longest header that is taken. What is longer is not even parsed: a header can hold further headers.
const MAX_HEADER: usize = 256;

/// More signatures than an object of ours has.
const MAX_SIGNATURES: usize = 8;

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The media type of the payload, `type/subtype`.
    pub content_type: Option<&'a str>,
    /// The payload, which the object holds.
    pub payload: &'a [u8],
    /// What is signed with it and not in the object; both sides know it.
    pub external_aad: &'a [u8],
}

/// What a verifier expects of an object.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// The media type of the payload.
    pub content_type: Option<&'a str>,
    /// The keys that are believed.
    pub keys: &'a [Key],
    /// What was signed with the payload and is not in the object.
    pub external_aad: &'a [u8],
    /// Which algorithms are switched on.
    pub suites: Suites,
}

/// Why an object was not signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SignError {
    /// The cryptographic library failed.
    #[error(transparent)]
    Library(#[from] BackendFailure),
    /// The payload does not fit an object of [`MAX_OBJECT`].
    #[error("the payload is too long to be signed")]
    TooLong,
    /// No verifier would take it: no key, a key twice, too many, or a content type that is none.
    #[error("no verifier would take this object")]
    Unbelievable,
}

/// Why an object is not believed. Never holds any of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CoseError {
    /// A signature is not one of this object by its key.
    #[error("a signature does not verify")]
    BadSignature,
    /// The payload is of another media type.
    #[error("the payload is of another media type")]
    ContentType,
    /// The configuration has switched an algorithm off.
    #[error(transparent)]
    Disabled(#[from] Disabled),
    /// Two signatures are of one key.
    #[error("two signatures are of one key")]
    DuplicateSignature,
    /// Not CBOR, not such an object, or without its payload.
    #[error("not a signed COSE object")]
    Malformed,
    /// A key that has to sign has not.
    #[error("a signature that is demanded is missing")]
    MissingSignature,
    /// Encoded in another way than the deterministic one.
    #[error("not in deterministic encoding")]
    NotDeterministic,
    /// The object is longer than [`MAX_OBJECT`].
    #[error("the object is too long")]
    TooLong,
    /// A header has a member that has no place there, or lacks one that has.
    #[error("a header has an unexpected member or lacks one")]
    UnexpectedHeader,
    /// A signature names a key that is not expected.
    #[error("a signature names no known key")]
    UnknownKey,
    /// A signature names another algorithm than its key's.
    #[error("a signature names another algorithm than its key's")]
    WrongAlgorithm,
}

/// Signs `message` by one key: a tagged COSE_Sign1.
///
/// # Errors
/// [`SignError`], one variant per cause.
pub fn sign1(message: &Message<'_>, key: SigningKey<'_>) -> Result<Vec<u8>, SignError> {
    message.check()?;
    let mut header = key.header();
    header.content_type = message.content_type();
    CoseSign1Builder::new()
        .protected(header)
        .payload(message.payload.to_vec())
        .try_create_signature(message.external_aad, |bytes| key.sign(bytes))?
        .build()
        .to_tagged_vec()
        .map_err(|_| SignError::Unbelievable)
}

/// Signs `message` by each of `keys`: a tagged COSE_Sign.
///
/// # Errors
/// [`SignError`], one variant per cause.
pub fn sign(message: &Message<'_>, keys: &[SigningKey<'_>]) -> Result<Vec<u8>, SignError> {
    message.check()?;
    let mut ids: Vec<_> = keys.iter().map(|key| key.thumbprint()).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() != keys.len() || !(1..=MAX_SIGNATURES).contains(&keys.len()) {
        return Err(SignError::Unbelievable);
    }
    let body = Header { content_type: message.content_type(), ..Header::default() };
    let mut object = CoseSignBuilder::new().protected(body).payload(message.payload.to_vec());
    for key in keys {
        let signature = CoseSignatureBuilder::new().protected(key.header()).build();
        object =
            object.try_add_created_signature(signature, message.external_aad, |bytes| key.sign(bytes))?;
    }
    object.build().to_tagged_vec().map_err(|_| SignError::Unbelievable)
}

/// The payload of a COSE_Sign1, if it is signed by one of the expected keys.
///
/// # Errors
/// [`CoseError`], one variant per cause.
pub fn verify1(object: &[u8], expect: &Expect<'_>) -> Result<Vec<u8>, CoseError> {
    let parsed =
        CoseSign1::from_cbor_value(untag(object, CoseSign1::TAG)?).map_err(|_| CoseError::Malformed)?;
    if parsed.clone().to_tagged_vec().ok().as_deref() != Some(object) {
        return Err(CoseError::NotDeterministic);
    }
    let key = signer(&parsed.protected.header, expect)?;
    expect.check_content_type(&parsed.protected.header)?;
    let signed = parsed.tbs_data(expect.external_aad);
    key.verify(&signed, &parsed.signature).map_err(|_| CoseError::BadSignature)?;
    parsed.payload.ok_or(CoseError::Malformed)
}

/// The payload of a COSE_Sign, if every expected key has signed it and nobody else.
///
/// # Errors
/// [`CoseError`], one variant per cause.
pub fn verify(object: &[u8], expect: &Expect<'_>) -> Result<Vec<u8>, CoseError> {
    let parsed =
        CoseSign::from_cbor_value(untag(object, CoseSign::TAG)?).map_err(|_| CoseError::Malformed)?;
    if parsed.clone().to_tagged_vec().ok().as_deref() != Some(object) {
        return Err(CoseError::NotDeterministic);
    }
    let body = &parsed.protected.header;
    let lean = Header { content_type: body.content_type.clone(), ..Header::default() };
    if *body != lean {
        return Err(CoseError::UnexpectedHeader);
    }
    expect.check_content_type(body)?;
    let mut missing: Vec<&Key> = expect.keys.iter().collect();
    for signature in &parsed.signatures {
        let key = verify_one(&parsed, signature, expect)?;
        let waiting = missing.iter().position(|waiting| *waiting == key);
        missing.swap_remove(waiting.ok_or(CoseError::DuplicateSignature)?);
    }
    if expect.keys.is_empty() || !missing.is_empty() {
        return Err(CoseError::MissingSignature);
    }
    parsed.payload.ok_or(CoseError::Malformed)
}

fn verify_one<'a>(
    object: &CoseSign,
    signature: &CoseSignature,
    expect: &Expect<'a>,
) -> Result<&'a Key, CoseError> {
    if signature.protected.header.content_type.is_some() {
        return Err(CoseError::UnexpectedHeader);
    }
    let key = signer(&signature.protected.header, expect)?;
    let signed = object.tbs_data(expect.external_aad, signature);
    key.verify(&signed, &signature.signature).map_err(|_| CoseError::BadSignature)?;
    Ok(key)
}

/// The key that a header names, if the header has `alg`, `kid` and maybe a content type, and nothing else.
fn signer<'a>(header: &Header, expect: &Expect<'a>) -> Result<&'a Key, CoseError> {
    let lean = Header {
        alg: header.alg.clone(),
        key_id: header.key_id.clone(),
        content_type: header.content_type.clone(),
        ..Header::default()
    };
    if *header != lean {
        return Err(CoseError::UnexpectedHeader);
    }
    let named = header.alg.as_ref().ok_or(CoseError::UnexpectedHeader)?;
    let key = expect.keys.iter().find(|key| key.thumbprint().as_bytes() == header.key_id.as_slice());
    let key = key.ok_or(CoseError::UnknownKey)?;
    if *named != RegisteredLabelWithPrivate::Assigned(key.cose_algorithm()) {
        return Err(CoseError::WrongAlgorithm);
    }
    expect.suites.require(key.algorithm())?;
    Ok(key)
}

/// What stands under `tag`, with headers that are small and bare enough to be parsed.
fn untag(object: &[u8], tag: u64) -> Result<Value, CoseError> {
    if object.len() > MAX_OBJECT {
        return Err(CoseError::TooLong);
    }
    let value = Value::from_slice(object).map_err(|_| CoseError::Malformed)?;
    let Value::Tag(found, value) = value else { return Err(CoseError::Malformed) };
    let Value::Array(parts) = value.as_ref() else { return Err(CoseError::Malformed) };
    if found != tag {
        return Err(CoseError::Malformed);
    }
    check_headers(parts)?;
    if let Some(Value::Array(signatures)) = parts.get(3) {
        if signatures.len() > MAX_SIGNATURES {
            return Err(CoseError::TooLong);
        }
        for signature in signatures {
            check_headers(signature.as_array().ok_or(CoseError::Malformed)?)?;
        }
    }
    Ok(*value)
}

/// A protected header of bounded length, and an empty unprotected one.
fn check_headers(parts: &[Value]) -> Result<(), CoseError> {
    match parts {
        [Value::Bytes(protected), Value::Map(unprotected), ..] => {
            let fits = protected.len() <= MAX_HEADER && unprotected.is_empty();
            if fits { Ok(()) } else { Err(CoseError::UnexpectedHeader) }
        }
        _ => Err(CoseError::Malformed),
    }
}

impl Message<'_> {
    fn check(&self) -> Result<(), SignError> {
        // Room for headers and the signatures, which are some 3.4 KB each.
        if self.payload.len() > MAX_OBJECT - 4_096 * MAX_SIGNATURES {
            return Err(SignError::TooLong);
        }
        let is_type = |text: &str| {
            let graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
            graphic && text.len() <= 127 && text.split('/').filter(|part| !part.is_empty()).count() == 2
        };
        if self.content_type.is_none_or(is_type) { Ok(()) } else { Err(SignError::Unbelievable) }
    }

    fn content_type(&self) -> Option<ContentType> {
        self.content_type.map(|text| ContentType::Text(text.to_owned()))
    }
}

impl Expect<'_> {
    fn check_content_type(&self, header: &Header) -> Result<(), CoseError> {
        let found = match &header.content_type {
            None => None,
            Some(ContentType::Text(text)) => Some(text.as_str()),
            Some(ContentType::Assigned(_)) => return Err(CoseError::ContentType),
        };
        if found == self.content_type { Ok(()) } else { Err(CoseError::ContentType) }
    }
}

impl SigningKey<'_> {
    fn header(&self) -> Header {
        HeaderBuilder::new()
            .algorithm(self.cose_algorithm())
            .key_id(self.thumbprint().as_bytes().to_vec())
            .build()
    }
}
