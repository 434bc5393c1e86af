#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use proptest::prelude::*;

use super::*;

const TYPE: &str = "statement+jws";

fn pair(seed: u8) -> PairSigningKey {
    PairSigningKey::from_seed(&[seed; 64]).unwrap()
}

fn check(object: &str) -> Result<Vec<u8>, JwsError> {
    verify(object, TYPE, pair(1).verifying_key(), Suites::ALL)
}

fn object() -> Value {
    serde_json::from_str(&sign(b"payload", TYPE, &pair(1)).unwrap()).unwrap()
}

/// Signed again with this header, so that nothing else is wrong.
fn with_header(change: impl Fn(&mut Map<String, Value>)) -> String {
    let (mut object, key) = (object(), pair(1));
    for at in [0, 1] {
        let protected = object["signatures"][at]["protected"].as_str().unwrap();
        let mut header = strict_json::object(&base64url::decode(protected).unwrap()).unwrap();
        change(&mut header);
        let protected = base64url::encode(Value::Object(header).to_string());
        let bytes = signed(&protected, object["payload"].as_str().unwrap());
        let signature = if at == 0 {
            key.ed25519().sign(&bytes).unwrap().to_vec()
        } else {
            key.ml_dsa_65().sign(&bytes).unwrap()
        };
        object["signatures"][at] =
            json!({ "protected": protected, "signature": base64url::encode(signature) });
    }
    object.to_string()
}

#[test]
fn both_halves_have_to_sign() {
    assert_eq!(check(&object().to_string()).unwrap(), b"payload");
    let swapped = |one: usize, two: usize| {
        let mut object = object();
        let signatures = object["signatures"].clone();
        object["signatures"] = json!([signatures[one], signatures[two]]);
        check(&object.to_string())
    };
    assert_eq!(swapped(1, 0).unwrap(), b"payload", "in any order");
    assert_eq!(swapped(0, 0), Err(JwsError::MissingSignature));
    assert_eq!(swapped(1, 1), Err(JwsError::MissingSignature));
    for at in [0, 1] {
        let mut object = object();
        object["signatures"].as_array_mut().unwrap().remove(at);
        assert_eq!(check(&object.to_string()), Err(JwsError::MissingSignature));
    }
    let mut three = object();
    let third = three["signatures"][0].clone();
    three["signatures"].as_array_mut().unwrap().push(third);
    assert_eq!(check(&three.to_string()), Err(JwsError::MissingSignature));
    let foreign = sign(b"payload", TYPE, &pair(2)).unwrap();
    assert_eq!(check(&foreign), Err(JwsError::UnknownKey));
    for algorithm in [Algorithm::Ed25519, Algorithm::MlDsa65] {
        let suites = Suites::all_but([algorithm]);
        let verified = verify(&object().to_string(), TYPE, pair(1).verifying_key(), suites);
        assert_eq!(verified, Err(JwsError::Disabled(Disabled(algorithm))));
    }
}

#[test]
fn headers_have_what_they_should_and_nothing_else() {
    assert_eq!(check(&with_header(|_| ())).unwrap(), b"payload");
    let set = |name: &'static str, value: Value| {
        check(&with_header(move |header| drop(header.insert(name.to_owned(), value.clone()))))
    };
    assert_eq!(set("typ", json!("at+jwt")), Err(JwsError::WrongType));
    for alg in ["none", "EdDSA", "HS256", "ES256", "ML-DSA-44", "ml-dsa-65", ""] {
        assert_eq!(set("alg", json!(alg)), Err(JwsError::WrongAlgorithm), "{alg}");
    }
    assert_eq!(set("alg", json!("Ed25519")), Err(JwsError::WrongAlgorithm), "of the ML-DSA-65 key");
    assert_eq!(set("kid", json!("other")), Err(JwsError::UnknownKey));
    for name in ["crit", "b64", "jwk", "jku", "x5c", "cty"] {
        assert_eq!(set(name, json!("x")), Err(JwsError::NotJws), "{name}");
    }
    for name in ["alg", "kid", "typ"] {
        assert_eq!(set(name, json!(1)), Err(JwsError::NotJws), "{name}");
        let removed = check(&with_header(|header| drop(header.remove(name))));
        assert_eq!(removed, Err(JwsError::NotJws), "{name}");
    }
}

#[test]
fn changes_are_refused() {
    let text = object().to_string();
    for (from, to, why) in [
        (r#""payload":""#, r#""payload":"A"#, JwsError::BadSignature),
        (r#""signature":""#, r#""signature":"AAAA"#, JwsError::BadSignature),
        (r#""protected":""#, r#""protected":"=""#, JwsError::NotJws),
        ("\"payload\"", "\"header\":{},\"payload\"", JwsError::NotJws),
        ("\"protected\"", "\"header\":{},\"protected\"", JwsError::NotJws),
        ("\"protected\"", "\"signature\":\"\",\"protected\"", JwsError::DuplicateMember),
        ("{", "[{", JwsError::NotJws),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert_eq!(check(&changed), Err(why), "{from} → {to}");
    }
    let padded = text.replacen("\",\"signatures", "=\",\"signatures", 1);
    assert_eq!(check(&padded), Err(JwsError::BadSignature));
    assert_eq!(check(&" ".repeat(MAX_OBJECT + 1)), Err(JwsError::TooLong));
}

#[test]
fn key_ids_are_thumbprints() {
    // RFC 8037, appendix A.3.
    let public = base64url::decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
    let key = ed25519::VerifyingKey::from_bytes(&public).unwrap();
    assert_eq!(ed25519_id(&key).as_str(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

proptest! {
    #[test]
    fn any_text_is_refused(text in r#"[{}\[\]":,a-z0-9.]{0,80}"#) {
        prop_assert!(check(&text).is_err());
    }
}
