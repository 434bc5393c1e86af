#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use proptest::prelude::*;

use super::*;
use crate::cose::{Expect, Message, sign1, verify1};
use crate::merkle::{leaf_hash, proof::inclusion_proof};
use crate::pair::PairSigningKey;
use crate::suite::{Algorithm, Disabled};

fn pair(seed: u8) -> PairSigningKey {
    PairSigningKey::from_seed(&[seed; 64]).unwrap()
}

fn leaves(count: u32) -> Vec<Sha256> {
    (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

fn inclusion(leaves: &[Sha256], index: usize) -> Inclusion {
    Inclusion {
        tree_size: leaves.len() as u64,
        leaf_index: index as u64,
        path: inclusion_proof(leaves, index).unwrap(),
    }
}

/// A receipt of leaf 3 of 7, with the leaf and the root.
fn example(pair: &PairSigningKey) -> (Vec<u8>, Sha256, TreeHead) {
    let leaves = leaves(7);
    let head = TreeHead::of(&leaves);
    let receipt = issue(&inclusion(&leaves, 3), &head.root, SigningKey::MlDsa65(pair.ml_dsa_65())).unwrap();
    (receipt, leaves[3], head)
}

fn keys(pair: &PairSigningKey) -> [Key; 1] {
    [Key::MlDsa65(pair.verifying_key().ml_dsa_65().clone())]
}

fn check(receipt: &[u8], leaf: &Sha256, keys: &[Key]) -> Result<Included, ReceiptError> {
    read(receipt)?.verify(leaf, keys, Suites::ALL)
}

fn value(bytes: &[u8]) -> Value {
    Value::from_slice(bytes).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    value.clone().to_vec().unwrap()
}

#[test]
fn every_leaf_of_every_small_tree_has_its_receipt() {
    let pair = pair(1);
    for size in 1..12 {
        let leaves = leaves(size);
        let head = TreeHead::of(&leaves);
        for (index, leaf) in leaves.iter().enumerate() {
            let inclusion = inclusion(&leaves, index);
            let receipt = issue(&inclusion, &head.root, SigningKey::MlDsa65(pair.ml_dsa_65())).unwrap();
            assert_eq!(read(&receipt).unwrap().inclusion(), &inclusion);
            let included = check(&receipt, leaf, &keys(&pair)).unwrap();
            assert_eq!(included, Included { leaf_index: index as u64, head });
        }
    }
}

/// The form of RFC 9942, member by member.
#[test]
fn the_form_is_that_of_the_rfc() {
    let pair = pair(1);
    let (receipt, ..) = example(&pair);
    let Value::Tag(18, array) = value(&receipt) else { panic!("not a COSE_Sign1") };
    let parts = array.into_array().unwrap();
    let kid = keys(&pair)[0].thumbprint().as_bytes().to_vec();
    let protected = value(parts[0].as_bytes().unwrap());
    let expect = vec![
        (Value::from(1), Value::from(-49)),
        (Value::from(4), Value::Bytes(kid)),
        (Value::from(395), Value::from(1)),
    ];
    assert_eq!(protected, Value::Map(expect));
    let path = inclusion(&leaves(7), 3).path.into_iter().map(|hash| Value::Bytes(hash.to_vec())).collect();
    let proof = bytes(&Value::Array(vec![Value::from(7), Value::from(3), Value::Array(path)]));
    let proofs = Value::Map(vec![(Value::from(-1), Value::Array(vec![Value::Bytes(proof)]))]);
    assert_eq!(parts[1], Value::Map(vec![(Value::from(396), proofs)]));
    assert_eq!(parts[2], Value::Null);
    assert_eq!(parts[3].as_bytes().unwrap().len(), 3_309);
}

#[test]
fn another_leaf_key_or_algorithm_is_refused() {
    let (ours, theirs) = (pair(1), pair(2));
    let (receipt, leaf, _) = example(&ours);
    assert_eq!(check(&receipt, &leaves(7)[2], &keys(&ours)), Err(CoseError::BadSignature.into()));
    assert_eq!(check(&receipt, &leaf, &keys(&theirs)), Err(CoseError::UnknownKey.into()));
    assert_eq!(check(&receipt, &leaf, &[]), Err(CoseError::UnknownKey.into()));
    let off = Suites::all_but([Algorithm::MlDsa65]);
    let disabled = CoseError::Disabled(Disabled(Algorithm::MlDsa65));
    assert_eq!(read(&receipt).unwrap().verify(&leaf, &keys(&ours), off), Err(disabled.into()));
    // Signed by Ed25519 and named so, but the key that has the name is one of ML-DSA-65: the ids can't meet.
    let leaves = leaves(7);
    let head = TreeHead::of(&leaves);
    let classical = issue(&inclusion(&leaves, 3), &head.root, SigningKey::Ed25519(ours.ed25519())).unwrap();
    assert_eq!(check(&classical, &leaf, &keys(&ours)), Err(CoseError::UnknownKey.into()));
}

#[test]
fn a_place_outside_of_the_tree_is_refused() {
    let pair = pair(1);
    let leaves = leaves(7);
    let head = TreeHead::of(&leaves);
    let key = SigningKey::MlDsa65(pair.ml_dsa_65());
    let sign = |inclusion: &Inclusion| issue(inclusion, &head.root, key).unwrap();
    let good = inclusion(&leaves, 3);
    let why = |inclusion: Inclusion| check(&sign(&inclusion), &leaves[3], &keys(&pair)).unwrap_err();
    let beyond = why(Inclusion { leaf_index: 7, ..good.clone() });
    assert_eq!(beyond, ProofError::IndexBeyondTree.into());
    assert_eq!(why(Inclusion { tree_size: 0, ..good.clone() }), ProofError::IndexBeyondTree.into());
    let short = good.path[1..].to_vec();
    assert_eq!(why(Inclusion { path: short, ..good.clone() }), ProofError::WrongLength.into());
    let long = [good.path.as_slice(), &[[7; 32]]].concat();
    assert_eq!(why(Inclusion { path: long, ..good.clone() }), ProofError::WrongLength.into());
    let mut bent = good.clone();
    bent.path[1][0] ^= 1;
    assert_eq!(why(bent), CoseError::BadSignature.into());
    assert_eq!(
        issue(&Inclusion { path: vec![[0; 32]; 64], ..good }, &head.root, key),
        Err(SignError::TooLong)
    );
}

type Members = Vec<(Value, Value)>;

/// Remakes a receipt with something changed.
struct Bent(Vec<Value>);

impl Bent {
    fn of(receipt: &[u8]) -> Self {
        let Value::Tag(18, array) = value(receipt) else { panic!("not a COSE_Sign1") };
        Self(array.into_array().unwrap())
    }

    fn parts(&self, change: impl Fn(&mut Vec<Value>)) -> Vec<u8> {
        let mut parts = self.0.clone();
        change(&mut parts);
        bytes(&Value::Tag(18, Box::new(Value::Array(parts))))
    }

    fn protected(&self, change: impl Fn(&mut Members)) -> Vec<u8> {
        let mut members = value(self.0[0].as_bytes().unwrap()).into_map().unwrap();
        change(&mut members);
        self.parts(|parts| parts[0] = Value::Bytes(bytes(&Value::Map(members.clone()))))
    }

    fn unprotected(&self, change: impl Fn(&mut Members)) -> Vec<u8> {
        let mut members = self.0[1].clone().into_map().unwrap();
        change(&mut members);
        self.parts(|parts| parts[1] = Value::Map(members.clone()))
    }

    fn proofs(&self, made: &Value) -> Vec<u8> {
        self.unprotected(|members| members[0].1 = Value::Map(vec![(Value::from(-1), made.clone())]))
    }

    fn proof(&self) -> Value {
        self.0[1].as_map().unwrap()[0].1.as_map().unwrap()[0].1.as_array().unwrap()[0].clone()
    }
}

/// Each member of each header changed, doubled, dropped or with company.
#[test]
fn other_members_are_refused() {
    let pair = pair(1);
    let (receipt, leaf, _) = example(&pair);
    let bent = Bent::of(&receipt);
    let critical = (Value::from(2), Value::Array(vec![Value::from(4)]));
    let unknown = [
        bent.protected(|members| members[2].1 = Value::from(2)),
        bent.protected(|members| members.truncate(2)),
        bent.protected(|members| drop(members.remove(1))),
        bent.protected(|members| members.insert(1, critical.clone())),
        bent.protected(|members| members.insert(1, (Value::from(3), Value::from("text/plain")))),
        bent.protected(|members| members.push((Value::from(400), Value::from(1)))),
        bent.unprotected(Vec::clear),
        bent.unprotected(|members| members.push((Value::from(400), Value::from(1)))),
        bent.unprotected(|members| members.push(members[0].clone())),
        bent.unprotected(|members| members[0].0 = Value::from(397)),
        bent.unprotected(|members| members[0].1 = Value::Map(vec![(Value::from(-2), Value::Array(vec![]))])),
    ];
    for (nth, object) in unknown.iter().enumerate() {
        assert_eq!(check(object, &leaf, &keys(&pair)), Err(CoseError::UnexpectedHeader.into()), "{nth}");
    }
}

/// Each part of another type or number, in another order or length.
#[test]
fn other_forms_are_refused() {
    let pair = pair(1);
    let (receipt, leaf, _) = example(&pair);
    let bent = Bent::of(&receipt);
    let proof = bent.proof();
    let malformed = [
        bent.protected(|members| members.push(members[2].clone())),
        bent.proofs(&Value::Array(vec![])),
        bent.proofs(&Value::Array(vec![proof.clone(), proof.clone()])),
        bent.proofs(&proof),
        bent.proofs(&Value::Array(vec![Value::Bytes(bytes(&Value::Array(vec![])))])),
        bent.parts(|parts| parts[2] = Value::Bytes(vec![0; 32])),
        bent.parts(|parts| parts[3] = Value::Null),
        bent.parts(|parts| drop(parts.pop())),
        bent.parts(|parts| parts.push(Value::Null)),
    ];
    for (nth, object) in malformed.iter().enumerate() {
        assert_eq!(check(object, &leaf, &keys(&pair)), Err(CoseError::Malformed.into()), "{nth}");
    }
    // The size of the tree, 7, in two bytes.
    let inner = inclusion(&leaves(7), 3).encode().unwrap();
    let stretched = [&[0x83, 0x18, 0x07], &inner[2..]].concat();
    let others = [
        bent.protected(|members| members.swap(0, 1)),
        [&[0xd8, 18], &receipt[1..]].concat(),
        bent.proofs(&Value::Array(vec![Value::Bytes(stretched)])),
    ];
    for (nth, object) in others.iter().enumerate() {
        assert_eq!(check(object, &leaf, &keys(&pair)), Err(CoseError::NotDeterministic.into()), "{nth}");
    }
    assert_eq!(check(&vec![0; MAX_RECEIPT + 1], &leaf, &[]), Err(CoseError::TooLong.into()));
}

#[test]
fn a_receipt_goes_into_its_object_and_out_again() {
    let pair = pair(1);
    let (receipt, ..) = example(&pair);
    let message = Message { content_type: None, payload: b"payload", external_aad: b"" };
    let object = sign1(&message, SigningKey::MlDsa65(pair.ml_dsa_65())).unwrap();
    let whole = embed(&object, &receipt).unwrap();
    assert_eq!(split(&whole), Ok((object.clone(), Some(receipt.clone()))));
    assert_eq!(split(&object), Ok((object.clone(), None)));
    assert_eq!(embed(&whole, &receipt), Err(CoseError::Malformed), "one receipt");
    let expect = Expect { content_type: None, keys: &keys(&pair), external_aad: b"", suites: Suites::ALL };
    assert_eq!(verify1(&whole, &expect), Err(CoseError::UnexpectedHeader));
    assert_eq!(verify1(&object, &expect).unwrap(), b"payload");
    assert_eq!(split(b""), Err(CoseError::Malformed));
    assert_eq!(split(&[&[0xd8, 18], &whole[1..]].concat()), Err(CoseError::NotDeterministic));
}

/// What a root does not fix, RFC 9162 and RFC 9942 leave open: the same path leads to it from the same leaf in trees of several
/// sizes. Nothing else of a receipt can be changed.
#[test]
fn the_size_of_the_tree_is_not_vouched_for() {
    let pair = pair(1);
    let (receipt, leaf, head) = example(&pair);
    let bent = Bent::of(&receipt);
    let sized = |tree_size| {
        let inclusion = Inclusion { tree_size, ..inclusion(&leaves(7), 3) };
        bent.proofs(&Value::Array(vec![Value::Bytes(inclusion.encode().unwrap())]))
    };
    let same = (1..64).filter(|size| match check(&sized(*size), &leaf, &keys(&pair)) {
        Ok(included) => {
            assert_eq!(included, Included { leaf_index: 3, head: TreeHead { size: *size, root: head.root } });
            true
        }
        Err(_) => false,
    });
    assert_eq!(same.collect::<Vec<_>>(), [5, 6, 7, 8]);
}

proptest! {
    #[test]
    fn no_changed_byte_is_overlooked(at: prop::sample::Index, bit in 0_u8..8) {
        let pair = pair(1);
        let (receipt, leaf, head) = example(&pair);
        let mut changed = receipt.clone();
        changed[at.index(receipt.len())] ^= 1 << bit;
        // The size of the tree is not signed, and leads to the same root from this leaf if it is 5 or 6.
        if let Ok(included) = check(&changed, &leaf, &keys(&pair)) {
            prop_assert!(matches!(included.head.size, 5 | 6) && changed.len() == receipt.len());
            prop_assert_eq!((included.leaf_index, included.head.root), (3, head.root));
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read(&bytes).is_err());
    }
}
