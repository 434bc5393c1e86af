//! The two backends on the same random input: what one seals the other opens, what one signs the other verifies.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::{aws_lc as left, rustcrypto as right};
use crate::kem::ml_kem::ParameterSet;

type Bytes = Vec<u8>;

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..=most)
}

fn parts() -> impl Strategy<Value = Vec<Bytes>> {
    prop::collection::vec(bytes(200), 0..4)
}

fn array<const N: usize>() -> impl Strategy<Value = [u8; N]> {
    prop::collection::vec(any::<u8>(), N).prop_map(|bytes| bytes.try_into().unwrap())
}

fn slices(parts: &[Bytes]) -> Vec<&[u8]> {
    parts.iter().map(Vec::as_slice).collect()
}

/// `bytes` with one bit flipped.
fn flip(bytes: &[u8], at: prop::sample::Index) -> Bytes {
    let mut flipped = bytes.to_vec();
    let at = at.index(bytes.len() * 8);
    flipped[at / 8] ^= 1 << (at % 8);
    flipped
}

proptest! {
    #[test]
    fn hashes(parts in parts()) {
        let parts = slices(&parts);
        assert_eq!(left::sha256(&parts), right::sha256(&parts));
        assert_eq!(left::sha384(&parts), right::sha384(&parts));
        assert_eq!(left::sha512(&parts), right::sha512(&parts));
        assert_eq!(left::sha3_256(&parts), right::sha3_256(&parts));
    }

    #[test]
    fn macs_and_derived_keys(key in bytes(200), salt in bytes(100), parts in parts(), short in array()) {
        let parts = slices(&parts);
        assert_eq!(left::Hmac::new(&key).tag(&parts), right::Hmac::new(&key).tag(&parts));
        let info = parts.concat();
        assert_eq!(
            left::hkdf_sha256(&key, &salt, &info).expose(),
            right::hkdf_sha256(&key, &salt, &info).expose()
        );
        let expanded = left::hkdf_expand::<100>(&short, &parts);
        assert_eq!(expanded.expose(), right::hkdf_expand::<100>(&short, &parts).expose());
        let expanded = left::hkdf_expand_sha512::<200>(&short, &parts);
        assert_eq!(expanded.expose(), right::hkdf_expand_sha512::<200>(&short, &parts).expose());
        let message = parts.concat();
        assert_eq!(
            left::CmacAes256::new(&short).tag(&message).unwrap().expose(),
            right::CmacAes256::new(&short).tag(&message).unwrap().expose()
        );
    }

    #[test]
    fn comparisons(a in bytes(3), b in bytes(3)) {
        assert_eq!(left::equal(&a, &b), a == b);
        assert_eq!(right::equal(&a, &b), a == b);
    }

    #[test]
    fn aes_256_gcm(
        key in array(), nonce in array(), aad in bytes(100), text in bytes(1_000), bit in any::<prop::sample::Index>(),
    ) {
        let (left, right) = (left::Aes256Gcm::new(&key), right::Aes256Gcm::new(&key));
        let (mut one, mut other) = (text.clone(), text.clone());
        let tag = left.seal_in_place(&nonce, &aad, &mut one).unwrap();
        assert_eq!(right.seal_in_place(&nonce, &aad, &mut other).unwrap(), tag);
        assert_eq!(&one, &other);
        let sealed = [one.as_slice(), &tag].concat();
        assert!(right.open_in_place(&nonce, &aad, &mut one, &tag) && one == text);
        assert!(left.open_in_place(&nonce, &aad, &mut other, &tag) && other == text);
        assert!(left.open_into(&nonce, &aad, &sealed, &mut one) && one == text);
        assert!(right.open_into(&nonce, &aad, &sealed, &mut other) && other == text);
        let changed = flip(&sealed, bit);
        assert!(!left.open_into(&nonce, &aad, &changed, &mut one));
        assert!(!right.open_into(&nonce, &aad, &changed, &mut other));
    }

    #[test]
    fn x25519(mine in array(), theirs in array(), point in array()) {
        let keys = |bytes| (left::X25519Secret::from_bytes(bytes).unwrap(), right::X25519Secret::from_bytes(bytes).unwrap());
        let (mine, theirs) = (keys(&mine), keys(&theirs));
        assert_eq!(mine.0.public(), mine.1.public());
        let one = mine.0.agree(&theirs.1.public().unwrap()).unwrap();
        let other = theirs.1.agree(&mine.0.public().unwrap()).unwrap();
        assert_eq!(one.expose(), other.expose());
        let (one, other) = (left::X25519Secret::generate().unwrap(), right::X25519Secret::generate().unwrap());
        assert_eq!(
            one.agree(&other.public().unwrap()).unwrap().expose(),
            other.agree(&one.public().unwrap()).unwrap().expose()
        );
        // Any 32 bytes, of which most are on the twist.
        assert_eq!(mine.0.agree(&point).unwrap().expose(), mine.1.agree(&point).unwrap().expose());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn ml_kem(seed in array(), second in any::<bool>(), bit in any::<prop::sample::Index>()) {
        let set = ParameterSet::ALL[usize::from(second)];
        let (mine, public) = left::MlKemSecret::from_seed(set, &seed).unwrap();
        let (theirs, same) = right::MlKemSecret::from_seed(set, &seed).unwrap();
        assert_eq!(&public, &same);
        let mut sent = vec![0; set.ciphertext_len()];
        let secret = left::MlKemPublic::from_bytes(set, &public).unwrap().encapsulate(&mut sent).unwrap();
        assert_eq!(theirs.decapsulate(&sent).unwrap().expose(), secret.expose());
        let secret = right::MlKemPublic::from_bytes(set, &public).unwrap().encapsulate(&mut sent).unwrap();
        assert_eq!(mine.decapsulate(&sent).unwrap().expose(), secret.expose());
        // What was tampered with is rejected implicitly, with the same secret on both sides.
        let changed = flip(&sent, bit);
        let rejected = mine.decapsulate(&changed).unwrap();
        assert_ne!(rejected.expose(), secret.expose());
        assert_eq!(theirs.decapsulate(&changed).unwrap().expose(), rejected.expose());
    }

    #[test]
    fn ml_kem_keys_with_changes(seed in array(), second in any::<bool>(), at in any::<prop::sample::Index>(), to: u8) {
        let set = ParameterSet::ALL[usize::from(second)];
        let (_, mut public) = right::MlKemSecret::from_seed(set, &seed).unwrap();
        let at = at.index(public.len());
        public[at] = to;
        let taken = left::MlKemPublic::from_bytes(set, &public).is_some();
        assert_eq!(taken, right::MlKemPublic::from_bytes(set, &public).is_some());
        for wrong in [&public[1..], &[public.as_slice(), &[0]].concat(), &[]] {
            assert!(left::MlKemPublic::from_bytes(set, wrong).is_none());
            assert!(right::MlKemPublic::from_bytes(set, wrong).is_none());
        }
    }

    #[test]
    fn ml_dsa_65(seed in array(), message in bytes(300), bit in any::<prop::sample::Index>()) {
        let mine = left::MlDsa65Secret::from_seed(&seed).unwrap();
        let theirs = right::MlDsa65Secret::from_seed(&seed).unwrap();
        let (my_key, their_key) = (mine.public().unwrap(), theirs.public().unwrap());
        assert_eq!(my_key.bytes(), their_key.bytes());
        let my_key = left::MlDsa65Public::from_bytes(their_key.bytes()).unwrap();
        let their_key = right::MlDsa65Public::from_bytes(my_key.bytes()).unwrap();
        for signature in [mine.sign(&message).unwrap(), theirs.sign(&message).unwrap()] {
            assert!(my_key.verify(&message, &signature) && their_key.verify(&message, &signature));
            let changed = flip(&signature, bit);
            assert!(!my_key.verify(&message, &changed) && !their_key.verify(&message, &changed));
        }
        let (mine, theirs) = (mine.to_pkcs8().unwrap(), theirs.to_pkcs8().unwrap());
        assert_eq!(mine.expose(), theirs.expose());
        let read = left::MlDsa65Secret::from_pkcs8(theirs.expose()).unwrap().public().unwrap();
        assert_eq!(read.bytes(), my_key.bytes());
        let read = right::MlDsa65Secret::from_pkcs8(mine.expose()).unwrap().public().unwrap();
        assert_eq!(read.bytes(), my_key.bytes());
    }

    #[test]
    fn ecdsa_on_p_256(scalar in array(), message in bytes(300), bit in any::<prop::sample::Index>()) {
        let mine = left::P256Secret::from_scalar(&scalar);
        let theirs = right::P256Secret::from_scalar(&scalar);
        assert_eq!(mine.is_some(), theirs.is_some());
        let Some((mine, theirs)) = mine.zip(theirs) else { return Ok(()) };
        let public = mine.public().unwrap();
        assert_eq!(theirs.public(), Some(public));
        let verify = |public: &[u8], signature: &[u8]| {
            let (public, signature) = (public.try_into().unwrap(), signature.try_into().unwrap());
            [
                left::P256Public::from_bytes(public).is_some_and(|key| key.verify(&message, signature)),
                right::P256Public::from_bytes(public).is_some_and(|key| key.verify(&message, signature)),
            ]
        };
        for signature in [mine.sign(&message).unwrap(), theirs.sign(&message).unwrap()] {
            assert_eq!(verify(&public, &signature), [true; 2]);
            assert_eq!(verify(&public, &flip(&signature, bit)), [false; 2]);
            assert_eq!(verify(&flip(&public, bit), &signature), [false; 2]);
        }
    }

    #[test]
    fn ed25519(seed in array(), message in bytes(300), bit in any::<prop::sample::Index>()) {
        let mine = left::Ed25519Secret::from_seed(&seed).unwrap();
        let theirs = right::Ed25519Secret::from_seed(&seed).unwrap();
        let public = mine.public().unwrap();
        assert_eq!(theirs.public(), Some(public));
        let signature = mine.sign(&message).unwrap();
        assert_eq!(theirs.sign(&message), Some(signature));
        let verify = |public: &[u8], signature: &[u8]| {
            let (public, signature) = (public.try_into().unwrap(), signature.try_into().unwrap());
            [
                left::Ed25519Public::from_bytes(public).is_some_and(|key| key.verify(&message, signature)),
                right::Ed25519Public::from_bytes(public).is_some_and(|key| key.verify(&message, signature)),
            ]
        };
        assert_eq!(verify(&public, &signature), [true; 2]);
        assert_eq!(verify(&public, &flip(&signature, bit)), [false; 2]);
        assert_eq!(verify(&flip(&public, bit), &signature), [false; 2]);
    }
}

/// The points of small order (RFC 7748, section 6.1): 0, 1, the two of order 8, p − 1, and the spellings p and p + 1.
#[test]
fn x25519_shares_of_small_order_are_refused_by_both() {
    let last = |first: u8| {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (first, 0x7f);
        bytes
    };
    let mut one = [0; 32];
    one[0] = 1;
    let eight: [u8; 32] =
        crate::hex::decode("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800").unwrap();
    let other: [u8; 32] =
        crate::hex::decode("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157").unwrap();
    for point in [[0; 32], one, eight, other, last(0xec), last(0xed), last(0xee)] {
        assert!(left::X25519Secret::from_bytes(&[7; 32]).unwrap().agree(&point).is_none(), "{point:x?}");
        assert!(right::X25519Secret::from_bytes(&[7; 32]).unwrap().agree(&point).is_none(), "{point:x?}");
    }
}
