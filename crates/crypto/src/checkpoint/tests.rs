#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use portal_core::SeededEntropy;
use proptest::prelude::*;

use super::*;
use crate::sign::ed25519;

const ORIGIN: &str = "portal.example/consent";

fn key() -> PairSigningKey {
    PairSigningKey::from_seed(&[7; 64]).unwrap()
}

fn checkpoint() -> Checkpoint {
    let head = TreeHead { size: 20_852_163, root: [9; 32] };
    Checkpoint::new(ORIGIN, head, Timestamp::from_seconds(1_795_305_600)).unwrap()
}

fn verify(note: &str) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::verify(note, ORIGIN, key().verifying_key(), Suites::ALL)
}

/// The example of c2sp.org/signed-note, with the key of Go's golang.org/x/mod/sumdb/note, whose documentation has it.
#[test]
fn the_example_of_go() {
    let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    let note = format!(
        "{text}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    );
    let key = STANDARD.decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
    let public = ed25519::VerifyingKey::from_bytes(&key[1..]).unwrap();
    let (found, signatures) = note::split(&note).unwrap();
    assert_eq!(found, text);
    public.verify(found.as_bytes(), &signatures[0].bytes).unwrap();
    assert_eq!(key_ids(&note), ["c74f20a3"]);
    let pair = [key[1..].to_vec(), self::key().verifying_key().ml_dsa_65().as_bytes().to_vec()].concat();
    let [of_go, _] = NoteKey::both("PeterNeumann", &PairVerifyingKey::from_bytes(&pair).unwrap());
    let expected = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert_eq!(of_go.verifier_key(), expected);
}

#[test]
fn what_is_signed_verifies_and_has_the_documented_form() {
    let note = checkpoint().sign(&key()).unwrap();
    assert_eq!(verify(&note).unwrap(), checkpoint());
    assert_eq!(Checkpoint::unverified(&note).unwrap(), checkpoint());
    let lines: Vec<_> = note.split('\n').collect();
    assert_eq!(lines[..5], [ORIGIN, "20852163", &STANDARD.encode([9; 32]), "time 2026-11-22T00:00:00Z", ""]);
    assert_eq!(lines.len(), 8);
    let ids = NoteKey::both(ORIGIN, key().verifying_key()).map(|key| key.id());
    assert_eq!(key_ids(&note), ids);
    // A witness adds a line; what is said stays.
    let witnessed = format!("{note}— witness.example {}\n", STANDARD.encode([1; 80]));
    assert_eq!(verify(&witnessed).unwrap(), checkpoint());
}

#[test]
fn verifier_keys_are_read_back() {
    let keys = NoteKey::both(ORIGIN, key().verifying_key()).map(|key| key.verifier_key());
    let [one, other] = [keys[0].as_str(), keys[1].as_str()];
    for keys in [[one, other], [other, one]] {
        let (name, pair) = NoteKey::parse_both(keys).unwrap();
        assert_eq!((name.as_str(), pair.to_bytes()), (ORIGIN, key().verifying_key().to_bytes()));
    }
    let renamed = one.replace("portal.example", "other.example");
    for keys in
        [vec![one], vec![one, one], vec![one, other, other], vec![&renamed, other], vec![one, "x+y+z"]]
    {
        assert!(NoteKey::parse_both(keys).is_none());
    }
}

#[test]
fn refused() {
    use CheckpointError::{Disabled, Malformed, OtherOrigin, SignatureMissing, SignatureWrong};
    let note = checkpoint().sign(&key()).unwrap();
    let (text, signatures) = note.split_once("\n\n").unwrap();
    let (classical, quantum_safe) = signatures.trim_end().split_once('\n').unwrap();
    let other = PairSigningKey::generate(&SeededEntropy::new(3)).unwrap().0;
    let by_other = checkpoint().sign(&other).unwrap();
    for (note, error) in [
        (format!("{text}\n\n{classical}\n"), SignatureMissing(Algorithm::MlDsa65)),
        (format!("{text}\n\n{quantum_safe}\n"), SignatureMissing(Algorithm::Ed25519)),
        (by_other, SignatureMissing(Algorithm::Ed25519)),
        (note.replace("20852163", "20852164"), SignatureWrong(Algorithm::Ed25519)),
        (note.replace("20852163", "020852163"), Malformed),
        (note.replace("20852163", "+20852163"), Malformed),
        (note.replace("00:00:00Z", "00:00:00.0Z"), Malformed),
        (note.replace("\ntime", "\nmore\ntime"), Malformed),
        (note.trim_end().to_owned(), Malformed),
        (note.replace('\n', "\r\n"), Malformed),
        (format!("{text}\n\n"), Malformed),
        (text.to_owned(), Malformed),
        (String::new(), Malformed),
    ] {
        assert_eq!(verify(&note), Err(error), "{note}");
    }
    let theirs = Checkpoint::verify(&note, "other.example/log", key().verifying_key(), Suites::ALL);
    assert_eq!(theirs, Err(OtherOrigin));
    let off = Suites::all_but([Algorithm::MlDsa65Ed25519]);
    assert!(matches!(Checkpoint::verify(&note, ORIGIN, key().verifying_key(), off), Err(Disabled(_))));
    for name in ["", "a b", "a+b", "a\nb", "a\u{a0}b"] {
        assert_eq!(Checkpoint::new(name, checkpoint().head, checkpoint().signed_at), Err(InvalidOrigin));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No byte of what is said and of the log's own signatures can be another one.
    #[test]
    fn no_byte_can_change(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let note = checkpoint().sign(&key()).unwrap();
        let mut bytes = note.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(verify(&changed).is_err(), "{}", at);
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "(\\PC|\n|— ){0,200}") {
        let _ = Checkpoint::unverified(&text);
        prop_assert!(verify(&text).is_err());
    }
}
