#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use portal_crypto::sign::{Algorithm, VerifyingKey};
use proptest::prelude::*;

use super::*;
use crate::kat::{self, Case, unhex};

/// The key, the message and its signature.
fn signed(case: &Case) -> (LegacyVerify, Vec<u8>, [u8; SIGNATURE_LEN]) {
    let both = case.bytes("sm");
    let (signature, message) = both.split_at(SIGNATURE_LEN);
    assert_eq!(message, case.bytes("msg"), "the signature stands before the message");
    let key = LegacyVerify::from_bytes(&case.bytes("pk")).unwrap();
    (key, message.to_vec(), signature.try_into().unwrap())
}

#[test]
fn verifies_the_known_signatures() {
    let cases = kat::dilithium3();
    for (number, case) in cases.iter().enumerate() {
        let (key, message, signature) = signed(case);
        assert_eq!(key.verify(&message, &signature), Ok(()), "case {number}");
        assert_eq!(key.id(), KeyId::of(&case.bytes("pk")));
        let (other, ..) = signed(&cases[(number + 1) % cases.len()]);
        assert_eq!(other.verify(&message, &signature), Err(InvalidSignature));
        assert_eq!(key.verify(&[&message[..], &[0]].concat(), &signature), Err(InvalidSignature));
        assert_eq!(key.verify(&message[1..], &signature), Err(InvalidSignature));
        assert_eq!(key.verify(b"", &signature), Err(InvalidSignature));
    }
}

/// Every bit of the challenge and of the hints, and one of each byte between them.
#[test]
fn refuses_flipped_bits() {
    let (key, message, signature) = signed(&kat::dilithium3()[0]);
    let middle = 32..SIGNATURE_LEN - 61;
    for bit in (0..SIGNATURE_LEN * 8).filter(|bit| !middle.contains(&(bit / 8)) || bit % 8 == bit / 8 % 8) {
        let mut flipped = signature;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(key.verify(&message, &flipped), Err(InvalidSignature), "bit {bit} of the signature");
    }
    for bit in 0..message.len() * 8 {
        let mut flipped = message.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(key.verify(&flipped, &signature), Err(InvalidSignature), "bit {bit} of the message");
    }
}

#[test]
fn is_not_ml_dsa() {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../../../crypto/tests/vectors/wycheproof-mldsa-65-verify.json"))
            .unwrap();
    let mut good = 0;
    for group in file["testGroups"].as_array().unwrap() {
        let public = unhex(group["publicKey"].as_str().unwrap());
        let Ok(key) = LegacyVerify::from_bytes(&public) else { continue };
        let standard = VerifyingKey::from_bytes(Algorithm::MlDsa65, &public).unwrap();
        for test in group["tests"].as_array().unwrap() {
            let (message, signature) =
                (unhex(test["msg"].as_str().unwrap()), unhex(test["sig"].as_str().unwrap()));
            if standard.verify(&message, &signature).is_err() {
                continue;
            }
            good += 1;
            // Sixteen bytes too long. Nor does it fit with any sixteen of its challenge left out.
            assert_eq!(signature.len(), SIGNATURE_LEN + 16);
            for from in [0, 16, 32] {
                let cut = [&signature[..from], &signature[from + 16..]].concat();
                assert_eq!(key.verify(&message, &cut.try_into().unwrap()), Err(InvalidSignature));
            }
        }
    }
    assert!(good >= 3, "{good} good signatures of ML-DSA-65 in the file");
    for case in kat::dilithium3() {
        let (_, message, signature) = signed(&case);
        let standard = VerifyingKey::from_bytes(Algorithm::MlDsa65, &case.bytes("pk")).unwrap();
        assert!(standard.verify(&message, &signature).is_err(), "ML-DSA-65 accepts Dilithium3");
        let padded = [&signature[..32], &[0; 16], &signature[32..]].concat();
        assert!(standard.verify(&message, &padded).is_err(), "ML-DSA-65 accepts Dilithium3");
    }
}

#[test]
fn a_public_key_has_its_length() {
    let public = kat::dilithium3()[0].bytes("pk");
    for length in [0, 1, 32, PUBLIC_KEY_LEN - 1] {
        assert_eq!(LegacyVerify::from_bytes(&public[..length]).err(), Some(InvalidVerifyKey(length)));
    }
    let long = [public.as_slice(), &[0]].concat();
    assert_eq!(LegacyVerify::from_bytes(&long).err(), Some(InvalidVerifyKey(PUBLIC_KEY_LEN + 1)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Nothing panics, and nothing verifies, whatever stands in the key, in the signature and in its table of hints.
    #[test]
    fn random_bytes_are_refused(
        public in proptest::collection::vec(any::<u8>(), PUBLIC_KEY_LEN),
        signature in proptest::collection::vec(any::<u8>(), SIGNATURE_LEN),
        hints in proptest::collection::vec(0_u8..64, 61),
        message: Vec<u8>,
    ) {
        let key = LegacyVerify::from_bytes(&public).unwrap();
        let (known, ..) = signed(&kat::dilithium3()[0]);
        let random: [u8; SIGNATURE_LEN] = signature.try_into().unwrap();
        let mut plausible = random;
        plausible[SIGNATURE_LEN - hints.len()..].copy_from_slice(&hints);
        for signature in [random, plausible] {
            prop_assert_eq!(key.verify(&message, &signature), Err(InvalidSignature));
            prop_assert_eq!(known.verify(&message, &signature), Err(InvalidSignature));
        }
    }
}
