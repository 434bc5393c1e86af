//! Wycheproof's tokens and keys of classical JOSE: whatever they are good or bad for elsewhere, here none is taken.

use std::time::Duration;

use portal_core::Timestamp;
use portal_crypto::jws;
use portal_crypto::pair::PairSigningKey;
use portal_crypto::suite::Suites;
use portal_crypto::token::{self, Expect, KeySet, KeySetError, TokenError};
use serde_json::json;

use super::json;

#[test]
fn classical_tokens_are_refused() {
    let vectors = json(include_str!("../vectors/wycheproof-jose.json"));
    let pair = PairSigningKey::from_seed(&[1; 64]).unwrap();
    let mut keys = KeySet::new();
    keys.insert(pair.verifying_key().ml_dsa_65().clone());
    let expect = Expect {
        issuer: "issuer",
        audience: "audience",
        now: Timestamp::from_seconds(1_763_800_000),
        leeway: Duration::ZERO,
        suites: Suites::ALL,
    };
    let tokens = vectors["jws"].as_array().unwrap();
    assert!(tokens.len() > 200);
    for test in tokens {
        let text = test["jws"].as_str().unwrap();
        let error = token::verify(text, &keys, &expect).unwrap_err();
        // For what it is, not for a signature that happened not to verify.
        assert_ne!(error, TokenError::BadSignature, "{}: {}", test["tcId"], test["comment"]);
        assert!(jws::verify(text, "type", pair.verifying_key(), Suites::ALL).is_err());
    }
}

#[test]
fn classical_keys_are_passed_over_and_secret_ones_refused() {
    let vectors = json(include_str!("../vectors/wycheproof-jose.json"));
    let (mut passed_over, mut refused) = (0, 0);
    for set in vectors["jwks"].as_array().unwrap() {
        let secret = set["keys"]
            .as_array()
            .unwrap()
            .iter()
            .any(|key| key.get("d").is_some() || key.get("k").is_some());
        let read = KeySet::from_jwks_json(&json!({ "keys": set["keys"] }).to_string());
        if secret {
            assert_eq!(read, Err(KeySetError::SecretKey), "{}", set["comment"]);
            refused += 1;
        } else {
            assert_eq!(read, Ok(KeySet::new()), "{}", set["comment"]);
            passed_over += 1;
        }
    }
    assert!(passed_over > 20 && refused > 20, "{passed_over} passed over, {refused} refused");
}
