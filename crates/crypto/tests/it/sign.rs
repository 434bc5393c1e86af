//! ML-DSA-65: keys of seeds, signatures, the JOSE forms of RFC 9964. Signatures of P-256 and Ed25519.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portal_crypto::sign::{Algorithm, SigningKey, VerifyingKey, ed25519, p256};
use portal_crypto::token::{KeyId, KeySet, KeySetError};
use serde_json::Value;

use crate::{array, hex, json, tests};

#[test]
fn rfc_9964_key_thumbprint_and_signature() {
    let mut vector = json(include_str!("../vectors/rfc9964-ml-dsa-65.json"));
    let key = SigningKey::from_seed(&array(&vector["priv"])).unwrap();
    assert_eq!(URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()), vector["jwk"]["pub"]);
    assert_eq!(KeyId::of(key.verifying_key()).as_str(), vector["jwk"]["kid"]);

    // The published key carries its private half, which no key set may.
    let set = |key: &Value| KeySet::from_jwks_json(&serde_json::json!({ "keys": [key] }).to_string());
    assert_eq!(set(&vector["jwk"]), Err(KeySetError::SecretKey));
    vector["jwk"].as_object_mut().unwrap().remove("priv").unwrap();
    let set = set(&vector["jwk"]).unwrap();
    let published = set.get(&KeyId::of(key.verifying_key())).unwrap();
    let (signed, signature) = vector["jws"].as_str().unwrap().rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert_eq!(published.verify(signed.as_bytes(), &signature), Ok(()));
    assert!(published.verify(&signed.as_bytes()[1..], &signature).is_err());
}

#[test]
fn ml_dsa_65_keys_come_from_their_seeds() {
    let vectors = json(include_str!("../vectors/mldsa-65-keygen.json"));
    let all: Vec<_> =
        ["acvp", "wycheproof"].into_iter().flat_map(|name| vectors[name].as_array().unwrap()).collect();
    assert_eq!(all.len(), 12);
    for vector in all {
        let key = SigningKey::from_seed(&array(&vector["seed"])).unwrap();
        assert_eq!(key.verifying_key().as_bytes(), hex(&vector["pk"]), "{}", vector["comment"]);
        let signature = key.sign(b"message").unwrap();
        assert_eq!(signature.len(), Algorithm::MlDsa65.signature_len());
        assert_eq!(key.verifying_key().verify(b"message", &signature), Ok(()));
        assert!(key.verifying_key().verify(b"massage", &signature).is_err());
        assert_ne!(signature, key.sign(b"message").unwrap(), "signing is hedged");
    }
}

#[test]
fn wycheproof_ml_dsa_65_signatures() {
    let vectors = json(include_str!("../vectors/wycheproof-mldsa-65-verify.json"));
    let (mut valid, mut invalid) = (0, 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = VerifyingKey::from_bytes(Algorithm::MlDsa65, &hex(&group["publicKey"])).ok();
        for test in group["tests"].as_array().unwrap() {
            let verified =
                key.as_ref().is_some_and(|key| key.verify(&hex(&test["msg"]), &hex(&test["sig"])).is_ok());
            assert_eq!(verified, test["result"] == "valid", "{}: {}", test["tcId"], test["comment"]);
            *(if verified { &mut valid } else { &mut invalid }) += 1;
        }
    }
    assert!(valid >= 21 && invalid >= 39, "{valid} valid, {invalid} invalid");
}

/// Signing is hedged, so the signatures are checked; that signing gives them without hedging is checked below the public
/// functions for the backend that can.
#[test]
fn wycheproof_ml_dsa_65_seeds_and_their_signatures() {
    let vectors = json(include_str!("../vectors/wycheproof-mldsa-65-sign.json"));
    let mut count = 0;
    for test in tests(&vectors) {
        let key = SigningKey::from_seed(&array(&test["seed"])).unwrap();
        let (message, signature) = (hex(&test["msg"]), hex(&test["sig"]));
        assert_eq!(
            key.verifying_key().verify(&message, &signature),
            Ok(()),
            "{}: {}",
            test["tcId"],
            test["comment"]
        );
        assert_eq!(
            key.verifying_key().verify(&message, &key.sign(&message).unwrap()),
            Ok(()),
            "{}",
            test["tcId"]
        );
        count += 1;
    }
    assert_eq!(count, 55);
}

#[test]
fn wycheproof_ecdsa_on_p_256() {
    let vectors = json(include_str!("../vectors/wycheproof-ecdsa-p256.json"));
    let (mut valid, mut invalid) = (0, 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        let point = hex(&group["publicKey"]);
        let key = p256::VerifyingKey::from_coordinates(&point[1..33], &point[33..]).unwrap();
        for test in tests(group) {
            let verified = key.verify(&hex(&test["msg"]), &hex(&test["sig"])).is_ok();
            assert_eq!(verified, crate::valid(test), "{}: {}", test["tcId"], test["comment"]);
            *(if verified { &mut valid } else { &mut invalid }) += 1;
        }
    }
    assert_eq!((valid, invalid), (173, 89));
}

#[test]
fn wycheproof_ed25519() {
    let vectors = json(include_str!("../vectors/wycheproof-ed25519.json"));
    let (mut valid, mut invalid) = (0, 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = ed25519::VerifyingKey::from_bytes(&hex(&group["publicKey"])).unwrap();
        for test in tests(group) {
            let verified = key.verify(&hex(&test["msg"]), &hex(&test["sig"])).is_ok();
            assert_eq!(verified, crate::valid(test), "{}: {}", test["tcId"], test["comment"]);
            *(if verified { &mut valid } else { &mut invalid }) += 1;
        }
    }
    assert_eq!((valid, invalid), (88, 63));
}
