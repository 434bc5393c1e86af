#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use portal_core::SeededEntropy;
use proptest::prelude::*;

use super::*;

const EXPECT: Expect<'_> = Expect { typ: Some("JWT"), algorithms: &Algorithm::ALL, suites: Suites::ALL };

fn key(algorithm: Algorithm, seed: u8) -> SigningKey {
    SigningKey::from_seed(algorithm, &[seed; 32]).unwrap()
}

fn claims() -> Claims {
    json!({ "iss": "https://portal.local", "sub": "1" }).as_object().unwrap().clone()
}

/// A token with this header, signed as it should be, so that nothing else is wrong.
fn forge(key: &SigningKey, header: &str, payload: &str) -> String {
    let signed = format!("{}.{}", base64url::encode(header), base64url::encode(payload));
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", base64url::encode(signature))
}

#[test]
fn what_one_signs_its_public_key_verifies() {
    for algorithm in Algorithm::ALL {
        let (ours, theirs) = (key(algorithm, 1), key(algorithm, 2));
        let token = sign(&claims(), "JWT", &ours, Suites::ALL).unwrap();
        assert_eq!(named_key(&token).unwrap().unwrap(), ours.public_key().id().as_str());
        // By the key as others read it.
        let read = PublicKey::from_jwk(&ours.public_key().to_jwk(algorithm)).unwrap();
        assert_eq!(verify(&token, &read, &EXPECT), Ok(claims()));
        assert_eq!(verify(&token, theirs.public_key(), &EXPECT), Err(JoseError::BadSignature));
        let other = Expect { typ: Some("logout+jwt"), ..EXPECT };
        assert_eq!(verify(&token, &read, &other), Err(JoseError::WrongType));
        assert_eq!(verify(&token, &read, &Expect { typ: None, ..EXPECT }), Err(JoseError::WrongType));
        let others: Vec<_> = Algorithm::ALL.into_iter().filter(|other| *other != algorithm).collect();
        let other = Expect { algorithms: &others, ..EXPECT };
        assert_eq!(verify(&token, &read, &other), Err(JoseError::WrongAlgorithm));
    }
}

#[test]
fn a_key_takes_its_own_algorithms_alone() {
    for of_key in Algorithm::ALL {
        for named in Algorithm::ALL {
            let signer = key(of_key, 1);
            let header = format!(r#"{{"alg":"{named}","typ":"JWT"}}"#);
            let verified = verify(&forge(&signer, &header, "{}"), signer.public_key(), &EXPECT);
            // Two names of one algorithm: a key of the one is a key of the other.
            let same = of_key.suite() == named.suite();
            let expected = if same { Ok(Claims::new()) } else { Err(JoseError::WrongAlgorithm) };
            assert_eq!(verified, expected, "{of_key} key, {named} header");
        }
    }
}

#[test]
fn what_is_switched_off_neither_signs_nor_verifies() {
    for algorithm in Algorithm::ALL {
        let signer = key(algorithm, 1);
        let token = sign(&claims(), "JWT", &signer, Suites::ALL).unwrap();
        for off in suite::Algorithm::ALL {
            let suites = Suites::all_but([off]);
            let signed = sign(&claims(), "JWT", &signer, suites).map(drop);
            let verified = verify(&token, signer.public_key(), &Expect { suites, ..EXPECT }).map(drop);
            if off == algorithm.suite() {
                assert_eq!(signed, Err(SignError::Disabled(Disabled(off))));
                assert_eq!(verified, Err(JoseError::Disabled(Disabled(off))));
            } else {
                assert_eq!((signed, verified), (Ok(()), Ok(())), "{algorithm} without {off}");
            }
        }
    }
}

#[test]
fn headers_have_what_they_may_and_nothing_else() {
    let signer = key(Algorithm::Es256, 1);
    let check = |header: &str, error: JoseError| {
        let token = forge(&signer, header, "{}");
        assert_eq!(verify(&token, signer.public_key(), &EXPECT), Err(error), "{header}");
    };
    let with = |member: &str| format!(r#"{{"alg":"ES256","typ":"JWT",{member}}}"#);
    check(&with(r#""crit":["exp"]"#), JoseError::CriticalExtension);
    check(&with(r#""b64":false,"crit":[]"#), JoseError::UnexpectedHeader);
    for name in ["jku", "x5c", "x5t", "x5t#S256", "x5u"] {
        check(&with(&format!(r#""{name}":"https://evil.example/keys""#)), JoseError::KeyInHeader);
    }
    let own = Value::Object(signer.public_key().members());
    check(&with(&format!(r#""jwk":{own}"#)), JoseError::KeyInHeader);
    check(&with(r#""zip":"DEF""#), JoseError::UnexpectedHeader);
    check(&with(r#""kid":1"#), JoseError::UnexpectedHeader);
    check(&with(r#""alg":"none""#), JoseError::DuplicateMember);
    for alg in ["none", "None", "", "HS256", "RS256", "ES384", "es256", "ML-DSA-44"] {
        check(&format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#), JoseError::WrongAlgorithm);
    }
    check(r#"{"typ":"JWT"}"#, JoseError::WrongAlgorithm);
    check(r#"{"alg":["ES256"],"typ":"JWT"}"#, JoseError::WrongAlgorithm);
    for typ in ["", "jwt", "at+jwt", "application/jwt", "dpop+jwt"] {
        check(&format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#), JoseError::WrongType);
    }
    check(r#"{"alg":"ES256"}"#, JoseError::WrongType);
    check(r#"{"alg":"ES256","typ":null}"#, JoseError::WrongType);
    for text in ["", "[]", "null", "{", "{}{}", "\"x\""] {
        check(text, JoseError::NotJson);
    }
}

#[test]
fn other_shapes_are_refused() {
    let signer = key(Algorithm::Es256, 1);
    let token = sign(&claims(), "JWT", &signer, Suites::ALL).unwrap();
    let check = |token: &str, error: JoseError| {
        assert_eq!(verify(token, signer.public_key(), &EXPECT), Err(error), "{token:.80}");
    };
    check("", JoseError::NotCompact);
    check(token.rsplit_once('.').unwrap().0, JoseError::NotCompact);
    check(&format!("{token}."), JoseError::NotCompact);
    check(&format!("{token}="), JoseError::NotBase64Url);
    check(&format!(" {token}"), JoseError::NotBase64Url);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    check(&format!("{signed}.AAAA"), JoseError::BadSignature);
    let long = [base64url::decode(signature).unwrap(), vec![0]].concat();
    check(&format!("{signed}.{}", base64url::encode(long)), JoseError::BadSignature);
    check(&format!("{}.", token.rsplit_once('.').unwrap().0), JoseError::BadSignature);
    check(&"a".repeat(MAX_TOKEN + 1), JoseError::TooLong);
    let header = r#"{"alg":"ES256","typ":"JWT"}"#;
    check(&forge(&signer, header, r#"{"a":1,"a":2}"#), JoseError::DuplicateMember);
    check(&forge(&signer, header, "[]"), JoseError::NotClaims);
    let long = json!({ "a": "x".repeat(MAX_TOKEN) }).as_object().unwrap().clone();
    assert_eq!(sign(&long, "JWT", &signer, Suites::ALL), Err(SignError::TooLong));
}

#[test]
fn a_proof_brings_its_key_and_nothing_else_does() {
    let expect = Expect { typ: Some("dpop+jwt"), ..EXPECT };
    for algorithm in Algorithm::ALL {
        let signer = key(algorithm, 1);
        let proof = sign_with_own_key(&claims(), "dpop+jwt", &signer, Suites::ALL).unwrap();
        let (by, said) = verify_with_own_key(&proof, &expect).unwrap();
        assert_eq!((&by, said), (signer.public_key(), claims()));
        assert_eq!(verify(&proof, signer.public_key(), &expect), Err(JoseError::KeyInHeader));
        assert_eq!(named_key(&proof), Err(JoseError::KeyInHeader));
        assert_eq!(verify_with_own_key(&proof, &EXPECT), Err(JoseError::WrongType));
        let named = sign(&claims(), "dpop+jwt", &signer, Suites::ALL).unwrap();
        assert_eq!(verify_with_own_key(&named, &expect), Err(JoseError::UnexpectedHeader));
    }
    let signer = key(Algorithm::Es256, 1);
    let with = |jwk: &Value| {
        let header = json!({ "alg": "ES256", "typ": "dpop+jwt", "jwk": jwk }).to_string();
        verify_with_own_key(&forge(&signer, &header, "{}"), &expect).map(drop)
    };
    let own = Value::Object(signer.public_key().members());
    assert_eq!(with(&own), Ok(()));
    let changed = |name: &str, value: Value| {
        let mut jwk = own.clone();
        jwk[name] = value;
        with(&jwk)
    };
    assert_eq!(changed("d", json!("AA")), Err(JoseError::HeaderKey(JwkError::Secret)));
    assert_eq!(changed("crv", json!("P-384")), Err(JoseError::HeaderKey(JwkError::Unknown)));
    assert_eq!(changed("x", own["y"].clone()), Err(JoseError::HeaderKey(JwkError::Malformed)));
    assert_eq!(with(&json!("x")), Err(JoseError::HeaderKey(JwkError::Malformed)));
    let other = Value::Object(key(Algorithm::Es256, 2).public_key().members());
    assert_eq!(with(&other), Err(JoseError::BadSignature));
    let other = Value::Object(key(Algorithm::EdDsa, 1).public_key().members());
    assert_eq!(with(&other), Err(JoseError::WrongAlgorithm));
    let none = forge(&signer, r#"{"alg":"ES256","typ":"dpop+jwt"}"#, "{}");
    assert_eq!(verify_with_own_key(&none, &expect), Err(JoseError::NoKey));
}

#[test]
fn keys_are_read_strictly() {
    for algorithm in Algorithm::ALL {
        let good = key(algorithm, 1).public_key().to_jwk(algorithm);
        let check = |error: JwkError, change: &dyn Fn(&mut Claims)| {
            let mut bad = good.clone();
            change(&mut bad);
            assert_eq!(PublicKey::from_jwk(&bad), Err(error), "{bad:?}");
        };
        assert!(PublicKey::from_jwk_json(&Value::Object(good.clone()).to_string()).is_ok());
        for secret in ["d", "dp", "dq", "k", "oth", "p", "priv", "q", "qi"] {
            check(JwkError::Secret, &|jwk| drop(jwk.insert(secret.to_owned(), json!("AA"))));
        }
        for (name, value) in
            [("use", json!("enc")), ("key_ops", json!(["sign"])), ("key_ops", json!("verify"))]
        {
            check(JwkError::WrongUse, &|jwk| drop(jwk.insert(name.to_owned(), value.clone())));
        }
        for name in ["kty", "pub", "crv", "x", "y"].into_iter().filter(|name| good.contains_key(*name)) {
            check(JwkError::Malformed, &|jwk| drop(jwk.remove(name)));
            check(JwkError::Malformed, &|jwk| drop(jwk.insert(name.to_owned(), json!(1))));
        }
        for name in ["pub", "x", "y"].into_iter().filter(|name| good.contains_key(*name)) {
            let text = good[name].as_str().unwrap().to_owned();
            for wrong in ["AAAA".to_owned(), format!("{text}="), text[1..].to_owned(), format!("AAAA{text}")]
            {
                check(JwkError::Malformed, &|jwk| drop(jwk.insert(name.to_owned(), json!(wrong))));
            }
        }
        for wrong in ["RS256", "none", "ML-DSA-44"] {
            check(JwkError::Unknown, &|jwk| drop(jwk.insert("alg".to_owned(), json!(wrong))));
        }
        for kty in ["RSA", "oct", ""] {
            check(JwkError::Unknown, &|jwk| drop(jwk.insert("kty".to_owned(), json!(kty))));
        }
    }
    let bare = |algorithm| {
        let mut jwk = key(algorithm, 1).public_key().to_jwk(algorithm);
        jwk.remove("alg");
        PublicKey::from_jwk(&jwk)
    };
    assert_eq!(bare(Algorithm::MlDsa65), Err(JwkError::Malformed), "RFC 9964 demands it");
    assert_eq!(bare(Algorithm::Es256).as_ref(), Ok(key(Algorithm::Es256, 1).public_key()));
    assert_eq!(PublicKey::from_jwk_json(r#"{"kty":"EC","kty":"EC"}"#), Err(JwkError::DuplicateMember));
    assert_eq!(PublicKey::from_jwk_json("[]"), Err(JwkError::Malformed));
    assert_eq!(PublicKey::from_jwk_json(&" ".repeat(10_000)), Err(JwkError::TooLong));
}

#[test]
fn private_numbers_are_those_of_the_curve() {
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let mut order: [u8; 32] = crate::hex::decode(order).unwrap();
    assert!(SigningKey::from_seed(Algorithm::Es256, &[0; 32]).is_err());
    assert!(SigningKey::from_seed(Algorithm::Es256, &[0xff; 32]).is_err());
    assert!(SigningKey::from_seed(Algorithm::Es256, &order).is_err());
    order[31] -= 1;
    assert!(SigningKey::from_seed(Algorithm::Es256, &order).is_ok());
    for algorithm in Algorithm::ALL {
        let (made, seed) = SigningKey::generate(algorithm, &SeededEntropy::new(1)).unwrap();
        let again = SigningKey::from_seed(algorithm, seed.expose()).unwrap();
        assert_eq!(made.public_key(), again.public_key());
        let (other, _) = SigningKey::generate(algorithm, &SeededEntropy::new(2)).unwrap();
        assert_ne!(made.public_key(), other.public_key());
    }
}

/// RFC 8037, appendix A: Ed25519, whose signatures are always the same.
#[test]
fn rfc_8037() {
    let seed = base64url::decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let signer = SigningKey::from_seed(Algorithm::EdDsa, &seed.try_into().unwrap()).unwrap();
    assert_eq!(signer.public_key().members()["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    assert_eq!(signer.public_key().id().as_str(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    assert_eq!(
        forge(&signer, r#"{"alg":"EdDSA"}"#, "Example of Ed25519 signing"),
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki\
         4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

/// RFC 7515, appendix A.3: ES256.
#[test]
fn rfc_7515() {
    let scalar = base64url::decode("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI").unwrap();
    let signer = SigningKey::from_seed(Algorithm::Es256, &scalar.try_into().unwrap()).unwrap();
    let jwk = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    assert_eq!(PublicKey::from_jwk_json(jwk).as_ref(), Ok(signer.public_key()));
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb2\
                 90Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let expect = Expect { typ: None, algorithms: &[Algorithm::Es256], ..EXPECT };
    let said = verify(token, signer.public_key(), &expect).unwrap();
    let expected = json!({ "iss": "joe", "exp": 1_300_819_380, "http://example.com/is_root": true });
    assert_eq!(Value::Object(said), expected);
}

/// RFC 9449, figures 1 and 2; the thumbprint is that of section 6.1.
#[test]
fn rfc_9449() {
    let proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklD\
                 UkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2\
                 R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHB\
                 zOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8ig\
                 iMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
    let expect = Expect { typ: Some("dpop+jwt"), ..EXPECT };
    let (key, said) = verify_with_own_key(proof, &expect).unwrap();
    assert_eq!(key.id().as_str(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    assert_eq!(said["htu"], "https://server.example.com/token");
}

/// RFC 9964: the seed, the key, its thumbprint, and a token of it.
#[test]
fn rfc_9964() {
    let vector: Value =
        serde_json::from_str(include_str!("../../tests/vectors/rfc9964-ml-dsa-65.json")).unwrap();
    let seed = crate::hex::decode(vector["priv"].as_str().unwrap()).unwrap();
    let signer = SigningKey::from_seed(Algorithm::MlDsa65, &seed).unwrap();
    let mut jwk = vector["jwk"].as_object().unwrap().clone();
    // The RFC gives the seed with the key.
    jwk.remove("priv");
    assert_eq!(PublicKey::from_jwk(&jwk).as_ref(), Ok(signer.public_key()));
    assert_eq!(jwk["kid"], signer.public_key().id().as_str());
    let token = vector["jws"].as_str().unwrap();
    let expect = Expect { typ: None, algorithms: &[Algorithm::MlDsa65], ..EXPECT };
    // Its payload is a sentence: refused after the signature was found to be right.
    assert_eq!(verify(token, signer.public_key(), &expect), Err(JoseError::NotClaims));
    let compact = Compact::parse(token).unwrap();
    let header = compact.header(KeyFrom::Caller).unwrap();
    let payload = compact.open(&header, signer.public_key(), &expect).unwrap();
    assert!(payload.starts_with(b"It\xe2\x80\x99s a dangerous business, Frodo"));
}

#[test]
fn half_hashes() {
    // OpenID Connect Core, appendix A.3, has the first one for RS256, which hashes as ES256 does.
    assert_eq!(
        Algorithm::Es256.half_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"),
        "77QmUPtjPfzWtF2AnpK9RQ"
    );
    // SHA-512 and SHAKE256 of "abc" by FIPS 180-4 and FIPS 202.
    let left = |hex: &str| base64url::encode(crate::hex::decode::<32>(hex).unwrap());
    let sha_512 = left("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a");
    assert_eq!(Algorithm::EdDsa.half_hash("abc"), sha_512);
    assert_eq!(Algorithm::Ed25519.half_hash("abc"), sha_512);
    let shake_256 = left("483366601360a8771c6863080cc4114d8db44530f8f1e1ee4f94ea37e78b5739");
    assert_eq!(Algorithm::MlDsa65.half_hash("abc"), shake_256);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_flipped_bit_is_refused(at: prop::sample::Index, bit in 0_u32..8, algorithm in prop::sample::select(&Algorithm::ALL[..])) {
        let signer = key(algorithm, 1);
        let mut token = sign(&claims(), "JWT", &signer, Suites::ALL).unwrap().into_bytes();
        let at = at.index(token.len());
        token[at] ^= 1_u8 << bit;
        if let Ok(token) = String::from_utf8(token) {
            prop_assert!(verify(&token, signer.public_key(), &EXPECT).is_err());
        }
    }

    #[test]
    fn any_text_is_refused(text in ".{0,200}", dotted in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}") {
        let signer = key(Algorithm::Es256, 1);
        for text in [&text, &dotted] {
            prop_assert!(verify(text, signer.public_key(), &EXPECT).is_err());
            prop_assert!(verify_with_own_key(text, &EXPECT).is_err());
            prop_assert!(PublicKey::from_jwk_json(text).is_err());
        }
    }
}
