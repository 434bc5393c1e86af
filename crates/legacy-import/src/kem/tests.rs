#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use libcrux_ml_kem::mlkem768;
use proptest::prelude::*;

use super::*;
use crate::kat::{self, unhex};

fn key(case: &kat::Case) -> PrivateKey {
    PrivateKey::from_bytes(&case.bytes("sk")).unwrap()
}

/// ML-KEM-768, as NIST publishes it: private key, ciphertext, secret.
fn ml_kem_768() -> Vec<(Vec<u8>, [u8; CIPHERTEXT_LEN], [u8; 32])> {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/vectors/acvp-ml-kem-768.json")).unwrap();
    let tests = file["tests"].as_array().unwrap();
    let field = |test: &serde_json::Value, name: &str| unhex(test[name].as_str().unwrap());
    tests
        .iter()
        .map(|test| {
            (field(test, "dk"), field(test, "c").try_into().unwrap(), field(test, "k").try_into().unwrap())
        })
        .collect()
}

#[test]
fn gives_the_known_secrets() {
    for case in kat::kyber768() {
        let (ciphertext, secret) = (case.array("ct"), case.array::<32>("ss"));
        assert_eq!(key(&case).decapsulate(&ciphertext).unwrap().expose(), &secret);
        // Each of the two by itself, so that neither is there for show.
        assert_eq!(pqc_kyber::decapsulate(&ciphertext, &case.bytes("sk")), Ok(secret));
        let private = case.array::<PRIVATE_KEY_LEN>("sk").into();
        assert_eq!(kyber768::decapsulate(&private, &ciphertext.into()), secret);
        assert_eq!(key(&case).id(), KeyId::of(&case.bytes("pk")));
    }
}

#[test]
fn is_not_ml_kem() {
    let vectors = ml_kem_768();
    assert_eq!(vectors.len(), 10);
    for (private, ciphertext, secret) in vectors {
        let standard = MlKem768PrivateKey::try_from(private.as_slice()).unwrap();
        assert_eq!(mlkem768::decapsulate(&standard, &ciphertext.into()), secret, "the vector is good");
        assert_ne!(pqc_kyber::decapsulate(&ciphertext, &private).unwrap(), secret);
        let key = PrivateKey::from_bytes(&private).unwrap();
        assert_ne!(key.decapsulate(&ciphertext).unwrap().expose(), &secret);
    }
    for case in kat::kyber768() {
        let private = case.array::<PRIVATE_KEY_LEN>("sk").into();
        let ciphertext = case.array::<CIPHERTEXT_LEN>("ct").into();
        assert_ne!(mlkem768::decapsulate(&private, &ciphertext), case.array::<32>("ss"));
    }
}

/// One bit of every byte.
#[test]
fn rejects_flipped_bits_implicitly() {
    let cases = kat::kyber768();
    let (key, ciphertext) = (key(&cases[0]), cases[0].array::<CIPHERTEXT_LEN>("ct"));
    let mut seen = std::collections::HashSet::from([cases[0].array::<32>("ss")]);
    for bit in (0..CIPHERTEXT_LEN).map(|byte| byte * 8 + byte % 8) {
        let mut flipped = ciphertext;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let answer = *key.decapsulate(&flipped).unwrap().expose();
        assert!(seen.insert(answer), "bit {bit} gives the secret, or that of another bit");
        assert_eq!(&answer, Rejected::of(key.key.as_slice(), &flipped).pqc_kyber.expose());
    }
}

/// Every pair of answers that only a fault can give.
#[test]
fn refuses_when_the_two_disagree() {
    let case = &kat::kyber768()[0];
    let key = key(case);
    let whole = case.array::<CIPHERTEXT_LEN>("ct");
    let mut tampered = whole;
    tampered[0] ^= 1;
    let secret = || Sensitive::new(case.array::<32>("ss"));
    let rejected = Rejected::of(key.key.as_slice(), &tampered);
    let (ours, theirs) = (rejected.pqc_kyber.clone(), rejected.libcrux.clone());
    assert_eq!(pqc_kyber::decapsulate(&tampered, key.key.as_slice()).as_ref(), Ok(ours.expose()));
    assert_eq!(&kyber768::decapsulate(&key.key, &tampered.into()), theirs.expose());
    let refused = |first: Sensitive<[u8; 32]>, second: &Sensitive<[u8; 32]>| {
        agreed(first, second, &rejected).err() == Some(Disagreement)
    };
    // The AVX2 code of pqc_kyber 0.7.1 answers a tampered ciphertext with the secret of the whole one.
    assert!(refused(secret(), &theirs));
    assert!(refused(ours.clone(), &secret()));
    // The answers to a rejected ciphertext, the wrong way round.
    assert!(refused(theirs.clone(), &ours));
    for bit in 0..256 {
        let flip = |secret: &Sensitive<[u8; 32]>| {
            let mut other = *secret.expose();
            other[bit / 8] ^= 1 << (bit % 8);
            Sensitive::new(other)
        };
        assert!(refused(flip(&secret()), &secret()) && refused(secret(), &flip(&secret())), "bit {bit}");
        assert!(refused(flip(&ours), &theirs) && refused(ours.clone(), &flip(&theirs)), "bit {bit}");
    }
    assert!(!refused(secret(), &secret()) && !refused(ours, &theirs));
}

#[test]
fn a_private_key_is_whole() {
    let case = &kat::kyber768()[0];
    let private = case.bytes("sk");
    for length in [0, 1, 32, 64, PRIVATE_KEY_LEN - 1] {
        let error = PrivateKey::from_bytes(&private[..length]).err();
        assert_eq!(error, Some(InvalidPrivateKey::Length(length)));
    }
    let long = [private.as_slice(), &[0]].concat();
    assert_eq!(PrivateKey::from_bytes(&long).err(), Some(InvalidPrivateKey::Length(PRIVATE_KEY_LEN + 1)));
    // The public key and its hash.
    for at in [PUBLIC_KEY.start, PUBLIC_KEY.end - 1, PUBLIC_KEY.end, PUBLIC_KEY.end + 31] {
        let mut damaged = private.clone();
        damaged[at] ^= 1;
        assert_eq!(PrivateKey::from_bytes(&damaged).err(), Some(InvalidPrivateKey::Damaged), "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Whatever the key and the ciphertext, the two agree and neither panics.
    #[test]
    fn the_two_agree_on_anything(
        seed: [u8; 32],
        random in proptest::collection::vec(any::<u8>(), CIPHERTEXT_LEN),
        case in 0_usize..10,
    ) {
        let ciphertext: [u8; CIPHERTEXT_LEN] = random.try_into().unwrap();
        let known = key(&kat::kyber768()[case]);
        prop_assert!(known.decapsulate(&ciphertext).is_ok());
        let pair = kyber768::generate_key_pair([seed, seed].concat().try_into().unwrap());
        let fresh = PrivateKey::from_bytes(pair.sk()).unwrap();
        let (sealed, secret) = kyber768::encapsulate(pair.public_key(), seed);
        let opened = fresh.decapsulate(sealed.as_slice()).unwrap();
        prop_assert_eq!(opened.expose(), &secret);
        prop_assert!(fresh.decapsulate(&ciphertext).is_ok());
    }
}
