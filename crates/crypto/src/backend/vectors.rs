//! Published answers below the public functions: expanded keys, given randomness, both backends in one run. Sources, and
//! what can't be run by which backend: `tests/vectors/README.md`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde_json::Value;

use super::rustcrypto;
use crate::hex;
use crate::kem::ml_kem::ParameterSet;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::bytes(value.as_str().unwrap())
}

fn tests(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// What both backends say.
fn decapsulate(set: ParameterSet, dk: &[u8], ciphertext: &[u8]) -> Option<[u8; 32]> {
    let ours = super::MlKemSecret::from_expanded(set, dk).and_then(|key| key.decapsulate(ciphertext));
    let theirs = rustcrypto::MlKemSecret::from_expanded(set, dk).and_then(|key| key.decapsulate(ciphertext));
    let [ours, theirs] = [ours, theirs].map(|secret| secret.map(|secret| *secret.expose()));
    assert_eq!(ours, theirs);
    ours
}

#[test]
fn acvp_ml_kem() {
    let vectors = json(include_str!("../../tests/vectors/acvp-ml-kem.json"));
    for set in ParameterSet::ALL {
        let vectors = &vectors[set.name()];
        for test in tests(&vectors["encapsulation"]) {
            let (ciphertext, secret) = (bytes(&test["c"]), bytes(&test["k"]));
            let key = rustcrypto::MlKemPublic::from_bytes(set, &bytes(&test["ek"])).unwrap();
            let mut out = vec![0; set.ciphertext_len()];
            let ours =
                key.encapsulate_with(bytes(&test["m"]).as_slice().try_into().unwrap(), &mut out).unwrap();
            assert_eq!(
                (out, ours.expose().to_vec()),
                (ciphertext.clone(), secret.clone()),
                "{}",
                test["tcId"]
            );
            let opened = decapsulate(set, &bytes(&test["dk"]), &ciphertext).unwrap();
            assert_eq!(opened.as_slice(), secret, "{}", test["tcId"]);
        }
        let decapsulation = &vectors["decapsulation"];
        for test in tests(&decapsulation["tests"]) {
            let secret = decapsulate(set, &bytes(&decapsulation["dk"]), &bytes(&test["c"])).unwrap();
            assert_eq!(secret.as_slice(), bytes(&test["k"]), "{}: {}", test["tcId"], test["reason"]);
        }
    }
}

#[test]
#[expect(deprecated, reason = "the expanded form is what the vectors have, and what goes to aws-lc-rs")]
fn ml_kem_seeds_expand_as_published() {
    use ml_kem::{ExpandedKeyEncoding, FromSeed, MlKem768, MlKem1024};
    let acvp = json(include_str!("../../tests/vectors/acvp-ml-kem.json"));
    let seed = |test: &Value| [bytes(&test["d"]), bytes(&test["z"])].concat().as_slice().try_into().unwrap();
    for test in tests(&acvp["ML-KEM-768"]["keyGen"]) {
        let (key, _) = MlKem768::from_seed(&seed(test));
        assert_eq!(key.to_expanded_bytes().as_slice(), bytes(&test["dk"]), "{}", test["tcId"]);
    }
    for test in tests(&acvp["ML-KEM-1024"]["keyGen"]) {
        let (key, _) = MlKem1024::from_seed(&seed(test));
        assert_eq!(key.to_expanded_bytes().as_slice(), bytes(&test["dk"]), "{}", test["tcId"]);
    }
    let wycheproof = json(include_str!("../../tests/vectors/wycheproof-mlkem-768-keygen.json"));
    for test in tests(&wycheproof["tests"]).iter().filter(|test| test["result"] == "valid") {
        let (key, _) = MlKem768::from_seed(bytes(&test["seed"]).as_slice().try_into().unwrap());
        assert_eq!(key.to_expanded_bytes().as_slice(), bytes(&test["dk"]), "{}", test["tcId"]);
    }
}

#[test]
fn wycheproof_ml_kem_768_expanded_keys() {
    let vectors = json(include_str!("../../tests/vectors/wycheproof-mlkem-768-semi-expanded.json"));
    for test in tests(&vectors["tests"]) {
        let secret = decapsulate(ParameterSet::MlKem768, &bytes(&test["dk"]), &bytes(&test["c"]));
        let expected = (test["result"] == "valid").then(|| bytes(&test["K"]));
        assert_eq!(secret.map(Vec::from), expected, "{}: {}", test["tcId"], test["comment"]);
    }
    assert_eq!(tests(&vectors["tests"]).len(), 9);
}

#[test]
fn wycheproof_ml_kem_768_encapsulation() {
    let vectors = json(include_str!("../../tests/vectors/wycheproof-mlkem-768-encaps.json"));
    for test in tests(&vectors["tests"]).iter().filter(|test| test["result"] == "valid") {
        let key = rustcrypto::MlKemPublic::from_bytes(ParameterSet::MlKem768, &bytes(&test["ek"])).unwrap();
        let mut out = vec![0; ParameterSet::MlKem768.ciphertext_len()];
        let secret =
            key.encapsulate_with(bytes(&test["m"]).as_slice().try_into().unwrap(), &mut out).unwrap();
        assert_eq!(out, bytes(&test["c"]), "{}: {}", test["tcId"], test["comment"]);
        assert_eq!(secret.expose().as_slice(), bytes(&test["K"]), "{}: {}", test["tcId"], test["comment"]);
    }
}

/// Keys of seeds and their signatures by the functions that stand behind the public ones, of both backends: the one that
/// computes, and RustCrypto's. What one of them signs the other verifies.
#[test]
fn ml_dsa_65_of_both_backends() {
    let keys = json(include_str!("../../tests/vectors/mldsa-65-keygen.json"));
    let keys = ["acvp", "wycheproof"].into_iter().flat_map(|source| tests(&keys[source]));
    let mut count = 0;
    for test in keys {
        let (seed, public): ([u8; 32], _) = (bytes(&test["seed"]).try_into().unwrap(), bytes(&test["pk"]));
        let ours = super::MlDsa65Secret::from_seed(&seed).unwrap();
        let theirs = rustcrypto::MlDsa65Secret::from_seed(&seed).unwrap();
        let (our_public, their_public) = (ours.public().unwrap(), theirs.public().unwrap());
        assert_eq!((our_public.bytes(), their_public.bytes()), (&*public, &*public), "{}", test["comment"]);
        let (our, their) = (ours.sign(b"message").unwrap(), theirs.sign(b"message").unwrap());
        assert!(our_public.verify(b"message", &their) && their_public.verify(b"message", &our));
        count += 1;
    }
    assert_eq!(count, 12);

    let vectors = json(include_str!("../../tests/vectors/wycheproof-mldsa-65-verify.json"));
    let mut verified = [0, 0];
    for group in tests(&vectors["testGroups"]) {
        let key = bytes(&group["publicKey"]);
        let ours = super::MlDsa65Public::from_bytes(&key);
        let theirs = rustcrypto::MlDsa65Public::from_bytes(&key);
        for test in tests(&group["tests"]) {
            let (message, signature) = (bytes(&test["msg"]), bytes(&test["sig"]));
            let expected = test["result"] == "valid";
            let ours = ours.as_ref().is_some_and(|key| key.verify(&message, &signature));
            let theirs = theirs.as_ref().is_some_and(|key| key.verify(&message, &signature));
            assert_eq!((ours, theirs), (expected, expected), "{}: {}", test["tcId"], test["comment"]);
            verified[usize::from(expected)] += 1;
        }
    }
    assert!(verified[0] >= 39 && verified[1] >= 21, "{verified:?}");

    let vectors = json(include_str!("../../tests/vectors/wycheproof-mldsa-65-sign.json"));
    for test in tests(&vectors["tests"]) {
        let (message, signature) = (bytes(&test["msg"]), bytes(&test["sig"]));
        let seed: [u8; 32] = bytes(&test["seed"]).try_into().unwrap();
        let ours = super::MlDsa65Secret::from_seed(&seed).unwrap().public().unwrap();
        let theirs = rustcrypto::MlDsa65Secret::from_seed(&seed).unwrap().public().unwrap();
        assert!(ours.verify(&message, &signature) && theirs.verify(&message, &signature), "{}", test["tcId"]);
    }
}

/// Keys that ACVP encapsulates to, taken by both backends; the secret that each of them makes is opened by the other.
#[test]
fn acvp_encapsulation_keys_of_both_backends() {
    let vectors = json(include_str!("../../tests/vectors/acvp-ml-kem.json"));
    for set in ParameterSet::ALL {
        for test in tests(&vectors[set.name()]["encapsulation"]) {
            let (public, secret) = (bytes(&test["ek"]), bytes(&test["dk"]));
            let mut out = vec![0; set.ciphertext_len()];
            let ours = super::MlKemPublic::from_bytes(set, &public).unwrap().encapsulate(&mut out).unwrap();
            assert_eq!(decapsulate(set, &secret, &out), Some(*ours.expose()), "{}", test["tcId"]);
            let theirs = rustcrypto::MlKemPublic::from_bytes(set, &public).unwrap();
            let theirs = theirs.encapsulate(&mut out).unwrap();
            assert_eq!(decapsulate(set, &secret, &out), Some(*theirs.expose()), "{}", test["tcId"]);
        }
    }
}

/// ACVP's signatures are those of `ML-DSA.Sign_internal` under expanded keys (FIPS 204, algorithm 7): of the crate that is
/// RustCrypto's backend, since no function of ours and none of aws-lc-rs has that interface.
#[test]
#[expect(deprecated, reason = "the expanded form is what the vectors have")]
fn acvp_ml_dsa_65() {
    use ml_dsa::{B32, ExpandedSigningKey, MlDsa65, Signature, VerifyingKey};
    let vectors = json(include_str!("../../tests/vectors/acvp-ml-dsa-65.json"));
    for test in tests(&vectors["sigGen"]) {
        let key =
            ExpandedSigningKey::<MlDsa65>::from_expanded(bytes(&test["sk"]).as_slice().try_into().unwrap());
        let random = if test["rnd"].is_null() { vec![0; 32] } else { bytes(&test["rnd"]) };
        let random = B32::try_from(random.as_slice()).unwrap();
        let signature = key.sign_internal(&[&bytes(&test["message"])], &random);
        assert_eq!(signature.encode().as_slice(), bytes(&test["signature"]), "{}", test["tcId"]);
    }
    for group in tests(&vectors["sigVer"]) {
        let key = VerifyingKey::<MlDsa65>::decode(bytes(&group["pk"]).as_slice().try_into().unwrap());
        for test in tests(&group["tests"]) {
            let verified = Signature::try_from(bytes(&test["signature"]).as_slice())
                .is_ok_and(|signature| key.verify_internal(&bytes(&test["message"]), &signature));
            assert_eq!(
                verified,
                test["testPassed"].as_bool().unwrap(),
                "{}: {}",
                test["tcId"],
                test["reason"]
            );
        }
    }
}

#[test]
fn wycheproof_ml_dsa_65_signing_without_hedging() {
    use ml_dsa::{MlDsa65, SigningKey};
    let vectors = json(include_str!("../../tests/vectors/wycheproof-mldsa-65-sign.json"));
    for test in tests(&vectors["tests"]) {
        let key = SigningKey::<MlDsa65>::from_seed(bytes(&test["seed"]).as_slice().try_into().unwrap());
        let signature = key.expanded_key().sign_deterministic(&bytes(&test["msg"]), &[]).unwrap();
        assert_eq!(
            signature.encode().as_slice(),
            bytes(&test["sig"]),
            "{}: {}",
            test["tcId"],
            test["comment"]
        );
    }
}
