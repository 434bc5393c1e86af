//! Statements that have to be believed for long, of an erasure for example: a payload and its media type, signed by both
//! halves of a key pair.
//!
//! A statement is a tagged COSE_Sign ([`crate::cose`]): the payload as it was given, the thumbprints of the two keys, a
//! signature of Ed25519 and one of ML-DSA-65. Both verify or the statement says nothing. It has one encoding; whoever
//! has it needs the verifying key and this format, and nothing of Portal.

use serde_json::json;

use crate::base64url;
use crate::cose::{self, CoseError, Expect, Key, Message, SignError, SigningKey};
use crate::pair::{PairSigningKey, PairVerifyingKey};
use crate::suite::{Algorithm, Suites};

/// Signs the statement `payload` of the media type `media_type`.
///
/// # Errors
/// [`SignError`], one variant per cause.
pub fn sign(media_type: &str, payload: &[u8], key: &PairSigningKey) -> Result<Vec<u8>, SignError> {
    let message = Message { content_type: Some(media_type), payload, external_aad: &[] };
    cose::sign(&message, &SigningKey::both(key))
}

/// The payload of `statement`, if it is of the media type `media_type` and both halves of `key` have signed it.
///
/// # Errors
/// [`CoseError`], one variant per cause.
pub fn verify(
    statement: &[u8],
    media_type: &str,
    key: &PairVerifyingKey,
    suites: Suites,
) -> Result<Vec<u8>, CoseError> {
    suites.require(Algorithm::MlDsa65Ed25519)?;
    let keys = Key::both(key);
    let expect = Expect { content_type: Some(media_type), keys: &keys, external_aad: &[], suites };
    cose::verify(statement, &expect)
}

/// The verifying key as a JWK set (RFC 8037, RFC 9964): each half with the `kid` that statements name it by.
#[must_use]
pub fn jwks(key: &PairVerifyingKey) -> String {
    let jwk = |half: Key| {
        let kid = base64url::encode(half.thumbprint().as_bytes());
        match half {
            Key::Ed25519(key) => json!({
                "kty": "OKP", "crv": "Ed25519", "alg": "Ed25519", "use": "sig", "kid": kid,
                "x": base64url::encode(key.as_bytes()),
            }),
            Key::MlDsa65(key) => json!({
                "kty": "AKP", "alg": "ML-DSA-65", "use": "sig", "kid": kid,
                "pub": base64url::encode(key.as_bytes()),
            }),
        }
    };
    json!({ "keys": Key::both(key).map(jwk) }).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::hex;
    use crate::suite::Disabled;

    const TYPE: &str = "application/vnd.portal.statement+json";

    fn pair(seed: u8) -> PairSigningKey {
        PairSigningKey::from_seed(&[seed; 64]).unwrap()
    }

    #[test]
    fn a_statement_says_what_both_keys_have_signed() {
        let (ours, theirs) = (pair(1), pair(2));
        let statement = sign(TYPE, b"{}", &ours).unwrap();
        assert!(statement.len() < 3_600, "{} bytes", statement.len());
        let verify = |key: &PairSigningKey, media_type: &str, suites: Suites| {
            verify(&statement, media_type, key.verifying_key(), suites)
        };
        assert_eq!(verify(&ours, TYPE, Suites::ALL).unwrap(), b"{}");
        assert_eq!(verify(&theirs, TYPE, Suites::ALL), Err(CoseError::UnknownKey));
        assert_eq!(verify(&ours, "application/json", Suites::ALL), Err(CoseError::ContentType));
        for off in [Algorithm::MlDsa65Ed25519, Algorithm::MlDsa65, Algorithm::Ed25519] {
            let disabled = CoseError::Disabled(Disabled(off));
            assert_eq!(verify(&ours, TYPE, Suites::all_but([off])), Err(disabled));
        }
    }

    /// Put together with PyCA cryptography, dilithium-py and cbor2. All but the last signature is the same at each signing; what is on paper somewhere must verify for ever.
    #[test]
    fn the_format_never_changes() {
        let statement = sign(TYPE, b"{}", &pair(1)).unwrap();
        let head = &statement[..statement.len() - 3_309];
        let expected = "d862845829a10378256170706c69636174696f6e2f766e642e706f7274616c2e73746174656d656e742b6a736f6ea0427b7d82835826a20132045820dd2fb4e18b5e1ce30c4633aaa5f681da79c3b32998cc5aa21b1149c37231a6aca0584058ee432bcf56395ebe840eb9db6286f0994400fcdde1cb93a48cd204c13e04c8164ead7baf8d748f443fce47f3bedbebb453e33ce043afbfe5112a7a5d15cb08835827a2013830045820604a7b696cc7a899977fb7a743e16793171d3a96863687aedeb8b6a0c4206efaa0590ced";
        assert_eq!(head, hex::decode::<205>(expected).unwrap());
    }

    #[test]
    fn the_verifying_key_is_told_with_the_ids_that_statements_name() {
        let ours = pair(1);
        let set: serde_json::Value = serde_json::from_str(&jwks(ours.verifying_key())).unwrap();
        let [classical, quantum_safe] = &set["keys"].as_array().unwrap()[..] else { panic!("{set}") };
        let bytes = |value: &serde_json::Value| base64url::decode(value.as_str().unwrap()).unwrap();
        assert_eq!((&classical["kty"], &quantum_safe["kty"]), (&json!("OKP"), &json!("AKP")));
        let public = [bytes(&classical["x"]), bytes(&quantum_safe["pub"])].concat();
        assert_eq!(public, ours.verifying_key().to_bytes());
        let statement = sign(TYPE, b"{}", &ours).unwrap();
        for half in [classical, quantum_safe] {
            let kid = bytes(&half["kid"]);
            assert!(statement.windows(kid.len()).any(|part| part == kid), "{half}");
        }
    }
}
