//! Files with the keys of a ledger: what `GetLedgerKeys` answers (JSON), a JWK set, or a COSE key set.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use portal_crypto::cose::Key;
use portal_crypto::sign::{self, ed25519};
use serde_json::{Map, Value};

/// Base64 with either alphabet, padded or not: what JSON of protobuf, JOSE and people write.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let web = text.contains(['-', '_']);
    let alphabet = if web { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}

/// Why a file gives no keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidKeys {
    /// Neither JSON nor CBOR of any of the three forms.
    #[error("not a set of keys: expected the answer of GetLedgerKeys, a JWK set or a COSE key set")]
    Malformed,
    /// A key is of an algorithm that is known, but its bytes are no such key.
    #[error("key {0} is not a public key of its algorithm")]
    NoKey(usize),
    /// No key is of ML-DSA-65, without which no receipt verifies.
    #[error("there is no key of ML-DSA-65")]
    NoneUsable,
    /// A key is a private one.
    #[error("key {0} is a private key, which belongs in no such file")]
    Private(usize),
}

/// The keys in a file. Keys of algorithms that sign no ledger are passed over.
///
/// # Errors
/// [`InvalidKeys`], one variant per cause.
pub fn parse(bytes: &[u8]) -> Result<Vec<Key>, InvalidKeys> {
    let keys = if bytes.trim_ascii_start().first() == Some(&b'{') {
        let json: Value = serde_json::from_slice(bytes).map_err(|_| InvalidKeys::Malformed)?;
        let keys = json.get("keys").and_then(Value::as_array).ok_or(InvalidKeys::Malformed)?;
        let read =
            |(nth, key): (usize, &Value)| json_key(key.as_object().ok_or(InvalidKeys::Malformed)?, nth + 1);
        keys.iter().enumerate().filter_map(|key| read(key).transpose()).collect()
    } else {
        Key::from_cose_key_set(bytes).map_err(|_| InvalidKeys::Malformed)
    };
    let keys: Vec<Key> = keys?;
    let usable = keys.iter().any(|key| matches!(key, Key::MlDsa65(_)));
    if usable { Ok(keys) } else { Err(InvalidKeys::NoneUsable) }
}

/// A JWK (RFC 9964, RFC 8037) or a `LedgerKey`; `None` if it is of another algorithm.
fn json_key(key: &Map<String, Value>, nth: usize) -> Result<Option<Key>, InvalidKeys> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    if key.contains_key("priv") || key.contains_key("d") {
        return Err(InvalidKeys::Private(nth));
    }
    let (algorithm, encoded) = match (text("kty"), text("algorithm")) {
        (Some("AKP"), _) => (text("alg").unwrap_or_default(), text("pub")),
        (Some("OKP"), _) => (text("crv").unwrap_or_default(), text("x")),
        (Some(_), _) => return Ok(None),
        (None, Some(algorithm)) => (algorithm, text("publicKey").or_else(|| text("public_key"))),
        (None, None) => return Err(InvalidKeys::Malformed),
    };
    let bytes = || encoded.and_then(base64).ok_or(InvalidKeys::NoKey(nth));
    match algorithm {
        "ML-DSA-65" | "LEDGER_KEY_ALGORITHM_ML_DSA_65" => {
            sign::VerifyingKey::from_bytes(sign::Algorithm::MlDsa65, &bytes()?)
                .map(|key| Some(Key::MlDsa65(key)))
                .map_err(|_| InvalidKeys::NoKey(nth))
        }
        "Ed25519" | "LEDGER_KEY_ALGORITHM_ED25519" => ed25519::VerifyingKey::from_bytes(&bytes()?)
            .map(|key| Some(Key::Ed25519(key)))
            .map_err(|_| InvalidKeys::NoKey(nth)),
        _ => Ok(None),
    }
}
