#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use portal_crypto::jose::{SigningKey, sign, sign_with_own_key};
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_562_262_616);
const PUBLIC: &str = "https://server.example.com";
/// RFC 9449, figure 2.
const EXAMPLE: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
/// Section 7.1, figure 12, with the token of figure 13.
const AT_RESOURCE: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";

fn key(algorithm: Algorithm, seed: u8) -> SigningKey {
    SigningKey::from_seed(algorithm, &[seed; 32]).unwrap()
}

fn claims() -> Claims {
    let claims = json!({
        "jti": "-BwC3ESc6acc2lTc", "htm": "POST", "htu": "https://server.example.com/token", "iat": 1_562_262_616,
    });
    claims.as_object().unwrap().clone()
}

fn with(name: &str, value: Value) -> Claims {
    let mut claims = claims();
    claims.insert(name.to_owned(), value);
    claims
}

fn proof(claims: &Claims) -> String {
    sign_with_own_key(claims, TYPE, &key(Algorithm::Es256, 1), Suites::ALL).unwrap()
}

fn read_from(headers: &HeaderMap) -> Result<Proof, Rejected> {
    Proof::read(Asker { method: &Method::POST, path: "/token", headers }, PUBLIC, NOW)
}

fn read(proof: &str) -> Result<Proof, Rejected> {
    read_from(&HeaderMap::from_iter([(DPOP, HeaderValue::from_str(proof).unwrap())]))
}

#[test]
fn the_proofs_of_the_standard() {
    let found = read(EXAMPLE).unwrap();
    assert_eq!(
        (found.key.as_str(), found.nonce.as_str()),
        ("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", "")
    );
    assert_eq!(found.check_token(TOKEN), Err(Rejected::OtherToken), "it is for none");
    let headers = HeaderMap::from_iter([(DPOP, HeaderValue::from_static(AT_RESOURCE))]);
    let asker = Asker { method: &Method::GET, path: "/protectedresource", headers: &headers };
    let found = Proof::read(asker, "https://resource.example.org", NOW).unwrap();
    assert_eq!(found.check_token(TOKEN), Ok(()));
    assert_eq!(found.check_token(&TOKEN[1..]), Err(Rejected::OtherToken));
}

#[test]
fn each_algorithm_that_is_told_is_taken() {
    let mut keys = HashSet::new();
    for algorithm in ALGORITHMS {
        let signed = sign_with_own_key(&claims(), TYPE, &key(algorithm, 1), Suites::ALL).unwrap();
        assert!(keys.insert(read(&signed).unwrap().key), "{algorithm}");
    }
    assert_eq!(ALGORITHMS.map(Algorithm::name).join(" "), ALGORITHM_NAMES);
    let untold = sign_with_own_key(&claims(), TYPE, &key(Algorithm::Ed25519, 1), Suites::ALL).unwrap();
    assert_eq!(read(&untold).err(), Some(Rejected::NotSigned));
}

#[test]
fn a_proof_says_what_it_must() {
    for (name, value, expected) in [
        ("jti", json!(null), Rejected::Malformed),
        ("jti", json!(7), Rejected::Malformed),
        ("jti", json!(""), Rejected::Malformed),
        ("jti", json!("x".repeat(257)), Rejected::Malformed),
        ("htm", json!("GET"), Rejected::Elsewhere),
        ("htm", json!("post"), Rejected::Elsewhere),
        ("htm", json!(["POST"]), Rejected::Malformed),
        ("htu", json!("https://server.example.com/token/"), Rejected::Elsewhere),
        ("htu", json!("https://server.example.com/other"), Rejected::Elsewhere),
        ("htu", json!("http://server.example.com/token"), Rejected::Elsewhere),
        ("htu", json!("https://server.example.com:8443/token"), Rejected::Elsewhere),
        ("htu", json!("https://server.example.com.evil.example/token"), Rejected::Elsewhere),
        ("htu", json!("https://server.example.com@evil.example/token"), Rejected::Elsewhere),
        ("htu", json!("https://anna@server.example.com/token"), Rejected::Elsewhere),
        ("htu", json!("/token"), Rejected::Elsewhere),
        ("htu", json!(1), Rejected::Malformed),
        ("iat", json!(1_562_262_616 - 61), Rejected::Untimely),
        ("iat", json!(1_562_262_616 + 61), Rejected::Untimely),
        ("iat", json!(i64::MIN), Rejected::Untimely),
        ("iat", json!("1562262616"), Rejected::Malformed),
        ("iat", json!(1_562_262_616.5), Rejected::Malformed),
        ("nonce", json!(1), Rejected::Malformed),
        ("nonce", json!("x".repeat(257)), Rejected::Malformed),
        ("ath", json!(true), Rejected::Malformed),
    ] {
        assert_eq!(read(&proof(&with(name, value.clone()))).err(), Some(expected), "{name}: {value}");
    }
    for name in ["jti", "htm", "htu", "iat"] {
        let mut without = claims();
        without.remove(name);
        assert_eq!(read(&proof(&without)).err(), Some(Rejected::Malformed), "{name}");
    }
    for (name, value) in [
        ("htu", json!("https://SERVER.example.com:443/./token?a=b#c")),
        ("iat", json!(1_562_262_616 - 60)),
        ("iat", json!(1_562_262_616 + 60)),
        ("more", json!({"a": 1})),
    ] {
        assert!(read(&proof(&with(name, value.clone()))).is_ok(), "{name}: {value}");
    }
    assert_eq!(read(&proof(&with("nonce", json!("abc")))).unwrap().nonce, "abc");
}

#[test]
fn a_proof_is_one_token_of_its_type_signed_by_the_key_in_it() {
    let (good, signer) = (proof(&claims()), key(Algorithm::Es256, 1));
    let other_type = sign_with_own_key(&claims(), "JWT", &signer, Suites::ALL).unwrap();
    let without_key = sign(&claims(), TYPE, &signer, Suites::ALL).unwrap();
    let another = sign_with_own_key(&claims(), TYPE, &key(Algorithm::Es256, 2), Suites::ALL).unwrap();
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let swapped = format!("{}.{}.{}", parts(&good)[0], parts(&good)[1], parts(&another)[2]);
    let header = |header: Value| {
        format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), parts(&good)[1], parts(&good)[2])
    };
    let jwk: Value = serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(&parts(&good)[0]).unwrap())
        .unwrap()["jwk"]
        .clone();
    let mut private = jwk.clone();
    private["d"] = json!("AQ");
    for bad in [
        &good[1..],
        &other_type,
        &without_key,
        &swapped,
        &header(json!({ "alg": "none", "typ": TYPE, "jwk": jwk })),
        &header(json!({ "alg": "HS256", "typ": TYPE, "jwk": { "kty": "oct", "k": "AQ" } })),
        &header(json!({ "alg": "ES256", "typ": TYPE, "jwk": private })),
        &header(json!({ "alg": "ES256", "typ": TYPE, "jwk": jwk, "kid": "x" })),
        &format!("{good}.x"),
    ] {
        assert_eq!(read(bad).err(), Some(Rejected::NotSigned), "{bad}");
    }
    assert_eq!(read_from(&HeaderMap::new()).err(), Some(Rejected::NotOne));
    let mut twice = HeaderMap::new();
    twice.append(DPOP, HeaderValue::from_str(&good).unwrap());
    twice.append(DPOP, HeaderValue::from_str(&proof(&with("jti", json!("other")))).unwrap());
    assert_eq!(read_from(&twice).err(), Some(Rejected::NotOne));
}

fn proofs(most: usize) -> Proofs {
    Proofs::new(NonZeroUsize::new(most).unwrap())
}

/// Accepts it for good.
fn accept(proofs: &Proofs, proof: &Proof, now: Timestamp) -> Result<(), Refused> {
    proofs.accept(proof, now).map(Place::keep)
}

#[test]
fn a_proof_is_accepted_once_while_it_could_be_again() {
    let proofs = proofs(100);
    let found = read(EXAMPLE).unwrap();
    assert!(!proofs.know(&found));
    assert_eq!(accept(&proofs, &found, NOW), Ok(()));
    for seconds in [0, 60, 120, 121, 200] {
        assert!(proofs.know(&found));
        let again = accept(&proofs, &found, NOW.plus(Duration::from_secs(seconds)));
        assert_eq!(again, Err(Refused::Used), "{seconds}");
    }
    // The same id by another key is another proof.
    let signed = sign_with_own_key(&claims(), TYPE, &key(Algorithm::Es256, 2), Suites::ALL).unwrap();
    assert_eq!(accept(&proofs, &read(&signed).unwrap(), NOW), Ok(()));
    assert_eq!(accept(&proofs, &found, NOW.plus(3 * LIFE)), Ok(()), "it is refused by its time then");
}

/// Times of proofs are whole seconds, those of their requests are not.
#[test]
fn a_proof_is_remembered_to_the_end_of_its_last_second() {
    let after = |millis| NOW.plus(Duration::from_millis(millis));
    // It is made ahead by a clock that is a minute fast.
    let signed = proof(&with("iat", json!(1_562_262_616 + 180)));
    let headers = HeaderMap::from_iter([(DPOP, HeaderValue::from_str(&signed).unwrap())]);
    let read_at =
        |now| Proof::read(Asker { method: &Method::POST, path: "/token", headers: &headers }, PUBLIC, now);
    // Another one begins the span at whose end it comes.
    let (proofs, another, found) = (proofs(100), read(EXAMPLE).unwrap(), read_at(after(120_100)).unwrap());
    assert_eq!(accept(&proofs, &another, after(900)), Ok(()));
    assert_eq!(accept(&proofs, &found, after(120_100)), Ok(()));
    let last = after(240_950);
    assert!(read_at(last).is_ok() && read_at(after(241_000)).is_err());
    assert_eq!(accept(&proofs, &found, last), Err(Refused::Used));
}

/// The proof with this number by this key.
fn numbered(by: u8, number: usize) -> Proof {
    let id = sha256(&[&[by], number.to_be_bytes().as_slice()].concat());
    Proof { key: String::new(), nonce: String::new(), token_hash: None, id, by: sha256(&[by]) }
}

#[test]
fn how_many_are_remembered_is_bounded() {
    let proofs = proofs(256);
    let first = |by| accept(&proofs, &numbered(by, 0), NOW);
    assert!((0..=255).all(|by| first(by) == Ok(())));
    let another = Proof { by: sha256(b"another"), ..numbered(1, 1) };
    assert_eq!(accept(&proofs, &another, NOW), Err(Refused::Crowded), "refused, not taken unseen");
    assert_eq!(proofs.seen().by_key.len(), 256, "nor is anything kept of it");
    assert_eq!(first(7), Err(Refused::Used));
    let later = NOW.plus(LIFE);
    assert_eq!(accept(&proofs, &another, later), Ok(()));
    assert_eq!(accept(&proofs, &numbered(7, 0), later), Err(Refused::Used));
}

/// However many proofs a few make, there is room for others.
#[test]
fn no_key_takes_the_places_of_all() {
    let proofs = proofs(1_000);
    let all_of =
        |by| (0..1_000).filter(|number| accept(&proofs, &numbered(by, *number), NOW).is_ok()).count();
    assert_eq!(all_of(0), 382);
    assert_eq!(accept(&proofs, &numbered(0, 382), NOW), Err(Refused::Crowded));
    assert_eq!(accept(&proofs, &numbered(0, 381), NOW), Err(Refused::Used));
    let others: usize = (1..=20).map(all_of).sum();
    assert!(382 + others < 960, "{others}");
    assert!((100..=130).all(|by| accept(&proofs, &numbered(by, 0), NOW).is_ok()), "others come in between");
    // The next span begins anew for everybody.
    assert_eq!(accept(&proofs, &numbered(0, 382), NOW.plus(LIFE)), Ok(()));
}

#[test]
fn a_place_that_is_not_kept_is_free_again() {
    let proofs = proofs(2);
    let (one, other) = (numbered(0, 0), numbered(0, 1));
    let place = proofs.accept(&one, NOW).unwrap();
    assert_eq!(accept(&proofs, &one, NOW), Err(Refused::Used), "two at once are one");
    assert_eq!(accept(&proofs, &other, NOW), Err(Refused::Crowded));
    drop(place);
    assert!(!proofs.know(&one) && proofs.seen().by_key.is_empty());
    assert_eq!(accept(&proofs, &one, NOW), Ok(()));
    // Also when its span has ended meanwhile.
    let third = numbered(1, 0);
    let place = proofs.accept(&third, NOW).unwrap();
    assert_eq!(accept(&proofs, &other, NOW.plus(LIFE)), Ok(()));
    drop(place);
    assert!(!proofs.know(&third) && proofs.know(&one) && proofs.know(&other));
    assert_eq!(proofs.seen().of(&other), 1);
}

#[test]
fn a_token_is_shown_in_one_of_two_ways() {
    let told = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        match token(&headers) {
            None => "none".to_owned(),
            Some(Err(())) => "wrong".to_owned(),
            Some(Ok(Token::Bearer(token))) => format!("bearer {token}"),
            Some(Ok(Token::Bound(token))) => format!("bound {token}"),
        }
    };
    for (values, expected) in [
        (&[][..], "none"),
        (&["Bearer abc"], "bearer abc"),
        (&["dpop abc"], "bound abc"),
        (&["DPoP abc"], "bound abc"),
        (&["DPoP "], "wrong"),
        (&["DPoP"], "wrong"),
        (&["DPoP a b"], "wrong"),
        (&["DPoP abc", "Bearer abc"], "wrong"),
        (&["Basic abc"], "wrong"),
    ] {
        assert_eq!(told(values), expected, "{values:?}");
    }
}
