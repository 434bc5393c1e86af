#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use coset::CborSerializable;
use coset::cbor::cbor;
use proptest::prelude::*;

use super::*;
use crate::pair::PairSigningKey;
use crate::suite::Algorithm;

fn pair(seed: u8) -> PairSigningKey {
    PairSigningKey::from_seed(&[seed; 64]).unwrap()
}

const MESSAGE: Message<'static> =
    Message { content_type: Some("text/plain"), payload: b"payload", external_aad: b"aad" };

fn expect(keys: &[Key]) -> Expect<'_> {
    Expect { content_type: Some("text/plain"), keys, external_aad: b"aad", suites: Suites::ALL }
}

fn value(bytes: &[u8]) -> Value {
    Value::from_slice(bytes).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    value.clone().to_vec().unwrap()
}

type Members = Vec<(Value, Value)>;

/// The parts of a tagged object.
fn parts(object: &[u8]) -> Vec<Value> {
    let Value::Tag(_, array) = value(object) else { panic!("not tagged") };
    array.into_array().unwrap()
}

fn tagged(tag: u64, parts: Vec<Value>) -> Vec<u8> {
    bytes(&Value::Tag(tag, Box::new(Value::Array(parts))))
}

#[test]
fn one_signature_verifies_for_its_key_message_and_type_only() {
    let (ours, theirs) = (pair(1), pair(2));
    for (own, foreign) in SigningKey::both(&ours).into_iter().zip(SigningKey::both(&theirs)) {
        let object = sign1(&MESSAGE, own).unwrap();
        let keys = [own.verifying_key()];
        assert_eq!(verify1(&object, &expect(&keys)).unwrap(), b"payload");
        let why = |expect: Expect<'_>| verify1(&object, &expect).unwrap_err();
        assert_eq!(why(expect(&[foreign.verifying_key()])), CoseError::UnknownKey);
        assert_eq!(why(expect(&[])), CoseError::UnknownKey);
        assert_eq!(why(Expect { external_aad: b"", ..expect(&keys) }), CoseError::BadSignature);
        assert_eq!(why(Expect { content_type: None, ..expect(&keys) }), CoseError::ContentType);
        assert_eq!(why(Expect { content_type: Some("a/b"), ..expect(&keys) }), CoseError::ContentType);
        let suites = Suites::all_but([own.verifying_key().algorithm()]);
        let disabled = CoseError::Disabled(Disabled(own.verifying_key().algorithm()));
        assert_eq!(why(Expect { suites, ..expect(&keys) }), disabled);
        assert_eq!(verify(&object, &expect(&keys)), Err(CoseError::Malformed), "one is not several");
    }
}

#[test]
fn all_signatures_have_to_verify() {
    let (ours, theirs) = (pair(1), pair(2));
    let keys = Key::both(ours.verifying_key());
    let object = sign(&MESSAGE, &SigningKey::both(&ours)).unwrap();
    assert_eq!(verify(&object, &expect(&keys)).unwrap(), b"payload");
    let reversed = [keys[1].clone(), keys[0].clone()];
    assert_eq!(verify(&object, &expect(&reversed)).unwrap(), b"payload", "in any order");
    assert_eq!(verify1(&object, &expect(&keys)), Err(CoseError::Malformed), "several are not one");
    assert_eq!(verify(&object, &expect(&[])), Err(CoseError::UnknownKey));
    for key in &keys {
        let one = std::slice::from_ref(key);
        assert_eq!(verify(&object, &expect(one)), Err(CoseError::UnknownKey), "nobody else may sign");
    }
    let more = [keys.as_slice(), &Key::both(theirs.verifying_key())[..1]].concat();
    assert_eq!(verify(&object, &expect(&more)), Err(CoseError::MissingSignature));

    let build = |signatures: Vec<Value>| {
        let mut parts = parts(&object);
        parts[3] = Value::Array(signatures);
        tagged(98, parts)
    };
    let [one, two] = <[Value; 2]>::try_from(parts(&object)[3].as_array().unwrap().clone()).unwrap();
    assert_eq!(build(vec![one.clone(), two.clone()]), object);
    let why = |signatures: Vec<Value>| verify(&build(signatures), &expect(&keys)).unwrap_err();
    assert_eq!(why(vec![]), CoseError::MissingSignature);
    assert_eq!(why(vec![one.clone()]), CoseError::MissingSignature);
    assert_eq!(why(vec![two.clone()]), CoseError::MissingSignature);
    assert_eq!(why(vec![one.clone(), one.clone()]), CoseError::DuplicateSignature);
    assert_eq!(why(vec![one.clone(), two.clone(), two.clone()]), CoseError::DuplicateSignature);
    assert_eq!(why(vec![one.clone(); 9]), CoseError::TooLong);
    let foreign = sign(&MESSAGE, &SigningKey::both(&theirs)).unwrap();
    let foreign = parts(&foreign)[3].as_array().unwrap()[1].clone();
    assert_eq!(why(vec![one, two, foreign]), CoseError::UnknownKey);
}

#[test]
fn a_key_of_one_signature_does_not_stand_for_several() {
    let ours = pair(1);
    let [classical, quantum_safe] = SigningKey::both(&ours);
    let keys = Key::both(ours.verifying_key());
    // The halves of an object of two signatures are no objects of one, whatever is put around them.
    let object = sign(&MESSAGE, &[classical, quantum_safe]).unwrap();
    let outer = parts(&object);
    for signature in outer[3].as_array().unwrap() {
        let inner = signature.as_array().unwrap();
        let alone = [inner[0].clone(), inner[1].clone(), outer[2].clone(), inner[2].clone()];
        let expect = Expect { content_type: None, ..expect(&keys) };
        assert_eq!(verify1(&tagged(18, alone.to_vec()), &expect), Err(CoseError::BadSignature));
    }
}

#[test]
fn every_changed_byte_is_refused() {
    let ours = pair(1);
    let keys = Key::both(ours.verifying_key());
    let [classical, _] = SigningKey::both(&ours);
    let one = sign1(&MESSAGE, classical).unwrap();
    for bit in 0..one.len() * 8 {
        let mut flipped = one.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(verify1(&flipped, &expect(&keys)).is_err(), "bit {bit}");
    }
    let two = sign(&MESSAGE, &SigningKey::both(&ours)).unwrap();
    // All of what stands around the long signature, and a part of it.
    for at in (0..two.len()).filter(|at| *at < 400 || at % 61 == 0 || at + 10 > two.len()) {
        let mut flipped = two.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(verify(&flipped, &expect(&keys)).is_err(), "byte {at}");
    }
    for length in 0..one.len() {
        assert_eq!(verify1(&one[..length], &expect(&keys)), Err(CoseError::Malformed), "{length}");
    }
    assert_eq!(verify1(&[one.as_slice(), &[0]].concat(), &expect(&keys)), Err(CoseError::Malformed));
    assert_eq!(verify(&two[..two.len() - 1], &expect(&keys)), Err(CoseError::Malformed));
}

#[test]
fn unexpected_headers_are_refused() {
    let ours = pair(1);
    let [classical, _] = SigningKey::both(&ours);
    let keys = Key::both(ours.verifying_key());
    let kid = classical.thumbprint().as_bytes().to_vec();
    // Signed as they stand, so that nothing but the header is wrong.
    let signed = |header: Value| {
        let protected = Value::Bytes(bytes(&header));
        let structure = cbor!([
            "Signature1",
            protected,
            Value::Bytes(b"aad".to_vec()),
            Value::Bytes(b"payload".to_vec())
        ]);
        let signature = classical.sign(&bytes(&structure.unwrap())).unwrap();
        let payload = Value::Bytes(b"payload".to_vec());
        tagged(18, vec![protected, Value::Map(vec![]), payload, Value::Bytes(signature)])
    };
    let header = |members: Vec<(i64, Value)>| {
        let members = members.into_iter().map(|(name, value)| (Value::from(name), value));
        signed(Value::Map(members.collect()))
    };
    let (alg, kid) = (|| (1, Value::from(-19)), || (4, Value::Bytes(kid.clone())));
    let text = || (3, Value::from("text/plain"));
    let why = |object: Vec<u8>| verify1(&object, &expect(&keys)).err();
    assert_eq!(why(header(vec![alg(), text(), kid()])), None);
    assert_eq!(why(header(vec![alg(), kid()])), Some(CoseError::ContentType));
    assert_eq!(why(header(vec![alg(), (3, Value::from(0)), kid()])), Some(CoseError::ContentType));
    assert_eq!(why(header(vec![text(), kid()])), Some(CoseError::UnexpectedHeader));
    assert_eq!(why(header(vec![alg(), text()])), Some(CoseError::UnknownKey));
    assert_eq!(why(header(vec![(1, Value::from(-49)), text(), kid()])), Some(CoseError::WrongAlgorithm));
    assert_eq!(why(header(vec![(1, Value::from(-8)), text(), kid()])), Some(CoseError::WrongAlgorithm));
    assert_eq!(
        why(header(vec![(1, Value::from("Ed25519")), text(), kid()])),
        Some(CoseError::WrongAlgorithm)
    );
    let critical = (2, Value::Array(vec![Value::from(4)]));
    assert_eq!(why(header(vec![alg(), critical, text(), kid()])), Some(CoseError::UnexpectedHeader));
    let unknown = (99, Value::from(0));
    assert_eq!(why(header(vec![alg(), text(), kid(), unknown])), Some(CoseError::UnexpectedHeader));
    let iv = (5, Value::Bytes(vec![1]));
    assert_eq!(why(header(vec![alg(), text(), kid(), iv])), Some(CoseError::UnexpectedHeader));
    assert_eq!(why(header(vec![alg(), alg(), text(), kid()])), Some(CoseError::Malformed));
    let long = (99, Value::Bytes(vec![0; 256]));
    assert_eq!(why(header(vec![alg(), text(), kid(), long])), Some(CoseError::UnexpectedHeader));

    let good = header(vec![alg(), text(), kid()]);
    let mut unprotected = parts(&good);
    unprotected[1] = cbor!({4 => 1}).unwrap();
    assert_eq!(why(tagged(18, unprotected)), Some(CoseError::UnexpectedHeader));
    let mut detached = parts(&good);
    detached[2] = Value::Null;
    assert!(why(tagged(18, detached)).is_some());
    assert_eq!(why(tagged(98, parts(&good))), Some(CoseError::Malformed));
    assert_eq!(why(bytes(&Value::Array(parts(&good)))), Some(CoseError::Malformed), "not tagged");
}

/// Counter signatures nest: each level is a header inside a byte string, which a parser may follow into the depths.
#[test]
fn nested_headers_are_not_followed() {
    let mut header = bytes(&Value::Map(vec![]));
    while header.len() < MAX_OBJECT / 2 {
        let inner = Value::Array(vec![Value::Bytes(header), Value::Map(vec![]), Value::Bytes(vec![])]);
        header = bytes(&Value::Map(vec![(Value::from(7), inner)]));
        if header.len() > 60_000 {
            break;
        }
    }
    let object = |protected: Value, unprotected: Value| {
        tagged(18, vec![protected, unprotected, Value::Bytes(vec![]), Value::Bytes(vec![])])
    };
    let deep = object(Value::Bytes(header.clone()), Value::Map(vec![]));
    assert_eq!(verify1(&deep, &expect(&[])), Err(CoseError::UnexpectedHeader));
    let signature = Value::Array(vec![Value::Bytes(header), Value::Map(vec![]), Value::Bytes(vec![])]);
    let beside = object(Value::Bytes(vec![]), Value::Map(vec![(Value::from(7), signature.clone())]));
    assert_eq!(verify1(&beside, &expect(&[])), Err(CoseError::UnexpectedHeader));
    let signatures = Value::Array(vec![signature]);
    let inside = [Value::Bytes(vec![]), Value::Map(vec![]), Value::Bytes(vec![]), signatures];
    assert_eq!(verify(&tagged(98, inside.to_vec()), &expect(&[])), Err(CoseError::UnexpectedHeader));
    let arrays = [vec![0x81; 10_000], vec![0x80]].concat();
    assert_eq!(verify1(&arrays, &expect(&[])), Err(CoseError::Malformed));
    let tags = [vec![0xd2; 10_000], vec![0x80]].concat();
    assert_eq!(verify1(&tags, &expect(&[])), Err(CoseError::Malformed));
}

#[test]
fn other_encodings_of_the_same_object_are_refused() {
    let ours = pair(1);
    let [classical, _] = SigningKey::both(&ours);
    let keys = Key::both(ours.verifying_key());
    let good = sign1(&MESSAGE, classical).unwrap();
    assert_eq!(good[..2], [0xd2, 0x84]);
    let long_tag = [&[0xd8, 18], &good[1..]].concat();
    let long_array = [&[0xd2, 0x98, 4], &good[2..]].concat();
    let open_array = [&[0xd2, 0x9f], &good[2..], &[0xff]].concat();
    for other in [long_tag, long_array, open_array] {
        assert_eq!(verify1(&other, &expect(&keys)), Err(CoseError::NotDeterministic));
    }
}

#[test]
fn what_no_verifier_would_take_is_not_signed() {
    let ours = pair(1);
    let [classical, quantum_safe] = SigningKey::both(&ours);
    let typed = |content_type| sign1(&Message { content_type, ..MESSAGE }, classical);
    for text in ["", "text", "text/", "/plain", "a/b/c", "a b/c", "text/plain\n", "tëxt/plain"] {
        assert_eq!(typed(Some(text)), Err(SignError::Unbelievable), "{text:?}");
    }
    assert!(typed(None).is_ok());
    assert_eq!(sign(&MESSAGE, &[]), Err(SignError::Unbelievable));
    assert_eq!(sign(&MESSAGE, &[classical, quantum_safe, classical]), Err(SignError::Unbelievable));
    let payload = vec![0; MAX_OBJECT];
    assert_eq!(sign1(&Message { payload: &payload, ..MESSAGE }, classical), Err(SignError::TooLong));
    assert_eq!(verify1(&vec![0; MAX_OBJECT + 1], &expect(&[])), Err(CoseError::TooLong));
    let longest = vec![7; MAX_OBJECT - 4_096 * MAX_SIGNATURES];
    let message = Message { payload: &longest, ..MESSAGE };
    let keys = Key::both(ours.verifying_key());
    let object = sign(&message, &SigningKey::both(&ours)).unwrap();
    assert_eq!(verify(&object, &expect(&keys)).unwrap(), longest);
}

#[test]
fn keys_read_back_and_nothing_else_is_a_key() {
    let ours = pair(1);
    for key in Key::both(ours.verifying_key()) {
        let good = key.to_cose_key();
        assert_eq!(Key::from_cose_key(&good), Ok(key.clone()));
        assert_eq!(bytes(&value(&good)), good);
        let members = value(&good).into_map().unwrap();
        let with = |change: &dyn Fn(&mut Members)| {
            let mut members = members.clone();
            change(&mut members);
            Key::from_cose_key(&bytes(&Value::Map(members)))
        };
        let refused = |change: &dyn Fn(&mut Members)| assert_eq!(with(change), Err(InvalidKey));
        assert_eq!(with(&|members| members.reverse()), Ok(key.clone()), "in any order");
        assert_eq!(with(&|members| drop(members.remove(1))), Ok(key.clone()), "kid may be missing");
        let operations = |list: Vec<i64>| Value::Array(list.into_iter().map(Value::from).collect());
        let verifies = operations(vec![2]);
        assert!(with(&|members| members.push((Value::from(4), verifies.clone()))).is_ok());
        let signs = operations(vec![1]);
        refused(&|members| members.push((Value::from(4), signs.clone())));
        refused(&|members| members[1].1 = Value::Bytes(vec![0; 32]));
        refused(&|members| members[0].1 = Value::from(2));
        refused(&|members| members[2].1 = Value::from(-48));
        refused(&|members| members[2].1 = Value::from(-7));
        let private = if key.algorithm() == Algorithm::MlDsa65 { -2 } else { -4 };
        refused(&|members| members.push((Value::from(private), Value::Bytes(vec![0; 32]))));
        refused(&|members| members.push((Value::from(5), Value::Bytes(vec![1]))));
        refused(&|members| members.push(members[0].clone()));
        refused(&|members| members.last_mut().unwrap().1.as_bytes_mut().unwrap().truncate(31));
        for length in 0..good.len() {
            assert_eq!(Key::from_cose_key(&good[..length]), Err(InvalidKey));
        }
        assert_eq!(Key::from_cose_key(&[good.as_slice(), &[0]].concat()), Err(InvalidKey));
    }
    assert_eq!(Key::from_cose_key(&vec![0; 5_000]), Err(InvalidKey));
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), tag in prop::sample::select(vec![18_u8, 98])) {
        let keys = Key::both(pair(1).verifying_key());
        let tagged = [&[0xd8, tag, 0x84], bytes.as_slice()].concat();
        for bytes in [bytes.as_slice(), &tagged] {
            prop_assert!(verify1(bytes, &expect(&keys)).is_err());
            prop_assert!(verify(bytes, &expect(&keys)).is_err());
            prop_assert!(Key::from_cose_key(bytes).is_err());
        }
    }
}

#[test]
fn a_key_set_is_read_whole_or_not_at_all() {
    let keys = Key::both(pair(1).verifying_key());
    let set = |keys: &[Vec<u8>]| bytes(&Value::Array(keys.iter().map(|key| value(key)).collect()));
    let encoded: Vec<_> = keys.iter().map(Key::to_cose_key).collect();
    assert_eq!(Key::from_cose_key_set(&set(&encoded)), Ok(keys.to_vec()));
    let with_another = [encoded.clone(), vec![bytes(&cbor!({1 => 4}).unwrap())]].concat();
    assert_eq!(Key::from_cose_key_set(&set(&with_another)), Err(InvalidKey));
    for none in [&encoded[0], b"".as_slice(), &[0x80; 300_000]] {
        assert_eq!(Key::from_cose_key_set(none), Err(InvalidKey));
    }
}
