//! Cobblestone-256: the vectors of its reference implementation, as Wycheproof has them.

use portal_crypto::bulk::{self, CHUNK, Opener, SEALED_CHUNK};
use portal_crypto::key::KeyBytes;
use serde_json::Value;
use sha2::{Digest, Sha512};

use super::{array, hex, json, tests, valid};

/// Runs of zeros, which most of these ciphertexts are made of, stand as their lengths.
fn expand(parts: &Value) -> Vec<u8> {
    let part =
        |part: &Value| part.as_u64().map_or_else(|| hex(part), |zeros| vec![0; zeros.try_into().unwrap()]);
    parts.as_array().unwrap().iter().flat_map(part).collect()
}

/// What a reader of the stream gets before the end or the first refusal, and whether it came to the end.
fn stream(key: &KeyBytes, context: &[u8], sealed: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let Some((header, sealed)) = sealed.split_first_chunk() else { return (out, false) };
    let Ok(mut opener) = Opener::new(key, context, header) else { return (out, false) };
    let chunks = sealed.chunks_exact(SEALED_CHUNK);
    let mut last = chunks.remainder().to_vec();
    for chunk in chunks {
        let mut frame: Box<[u8; SEALED_CHUNK]> = Box::new(chunk.try_into().unwrap());
        if opener.open_chunk(&mut frame).is_err() {
            return (out, false);
        }
        out.extend_from_slice(&frame[..CHUNK]);
    }
    let whole = opener.finish(&mut last).is_ok();
    if whole {
        out.extend_from_slice(&last);
    }
    (out, whole)
}

#[test]
fn wycheproof_cobblestone_256() {
    let vectors = json(include_str!("../vectors/wycheproof-cobblestone-256.json"));
    let (mut passed, mut refused) = (0, 0);
    for test in tests(&vectors) {
        let name = format!("{}: {}", test["tcId"], test["comment"]);
        let has = |flag: &str| test["flags"].as_array().unwrap().iter().any(|has| has == flag);
        let Some(key) = KeyBytes::copy_of(&hex(&test["key"])) else {
            assert!(has("InvalidKeySize"), "{name}");
            refused += 1;
            continue;
        };
        let (context, sealed) = (hex(&test["ctx"]), expand(&test["ct"]));
        let opened = bulk::open(&key, &context, &sealed);
        let (streamed, whole) = stream(&key, &context, &sealed);
        assert_eq!((opened.is_ok(), whole), (valid(test), valid(test)), "{name}");
        if let Some(length) = test["msgLength"].as_u64() {
            assert_eq!(streamed.len() as u64, length, "{name}");
            assert_eq!(Sha512::digest(&streamed)[..], array::<64>(&test["msgSha512"]), "{name}");
        } else {
            assert!(streamed.is_empty(), "{name}");
        }
        if let Ok(opened) = opened {
            assert_eq!(opened.expose(), &streamed, "{name}");
        }
        *(if whole { &mut passed } else { &mut refused }) += 1;
    }
    assert_eq!((passed, refused), (10, 25));
}

/// Sealed again with the salt of a valid vector, the message is the vector.
#[test]
fn wycheproof_cobblestone_256_sealed_again() {
    struct Salt(Vec<u8>);
    impl portal_core::Entropy for Salt {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.copy_from_slice(&self.0);
        }
    }
    let vectors = json(include_str!("../vectors/wycheproof-cobblestone-256.json"));
    for test in tests(&vectors).filter(|test| valid(test)) {
        let key = KeyBytes::copy_of(&hex(&test["key"])).unwrap();
        let (context, sealed) = (hex(&test["ctx"]), expand(&test["ct"]));
        let opened = bulk::open(&key, &context, &sealed).unwrap();
        let again = bulk::seal(&key, &context, opened.expose(), &Salt(sealed[..24].to_vec())).unwrap();
        assert!(again == sealed, "{}: {}", test["tcId"], test["comment"]);
    }
}
