//! ML-KEM and X-Wing: keys of seeds, decapsulation, which encapsulation keys are taken.

use portal_crypto::kem::ml_kem::{DecapsulationKey, EncapsulationKey, ParameterSet};
use portal_crypto::kem::x_wing;
use serde_json::Value;

use crate::{array, hex, json, tests, valid};

#[test]
fn x_wing_draft() {
    let vectors = json(include_str!("../vectors/x-wing.json"));
    for vector in vectors.as_array().unwrap() {
        let key = x_wing::DecapsulationKey::from_seed(&array(&vector["seed"])).unwrap();
        assert_eq!(key.encapsulation_key().to_bytes().as_slice(), hex(&vector["pk"]));
        assert_eq!(key.decapsulate(&hex(&vector["ct"])).unwrap().expose().as_slice(), hex(&vector["ss"]));
    }
    assert_eq!(vectors.as_array().unwrap().len(), 3);
}

fn from_seed(set: ParameterSet, seed: &Value) -> Option<DecapsulationKey> {
    DecapsulationKey::from_seed(set, hex(seed).as_slice().try_into().ok()?).ok()
}

#[test]
fn acvp_ml_kem_key_generation() {
    let vectors = json(include_str!("../vectors/acvp-ml-kem.json"));
    for set in ParameterSet::ALL {
        for test in vectors[set.name()]["keyGen"].as_array().unwrap() {
            let seed: [u8; 64] = [hex(&test["d"]), hex(&test["z"])].concat().try_into().unwrap();
            let key = DecapsulationKey::from_seed(set, &seed).unwrap();
            assert_eq!(key.encapsulation_key().as_bytes(), hex(&test["ek"]), "{}", test["tcId"]);
        }
    }
}

#[test]
fn wycheproof_ml_kem_768() {
    let vectors = json(include_str!("../vectors/wycheproof-mlkem-768.json"));
    let (mut passed, mut failed) = (0, 0);
    for test in tests(&vectors) {
        let secret = from_seed(ParameterSet::MlKem768, &test["seed"])
            .and_then(|key| key.decapsulate(&hex(&test["c"])).ok());
        assert_eq!(secret.is_some(), valid(test), "{}: {}", test["tcId"], test["comment"]);
        if let Some(secret) = secret {
            assert_eq!(secret.expose().as_slice(), hex(&test["K"]), "{}: {}", test["tcId"], test["comment"]);
            passed += 1;
        } else {
            failed += 1;
        }
    }
    assert!(passed >= 70 && failed >= 40, "{passed} passed, {failed} failed");
}

#[test]
fn wycheproof_ml_kem_768_key_generation() {
    let vectors = json(include_str!("../vectors/wycheproof-mlkem-768-keygen.json"));
    let mut count = 0;
    for test in tests(&vectors) {
        let key = from_seed(ParameterSet::MlKem768, &test["seed"]);
        assert_eq!(key.is_some(), valid(test), "{}: {}", test["tcId"], test["comment"]);
        if let Some(key) = key {
            assert_eq!(key.encapsulation_key().as_bytes(), hex(&test["ek"]), "{}", test["tcId"]);
            let (ciphertext, secret) = key.encapsulation_key().encapsulate().unwrap();
            assert_eq!(key.decapsulate(&ciphertext).unwrap().expose(), secret.expose(), "{}", test["tcId"]);
        }
        count += 1;
    }
    assert!(count >= 20, "{count}");
}

/// The keys of the encapsulation tests: which are taken, and that something can be encapsulated to those.
#[test]
fn wycheproof_ml_kem_768_encapsulation_keys() {
    let vectors = json(include_str!("../vectors/wycheproof-mlkem-768-encaps.json"));
    let (mut taken, mut refused) = (0, 0);
    for test in tests(&vectors) {
        let key = EncapsulationKey::from_bytes(ParameterSet::MlKem768, &hex(&test["ek"])).ok();
        assert_eq!(key.is_some(), valid(test), "{}: {}", test["tcId"], test["comment"]);
        if let Some(key) = key {
            key.encapsulate().unwrap();
            taken += 1;
        } else {
            refused += 1;
        }
    }
    assert!(taken >= 28 && refused >= 54, "{taken} taken, {refused} refused");
}
