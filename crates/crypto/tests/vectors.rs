//! Published answers: RFC 9964, ACVP, Wycheproof, the proofs of transparency-dev. Sources: `vectors/README.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portal_crypto::kem::x_wing;
use portal_crypto::merkle::TreeHead;
use portal_crypto::merkle::proof::{verify_consistency, verify_inclusion};
use portal_crypto::sign::{Algorithm, SigningKey, VerifyingKey};
use portal_crypto::token::{KeyId, KeySet, KeySetError};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn seed(value: &Value) -> [u8; 32] {
    hex(value).try_into().unwrap()
}

#[test]
fn x_wing_draft() {
    let vectors = json(include_str!("vectors/x-wing.json"));
    for vector in vectors.as_array().unwrap() {
        let key = x_wing::DecapsulationKey::from_seed(&seed(&vector["seed"])).unwrap();
        assert_eq!(key.encapsulation_key().to_bytes().as_slice(), hex(&vector["pk"]));
        assert_eq!(key.decapsulate(&hex(&vector["ct"])).unwrap().expose().as_slice(), hex(&vector["ss"]));
    }
    assert_eq!(vectors.as_array().unwrap().len(), 3);
}

#[test]
fn rfc_9964_key_thumbprint_and_signature() {
    let mut vector = json(include_str!("vectors/rfc9964-ml-dsa-65.json"));
    let key = SigningKey::from_seed(&seed(&vector["priv"])).unwrap();
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
    let vectors = json(include_str!("vectors/mldsa-65-keygen.json"));
    let all: Vec<_> =
        ["acvp", "wycheproof"].into_iter().flat_map(|name| vectors[name].as_array().unwrap()).collect();
    assert_eq!(all.len(), 12);
    for vector in all {
        let key = SigningKey::from_seed(&seed(&vector["seed"])).unwrap();
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
    let vectors = json(include_str!("vectors/wycheproof-mldsa-65-verify.json"));
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
    assert!(valid >= 3 && invalid >= 15, "{valid} valid, {invalid} invalid");
}

/// Some roots of the vectors are arbitrary text that is only compared: cut or filled up to 32 bytes. `None` for no
/// bytes at all, which our types can't hold.
fn hash(value: &Value) -> Option<[u8; 32]> {
    let mut bytes = STANDARD.decode(value.as_str()?).ok()?;
    if bytes.is_empty() {
        return None;
    }
    bytes.resize(32, 0);
    bytes.try_into().ok()
}

fn proof(value: &Value) -> Option<Vec<[u8; 32]>> {
    value.as_array().map_or(Some(Vec::new()), |hashes| hashes.iter().map(hash).collect())
}

#[test]
fn transparency_dev_inclusion_proofs() {
    for vector in json(include_str!("vectors/merkle-inclusion.json")).as_array().unwrap() {
        let verified = (|| {
            let head = TreeHead { size: vector["treeSize"].as_u64()?, root: hash(&vector["root"])? };
            let leaf = hash(&vector["leafHash"])?;
            verify_inclusion(&leaf, vector["leafIdx"].as_u64()?, &head, &proof(&vector["proof"])?).ok()
        })();
        assert_eq!(verified.is_none(), vector["wantErr"].as_bool().unwrap(), "{}", vector["file"]);
    }
}

#[test]
fn transparency_dev_consistency_proofs() {
    for vector in json(include_str!("vectors/merkle-consistency.json")).as_array().unwrap() {
        let verified = (|| {
            let head = |size: &str, root: &str| {
                Some(TreeHead { size: vector[size].as_u64()?, root: hash(&vector[root])? })
            };
            verify_consistency(&head("size1", "root1")?, &head("size2", "root2")?, &proof(&vector["proof"])?)
                .ok()
        })();
        assert_eq!(verified.is_none(), vector["wantErr"].as_bool().unwrap(), "{}", vector["file"]);
    }
}
