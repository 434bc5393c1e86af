//! Signing a payload: COSE_Sign1 with ML-DSA-65 (RFC 9964).

use portal_crypto::cose::{self, Message, SigningKey};

pub use portal_crypto::cose::SignError;

/// The media type of the payload, in the protected header: a signature of a receipt is one of nothing else.
pub const CONTENT_TYPE: &str = "application/vnd.portal.receipt+cbor";

/// The signed receipt of `payload`.
///
/// # Errors
/// [`SignError`].
pub fn sign(payload: &[u8], key: &portal_crypto::sign::SigningKey) -> Result<Vec<u8>, SignError> {
    let message = Message { content_type: Some(CONTENT_TYPE), payload, external_aad: &[] };
    cose::sign1(&message, SigningKey::MlDsa65(key))
}
