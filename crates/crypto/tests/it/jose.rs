//! Wycheproof's tokens and keys of classical JOSE: none is taken among services; for clients outside, those of ES256.

use std::time::Duration;

use portal_core::Timestamp;
use portal_crypto::jose::{self, JoseError, JwkError, PublicKey};
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

/// Tokens of ES256: the payload of the good ones is the word `foo`, which is refused after the signature was found right.
#[test]
fn wycheproof_es256() {
    let vectors = json(include_str!("../vectors/wycheproof-es256.json"));
    let expect = jose::Expect { typ: None, algorithms: &[jose::Algorithm::Es256], suites: Suites::ALL };
    let (mut valid, mut invalid) = (0, 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = PublicKey::from_jwk(group["public"].as_object().unwrap());
        for test in super::tests(group) {
            let text = test["jws"].as_str().unwrap();
            let verified = key.as_ref().is_ok_and(|key| {
                matches!(jose::verify(text, key, &expect), Ok(_) | Err(JoseError::NotClaims))
            });
            assert_eq!(verified, super::valid(test), "{}: {}", test["tcId"], test["comment"]);
            *(if verified { &mut valid } else { &mut invalid }) += 1;
        }
    }
    assert_eq!((valid, invalid), (2, 39));
}

#[test]
fn wycheproof_keys() {
    let vectors = json(include_str!("../vectors/wycheproof-jose.json"));
    let (mut taken, mut secret, mut refused) = (0, 0, 0);
    for key in vectors["jwks"].as_array().unwrap().iter().flat_map(|set| set["keys"].as_array().unwrap()) {
        let text = |name: &str| key[name].as_str().unwrap_or_default();
        match PublicKey::from_jwk(key.as_object().unwrap()) {
            Ok(_) => {
                assert_eq!((text("kty"), text("crv")), ("EC", "P-256"));
                taken += 1;
            }
            Err(JwkError::Secret) => secret += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(taken > 0 && secret > 20 && refused > 20, "{taken} taken, {secret} secret, {refused} refused");
}
