//! AES-256-GCM.

use portal_crypto::aead::Aes256GcmKey;

use crate::{array, hex, json, tests, valid};

#[test]
fn wycheproof_aes_256_gcm() {
    let vectors = json(include_str!("../vectors/wycheproof-aes-256-gcm.json"));
    let (mut opened, mut refused, mut other) = (0, 0, 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        assert_eq!(group["tagSize"], 128);
        for test in tests(group) {
            let (aad, message) = (hex(&test["aad"]), hex(&test["msg"]));
            let sealed = [hex(&test["ct"]), hex(&test["tag"])].concat();
            let Ok(nonce) = hex(&test["iv"]).try_into() else {
                // Other lengths can't be passed.
                assert_ne!(group["ivSize"], 96);
                other += 1;
                continue;
            };
            let key = Aes256GcmKey::new(&array(&test["key"]));
            let mut ours = Vec::new();
            key.seal(&nonce, &aad, &message, &mut ours).unwrap();
            assert_eq!(ours == sealed, valid(test), "{}: {}", test["tcId"], test["comment"]);
            let plaintext = key.open(&nonce, &aad, &sealed).ok();
            assert_eq!(plaintext.is_some(), valid(test), "{}: {}", test["tcId"], test["comment"]);
            if let Some(plaintext) = plaintext {
                assert_eq!(*plaintext.expose(), message, "{}", test["tcId"]);
                opened += 1;
            } else {
                refused += 1;
            }
        }
    }
    assert!(
        opened >= 35 && refused >= 25 && other >= 30,
        "{opened} opened, {refused} refused, {other} others"
    );
}
