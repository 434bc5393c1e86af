#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use portal_core::id::{AccountId, Id, SessionId, SubjectId};
use portal_core::{Acr, Assurance, Role};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::sign::{SigningKey, VerifyingKey};
use crate::suite;

const ISSUER: &str = "https://portal.local";
const NOW: Timestamp = Timestamp::from_seconds(1_795_305_600);
const EXPECT: Expect<'_> = Expect {
    issuer: ISSUER,
    audience: "consent",
    now: NOW,
    leeway: Duration::from_secs(5),
    suites: Suites::ALL,
};

fn key(byte: u8) -> TokenKey {
    TokenKey::from_seed(&[byte; 32]).unwrap()
}

fn keys(key: &TokenKey) -> KeySet {
    let mut keys = KeySet::new();
    assert_eq!(keys.insert(key.verifying_key().clone()), *key.id());
    keys
}

fn claims() -> AccessClaims {
    AccessClaims {
        issuer: ISSUER.to_owned(),
        audience: "consent".to_owned(),
        subject: AccountId::parse("0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f").unwrap(),
        subject_id: SubjectId::parse("0198c3a4-7d1e-7cc3-98c4-dc0c0c073990").unwrap(),
        client_id: "portal".to_owned(),
        session_id: SessionId::parse("0198c3a4-7d1e-7cc3-98c4-dc0c0c073991").unwrap(),
        roles: vec![Role::Subject, Role::Auditor],
        scopes: vec!["consent:read".parse().unwrap(), "consent:write".parse().unwrap()],
        assurance: Some(Assurance {
            acr: Acr::Mfa,
            authenticated_at: NOW.minus(Duration::from_secs(60)),
            has_second_factor: true,
        }),
        issued_at: NOW,
        not_before: NOW,
        expires_at: NOW.plus(MAX_LIFE),
        token_id: "t-1".to_owned(),
        holder: Some("spiffe://portal.local/gateway".to_owned()),
    }
}

/// A token with this header and these claims, correctly signed by `key`.
fn forge(key: &TokenKey, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", base64url::encode(header), base64url::encode(claims));
    let signature = base64url::encode(key.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

fn header(key: &TokenKey) -> String {
    String::from_utf8(base64url::decode(key.header()).unwrap()).unwrap()
}

/// The error for the usual claims after `change`.
fn refused(change: impl FnOnce(&mut Value)) -> TokenError {
    let key = key(1);
    let mut members: Value = serde_json::from_str(&claims().to_json()).unwrap();
    change(&mut members);
    verify(&forge(&key, &header(&key), &members.to_string()), &keys(&key), &EXPECT).unwrap_err()
}

/// Switched off, ML-DSA-65 signs no token and verifies none, at once; nothing else matters to tokens.
#[test]
fn an_algorithm_that_is_switched_off_neither_signs_nor_verifies() {
    let key = key(1);
    let token = issue(&claims(), &key, Suites::ALL).unwrap();
    for off in suite::Algorithm::ALL {
        let suites = Suites::all_but([off]);
        let (issued, read) =
            (issue(&claims(), &key, suites), verify(&token, &keys(&key), &Expect { suites, ..EXPECT }));
        if off == suite::Algorithm::MlDsa65 {
            assert_eq!(issued, Err(IssueError::Disabled(Disabled(off))));
            assert_eq!(read, Err(TokenError::Disabled(Disabled(off))));
        } else {
            assert!(issued.is_ok() && read.is_ok(), "{off}");
        }
    }
}

#[test]
fn what_is_issued_is_read_back() {
    let key = key(1);
    let token = issue(&claims(), &key, Suites::ALL).unwrap();
    assert_eq!(verify(&token, &keys(&key), &EXPECT), Ok(claims()));
    assert!(token.len() < 6_000, "{} bytes", token.len());
    let bare = AccessClaims { roles: vec![], scopes: vec![], assurance: None, holder: None, ..claims() };
    assert_eq!(verify(&issue(&bare, &key, Suites::ALL).unwrap(), &keys(&key), &EXPECT), Ok(bare));
}

/// Nothing is made up of half of it.
#[test]
fn assurance_is_whole_or_absent() {
    for (name, value) in [
        ("acr", json!("0")),
        ("acr", json!(1)),
        ("auth_time", json!("now")),
        ("auth_time", Value::Null),
        ("second_factor", json!(0)),
        ("second_factor", Value::Null),
    ] {
        assert_eq!(refused(|claims| claims[name] = value.clone()), TokenError::Claim(name), "{value}");
    }
}

#[test]
fn the_wire_format_is_that_of_rfc_9068() {
    let key = key(1);
    let token = issue(&claims(), &key, Suites::ALL).unwrap();
    let parts: Vec<_> = token.split('.').map(|part| base64url::decode(part).unwrap()).collect();
    let header: Value = serde_json::from_slice(&parts[0]).unwrap();
    assert_eq!(header, json!({"alg": "ML-DSA-65", "kid": key.id().as_str(), "typ": "at+jwt"}));
    let payload: Value = serde_json::from_slice(&parts[1]).unwrap();
    let expected = json!({
        "iss": ISSUER,
        "aud": "consent",
        "sub": "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f",
        "subject_id": "0198c3a4-7d1e-7cc3-98c4-dc0c0c073990",
        "client_id": "portal",
        "sid": "0198c3a4-7d1e-7cc3-98c4-dc0c0c073991",
        "roles": ["subject", "auditor"],
        "scope": "consent:read consent:write",
        "acr": "mfa",
        "auth_time": 1_795_305_540,
        "second_factor": true,
        "iat": 1_795_305_600,
        "nbf": 1_795_305_600,
        "exp": 1_795_305_900,
        "jti": "t-1",
        "cnf": { "spiffe_id": "spiffe://portal.local/gateway" },
    });
    assert_eq!(payload, expected);
    assert_eq!(parts[2].len(), 3_309);
}

#[test]
fn headers_that_this_issuer_does_not_write_are_refused() {
    let key = key(1);
    let kid = key.id().as_str();
    let check = |header: &str, error: TokenError| {
        let token = forge(&key, header, &claims().to_json());
        assert_eq!(verify(&token, &keys(&key), &EXPECT), Err(error), "{header}");
    };
    let with = |member: &str| format!(r#"{{"alg":"ML-DSA-65","kid":"{kid}","typ":"at+jwt",{member}}}"#);
    check(&with(r#""crit":["exp"]"#), TokenError::CriticalExtension);
    check(&with(r#""crit":[]"#), TokenError::CriticalExtension);
    for name in ["jku", "jwk", "x5c", "x5t", "x5t#S256", "x5u"] {
        check(&with(&format!(r#""{name}":"https://evil.example/keys""#)), TokenError::KeyInHeader);
    }
    check(&with(r#""zip":"DEF""#), TokenError::UnexpectedHeader);
    check(&with(r#""b64":false"#), TokenError::UnexpectedHeader);
    check(&with(r#""alg":"none""#), TokenError::DuplicateMember);
    for alg in ["none", "None", "", "HS256", "ES256", "ML-DSA-44", "ML-DSA-87", "ml-dsa-65"] {
        check(&format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"at+jwt"}}"#), TokenError::WrongAlgorithm);
    }
    check(&format!(r#"{{"kid":"{kid}","typ":"at+jwt"}}"#), TokenError::WrongAlgorithm);
    for typ in ["JWT", "at+JWT", "application/at+jwt", "logout+jwt", ""] {
        check(&format!(r#"{{"alg":"ML-DSA-65","kid":"{kid}","typ":"{typ}"}}"#), TokenError::WrongType);
    }
    check(&format!(r#"{{"alg":"ML-DSA-65","kid":"{kid}"}}"#), TokenError::WrongType);
    check(r#"{"alg":"ML-DSA-65","typ":"at+jwt"}"#, TokenError::UnknownKey);
    check(r#"{"alg":"ML-DSA-65","kid":"../../etc/passwd","typ":"at+jwt"}"#, TokenError::UnknownKey);
    for text in ["", "[]", "null", "{", "{}{}", "\"x\""] {
        check(text, TokenError::NotJson);
    }
}

#[test]
fn shapes_other_than_the_compact_one_are_refused() {
    let key = key(1);
    let token = issue(&claims(), &key, Suites::ALL).unwrap();
    let check = |token: &str, error: TokenError| {
        assert_eq!(verify(token, &keys(&key), &EXPECT), Err(error), "{token:.80}");
    };
    check("", TokenError::NotCompact);
    check("..", TokenError::NotJson);
    check(token.rsplit_once('.').unwrap().0, TokenError::NotCompact);
    check(&format!("{token}."), TokenError::NotCompact);
    check(&format!(".{token}"), TokenError::NotCompact);
    check(&format!("{token}="), TokenError::NotBase64Url);
    check(&format!(" {token}"), TokenError::NotBase64Url);
    check(&format!("{token}\n"), TokenError::NotBase64Url);
    check(&token.replacen('.', "=.", 1), TokenError::NotBase64Url);
    check(&format!("{token}AAAA"), TokenError::SignatureSize);
    check(&token[..token.len() - 4], TokenError::SignatureSize);
    check(&format!("{}.", token.rsplit_once('.').unwrap().0), TokenError::SignatureSize);
    check(&"a".repeat(MAX_TOKEN + 1), TokenError::TooLong);
    check(r#"{"payload":"e30","signature":""}"#, TokenError::NotCompact);
}

#[test]
fn a_changed_or_foreign_signature_is_refused() {
    let (ours, theirs) = (key(1), key(2));
    let token = issue(&claims(), &ours, Suites::ALL).unwrap();
    assert_eq!(verify(&token, &keys(&theirs), &EXPECT), Err(TokenError::UnknownKey));
    // Signed by another key, but naming ours.
    let forged = forge(&theirs, &header(&ours), &claims().to_json());
    assert_eq!(verify(&forged, &keys(&ours), &EXPECT), Err(TokenError::BadSignature));
    let raised = AccessClaims { roles: vec![Role::Operator], ..claims() };
    let raised = issue(&raised, &ours, Suites::ALL).unwrap();
    let mixed = format!("{}.{}", raised.rsplit_once('.').unwrap().0, token.rsplit_once('.').unwrap().1);
    assert_eq!(verify(&mixed, &keys(&ours), &EXPECT), Err(TokenError::BadSignature));
}

#[test]
fn claims_of_the_wrong_shape_are_named() {
    for name in ["iss", "aud", "sub", "subject_id", "client_id", "sid", "roles", "iat", "nbf", "exp", "jti"] {
        assert_eq!(
            refused(|claims| drop(claims.as_object_mut().unwrap().remove(name))),
            TokenError::Claim(name)
        );
        assert_eq!(refused(|claims| claims[name] = Value::Null), TokenError::Claim(name));
        assert_eq!(refused(|claims| claims[name] = json!({"a": 1})), TokenError::Claim(name));
        assert_eq!(refused(|claims| claims[name] = json!("")), TokenError::Claim(name));
        assert_eq!(refused(|claims| claims[name] = json!(1.5)), TokenError::Claim(name));
    }
    assert_eq!(refused(|claims| claims["aud"] = json!(["consent"])), TokenError::Claim("aud"));
    assert_eq!(refused(|claims| claims["roles"] = json!(["root"])), TokenError::Claim("roles"));
    assert_eq!(refused(|claims| claims["sub"] = json!("1")), TokenError::Claim("sub"));
    for scope in [json!(""), json!(" "), json!("a  b"), json!("a\tb"), json!(["a"])] {
        assert_eq!(refused(|claims| claims["scope"] = scope), TokenError::Claim("scope"));
    }
    for holder in [json!(null), json!("x"), json!({}), json!({ "jkt": "x" }), json!({ "spiffe_id": "" })] {
        assert_eq!(refused(|claims| claims["cnf"] = holder), TokenError::Claim("cnf"));
    }
    let both = json!({ "spiffe_id": "spiffe://portal.local/gateway", "jkt": "x" });
    assert_eq!(refused(|claims| claims["cnf"] = both), TokenError::Claim("cnf"));
    let key = key(1);
    let doubled = claims().to_json().replacen('{', r#"{"aud":"auth","#, 1);
    let token = forge(&key, &header(&key), &doubled);
    assert_eq!(verify(&token, &keys(&key), &EXPECT), Err(TokenError::DuplicateMember));
    let token = forge(&key, &header(&key), "not json");
    assert_eq!(verify(&token, &keys(&key), &EXPECT), Err(TokenError::NotJson));
}

#[test]
fn an_unknown_claim_is_ignored() {
    let key = key(1);
    let more = claims().to_json().replacen('{', r#"{"azp":"1","#, 1);
    assert_eq!(verify(&forge(&key, &header(&key), &more), &keys(&key), &EXPECT), Ok(claims()));
}

#[test]
fn issuer_audience_and_times_are_checked() {
    let now = NOW.as_seconds();
    assert_eq!(refused(|claims| claims["iss"] = json!("https://portal.local/")), TokenError::WrongIssuer);
    assert_eq!(refused(|claims| claims["aud"] = json!("auth")), TokenError::WrongAudience);
    assert_eq!(refused(|claims| claims["iat"] = json!(now + 6)), TokenError::IssuedInFuture);
    assert_eq!(refused(|claims| claims["nbf"] = json!(now + 6)), TokenError::NotYetValid);
    assert_eq!(refused(|claims| claims["exp"] = json!(now - 5)), TokenError::Expired);
    assert_eq!(refused(|claims| claims["exp"] = json!(now + 306)), TokenError::LifeTooLong);
    assert_eq!(refused(|claims| claims["exp"] = json!(i64::MAX)), TokenError::LifeTooLong);
    assert_eq!(refused(|claims| claims["exp"] = json!(u64::MAX)), TokenError::Claim("exp"));
    assert_eq!(refused(|claims| claims["exp"] = json!(i64::MIN)), TokenError::Expired);
    assert_eq!(refused(|claims| claims["iat"] = json!(i64::MIN)), TokenError::LifeTooLong);
}

#[test]
fn the_edges_of_validity() {
    let key = key(1);
    let token = issue(&claims(), &key, Suites::ALL).unwrap();
    let at = |now: Timestamp| verify(&token, &keys(&key), &Expect { now, ..EXPECT }).map(|_| ());
    let (expiry, tick) = (NOW.plus(MAX_LIFE).plus(EXPECT.leeway), Duration::from_micros(1));
    assert_eq!(at(NOW.minus(EXPECT.leeway)), Ok(()));
    assert_eq!(at(NOW.minus(EXPECT.leeway).minus(tick)), Err(TokenError::IssuedInFuture));
    assert_eq!(at(expiry.minus(tick)), Ok(()));
    assert_eq!(at(expiry), Err(TokenError::Expired));
}

#[test]
fn what_nobody_would_believe_is_not_issued() {
    let check = |claims: AccessClaims, error: TokenError| {
        assert_eq!(issue(&claims, &key(1), Suites::ALL), Err(IssueError::Unbelievable(error)));
    };
    let second = Duration::from_secs(1);
    check(AccessClaims { expires_at: NOW.plus(MAX_LIFE).plus(second), ..claims() }, TokenError::LifeTooLong);
    check(AccessClaims { expires_at: NOW.minus(second), ..claims() }, TokenError::Expired);
    check(AccessClaims { audience: String::new(), ..claims() }, TokenError::Claim("aud"));
    check(AccessClaims { client_id: "x".repeat(MAX_TOKEN), ..claims() }, TokenError::TooLong);
}

#[test]
fn a_key_set_survives_its_json() {
    let mut set = keys(&key(1));
    set.insert(key(2).verifying_key().clone());
    let text = set.to_jwks_json();
    assert_eq!(KeySet::from_jwks_json(&text), Ok(set.clone()));
    assert_eq!(set.ids().count(), 2);
    let first = &serde_json::from_str::<Value>(&text).unwrap()["keys"][0];
    assert_eq!(first["kty"], "AKP");
    assert_eq!(first["alg"], "ML-DSA-65");
    assert_eq!(KeySet::from_jwks_json(r#"{"keys":[]}"#), Ok(KeySet::new()));
}

#[test]
fn bad_key_sets_are_refused_whole() {
    let good: Value = serde_json::from_str(&keys(&key(1)).to_jwks_json()).unwrap();
    let good = &good["keys"][0];
    let check = |error: KeySetError, change: &dyn Fn(&mut Value)| {
        let mut bad = good.clone();
        change(&mut bad);
        assert_eq!(KeySet::from_jwks_json(&json!({ "keys": [bad] }).to_string()), Err(error), "{bad:.200}");
    };
    for secret in ["priv", "d", "k"] {
        check(KeySetError::SecretKey, &|key| key[secret] = json!("AA"));
    }
    check(KeySetError::WrongKeyId, &|key| key["kid"] = json!("mine"));
    check(KeySetError::WrongKeyId, &|key| key["kid"] = json!(1));
    check(KeySetError::WrongUse, &|key| key["use"] = json!("enc"));
    check(KeySetError::WrongUse, &|key| key["key_ops"] = json!(["sign"]));
    check(KeySetError::WrongUse, &|key| key["key_ops"] = json!("verify"));
    check(KeySetError::MalformedKey, &|key| key["pub"] = json!("AAAA"));
    check(KeySetError::MalformedKey, &|key| key["pub"] = json!(format!("{}=", key["pub"].as_str().unwrap())));
    for name in ["kty", "alg", "pub"] {
        check(KeySetError::MalformedKey, &|key| drop(key.as_object_mut().unwrap().remove(name)));
    }
    let twice = json!({ "keys": [good, good] }).to_string();
    assert_eq!(KeySet::from_jwks_json(&twice), Err(KeySetError::DuplicateKey));
    assert_eq!(KeySet::from_jwks_json(r#"{"keys":[],"keys":[]}"#), Err(KeySetError::DuplicateMember));
    assert_eq!(KeySet::from_jwks_json(r#"{"keys":{}}"#), Err(KeySetError::NotJson));
    assert_eq!(KeySet::from_jwks_json(r#"{"keys":[1]}"#), Err(KeySetError::NotJson));
    assert_eq!(KeySet::from_jwks_json("[]"), Err(KeySetError::NotJson));
    assert_eq!(KeySet::from_jwks_json(&" ".repeat(200_000)), Err(KeySetError::TooLong));
}

#[test]
fn keys_of_other_kinds_are_passed_over() {
    let good: Value = serde_json::from_str(&keys(&key(1)).to_jwks_json()).unwrap();
    let text = json!({ "keys": [
        { "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" },
        { "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA" },
        good["keys"][0],
    ] });
    assert_eq!(KeySet::from_jwks_json(&text.to_string()), Ok(keys(&key(1))));
    let symmetric = r#"{"keys":[{"kty":"oct","k":"AA"}]}"#;
    assert_eq!(KeySet::from_jwks_json(symmetric), Err(KeySetError::SecretKey));
}

#[test]
fn a_verifying_key_is_the_raw_encoding_only() {
    let bytes = SigningKey::from_seed(&[1; 32]).unwrap().verifying_key().as_bytes().to_vec();
    // The same key as X.509 writes it (RFC 9881), which the library would take as well.
    let prefix = b"\x30\x82\x07\xb2\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12\x03\x82\x07\xa1\x00";
    let x509 = [prefix.as_slice(), &bytes].concat();
    for wrong in [&bytes[1..], &[bytes.as_slice(), &[0]].concat(), &x509, &[]] {
        assert!(VerifyingKey::from_bytes(Algorithm::MlDsa65, wrong).is_err());
    }
    assert_eq!(Algorithm::from_id(0x0201), Some(Algorithm::MlDsa65));
    assert_eq!(Algorithm::from_id(0x0202), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_flipped_bit_is_refused(at: prop::sample::Index, bit in 0_u32..8) {
        let key = key(1);
        let mut token = issue(&claims(), &key, Suites::ALL).unwrap().into_bytes();
        let at = at.index(token.len());
        token[at] ^= 1_u8 << bit;
        if let Ok(token) = String::from_utf8(token) {
            prop_assert!(verify(&token, &keys(&key), &EXPECT).is_err());
        }
    }

    #[test]
    fn any_text_is_refused(text in ".{0,200}", dotted in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}") {
        prop_assert!(verify(&text, &keys(&key(1)), &EXPECT).is_err());
        prop_assert!(verify(&dotted, &keys(&key(1)), &EXPECT).is_err());
        prop_assert!(KeySet::from_jwks_json(&text).is_err());
    }

    #[test]
    fn any_claims_are_read_back(
        texts in prop::array::uniform4(".{1,40}"),
        scopes in prop::collection::vec("[!#-\\[\\]-~]{1,12}", 0..5),
        roles in prop::collection::vec(prop::sample::select(Role::ALL.to_vec()), 0..4),
        life in 0_u64..=300,
    ) {
        let [issuer, audience, client_id, token_id] = texts;
        let claims = AccessClaims {
            issuer, audience, client_id, token_id, roles,
            scopes: scopes.iter().map(|scope| scope.parse().unwrap()).collect(),
            expires_at: NOW.plus(Duration::from_secs(life)),
            ..claims()
        };
        let key = key(1);
        let token = issue(&claims, &key, Suites::ALL).unwrap();
        let expect = Expect { issuer: &claims.issuer, audience: &claims.audience, ..EXPECT };
        prop_assert_eq!(verify(&token, &keys(&key), &expect), Ok(claims.clone()));
    }
}
