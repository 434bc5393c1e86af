#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use std::sync::atomic::{AtomicU8, Ordering};

use portal_core::id::{EpochId, TenantId};
use portal_core::{SeededEntropy, Workload};
use proptest::prelude::*;

use super::*;
use crate::envelope::Scope;

const T: Timestamp = Timestamp::from_seconds(1_763_800_000);

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(T.as_seconds() + seconds)
}

/// Gives n, n + 1, n + 2, …: the same for ever, which nobody promises of a seeded generator.
struct Steps(AtomicU8);

impl Entropy for Steps {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
    }
}

fn keyring(start: u8) -> Keyring {
    Keyring::generate(T, &Steps(start.into())).unwrap()
}

/// One destroyed, one retired, one active.
fn three() -> Keyring {
    let entropy = Steps(100.into());
    let mut keyring = keyring(1);
    let first = keyring.active();
    keyring.rotate(later(1), &entropy).unwrap();
    keyring.rotate(later(2), &entropy).unwrap();
    keyring.destroy(first, later(3)).unwrap();
    keyring
}

fn context(byte: u8) -> KeyContext {
    let scope = Scope { service: Workload::Auth, tenant: TenantId::DEFAULT };
    KeyContext::epoch(scope, EpochId::from_bytes([byte; 16]))
}

fn cheap() -> Cost {
    Cost::new(8, 1, 1).unwrap()
}

fn passphrase(text: &str) -> Sensitive<Vec<u8>> {
    Sensitive::new(text.as_bytes().to_vec())
}

fn parse(text: &str) -> Result<Keyring, KeyringError> {
    Keyring::parse(text.as_bytes(), None)
}

fn text(keyring: &Keyring) -> String {
    String::from_utf8(keyring.to_file().expose().clone()).unwrap()
}

#[test]
fn the_format_never_changes() {
    let expected = concat!(
        r#"{"version":1,"roots":[{"id":"019aaaac-2600-7102-8304-05060708090a","algorithm":"X-Wing","use":"root","state":"destroyed","#,
        r#""created":1763800000000000,"retired":1763800001000000,"destroyed":1763800003000000},"#,
        r#"{"id":"019aaaac-29e8-7465-a667-68696a6b6c6d","algorithm":"X-Wing","use":"root","state":"retired","created":1763800001000000,"#,
        r#""retired":1763800002000000,"seed":"bm9wcXJzdHV2d3h5ent8fX5_gIGCg4SFhoeIiYqLjI0"},"#,
        r#"{"id":"019aaaac-2dd0-7e8f-9091-929394959697","algorithm":"X-Wing","use":"root","state":"active","created":1763800002000000,"#,
        r#""seed":"mJmam5ydnp-goaKjpKWmp6ipqqusra6vsLGys7S1trc"}]}"#,
    );
    assert_eq!(text(&three()), expected);
}

#[test]
fn a_file_reads_back() {
    let entropy = SeededEntropy::new(9);
    for keyring in [keyring(1), three()] {
        let plain = keyring.to_file();
        let again = Keyring::parse(plain.expose(), None).unwrap();
        assert_eq!(again.to_file().expose(), plain.expose());
        assert_eq!(again.active(), keyring.active());
        assert!(again.inventory().eq(keyring.inventory()));
        let sealed = keyring.to_sealed_file(&passphrase("correct horse"), cheap(), &entropy).unwrap();
        let again = Keyring::parse(&sealed, Some(&passphrase("correct horse"))).unwrap();
        assert_eq!(again.to_file().expose(), plain.expose());
    }
}

/// Made with `hash_secret_raw` of PyPI argon2-cffi and AESGCM of PyCA cryptography, from the description in `file.rs`.
#[test]
fn a_sealed_file_of_another_implementation_opens() {
    let sealed = concat!(
        r#"{"version":1,"passphrase":{"kdf":"Argon2id","memory_kib":16,"passes":2,"lanes":2,"salt":"#,
        r#""AAECAwQFBgcICQoLDA0ODw"},"algorithm":"AES-256-GCM","nonce":"CQkJCQkJCQkJCQkJ","sealed":"#,
        r#""p-fLUHwZQAKynWU_0JWCpqkDLGk_P9pE26-JfaWPbMee_qkiLg0lk_-dKcMkW7Jb6UsK6q8Ow3--7mICIWlEfUv"#,
        r#"v9rY4hWiJEWbbKTDI4zyTGxSRVUG7Sf9spZke58A1WC7TSOKVbe9rrqbaXyb6bFRy_kZyXGI-_SLc7AR3RlkkLfH"#,
        r#"-gYnaAOeAWHZuhv5wpqdqxHikFPZnGiDMaelWqqThzH1OGmnQrFES7R00yNP6IhpgzmMz96tIKtg7N6qFwvs"}"#,
    );
    let opened = Keyring::parse(sealed.as_bytes(), Some(&passphrase("correct horse"))).unwrap();
    assert_eq!(text(&opened), text(&keyring(1)));
}

#[test]
fn what_is_wrapped_unwraps_in_its_context_only() {
    let (ours, theirs) = (keyring(1), keyring(2));
    let key = KeyBytes::generate(&SeededEntropy::new(5));
    let wrapped = ours.wrap(&context(1), &key, Suites::ALL).unwrap();
    assert_eq!((wrapped.algorithm, wrapped.root), (Algorithm::XWing, ours.active()));
    let unwrap = |keyring: &Keyring, context: &KeyContext, wrapped: &WrappedKey| {
        keyring.unwrap(context, wrapped, Suites::ALL)
    };
    assert!(unwrap(&ours, &context(1), &wrapped).unwrap().same_as(&key));
    assert_eq!(unwrap(&ours, &context(2), &wrapped).err(), Some(RootError::Refused));
    assert_eq!(unwrap(&theirs, &context(1), &wrapped).err(), Some(RootError::Missing));
    let renamed = WrappedKey { root: theirs.active(), ..wrapped.clone() };
    assert_eq!(unwrap(&theirs, &context(1), &renamed).err(), Some(RootError::Refused));
    let other = WrappedKey { algorithm: Algorithm::MlKem768, ..wrapped.clone() };
    let why = WrongAlgorithm { key: Algorithm::XWing, named: Algorithm::MlKem768 };
    assert_eq!(unwrap(&ours, &context(1), &other).err(), Some(RootError::Algorithm(why)));
    for length in 0..wrapped.bytes.len() {
        let cut = WrappedKey { bytes: wrapped.bytes[..length].to_vec(), ..wrapped.clone() };
        assert_eq!(unwrap(&ours, &context(1), &cut).err(), Some(RootError::Refused), "{length}");
    }
    let longer = WrappedKey { bytes: [wrapped.bytes.as_slice(), &[0]].concat(), ..wrapped };
    assert_eq!(unwrap(&ours, &context(1), &longer).err(), Some(RootError::Refused));
}

#[test]
fn every_flipped_bit_of_a_wrapped_key_is_refused() {
    let ours = keyring(1);
    let key = KeyBytes::generate(&SeededEntropy::new(5));
    let wrapped = ours.wrap(&context(1), &key, Suites::ALL).unwrap();
    // A decapsulation takes its time: one bit of each byte of the ciphertext, all bits of the sealed key.
    for byte in 0..wrapped.bytes.len() {
        for bit in (0..8).filter(|bit| byte >= hpke::ENCAPSULATED_KEY_LEN || *bit == byte % 8) {
            let mut changed = wrapped.clone();
            changed.bytes[byte] ^= 1 << bit;
            let opened = ours.unwrap(&context(1), &changed, Suites::ALL);
            assert_eq!(opened.err(), Some(RootError::Refused), "byte {byte}, bit {bit}");
        }
    }
}

#[test]
fn rotation_keeps_what_is_wrapped_readable_until_its_root_is_destroyed() {
    let entropy = SeededEntropy::new(4);
    let mut keyring = keyring(1);
    let old = keyring.active();
    let key = KeyBytes::generate(&entropy);
    let wrapped = keyring.wrap(&context(1), &key, Suites::ALL).unwrap();
    let new = keyring.rotate(later(1), &entropy).unwrap();
    assert_eq!(keyring.active(), new);
    assert_eq!(keyring.wrap(&context(1), &key, Suites::ALL).unwrap().root, new);
    assert!(keyring.unwrap(&context(1), &wrapped, Suites::ALL).unwrap().same_as(&key));
    let states: Vec<_> = keyring.inventory().map(|info| (*info.id(), info.state())).collect();
    assert_eq!(states, [(old, KeyState::Retired), (new, KeyState::Active)]);

    let active = RotationError::Transition(TransitionError::Destroy(KeyState::Active));
    assert_eq!(keyring.destroy(new, later(2)), Err(active));
    assert_eq!(keyring.destroy(RootId::from_bytes([0; 16]), later(2)), Err(RotationError::Missing));
    keyring.destroy(old, later(2)).unwrap();
    assert_eq!(keyring.unwrap(&context(1), &wrapped, Suites::ALL).err(), Some(RootError::Destroyed));
    let again = Keyring::parse(keyring.to_file().expose(), None).unwrap();
    assert_eq!(again.unwrap(&context(1), &wrapped, Suites::ALL).err(), Some(RootError::Destroyed));
    let gone = RotationError::Transition(TransitionError::Destroy(KeyState::Destroyed));
    assert_eq!(keyring.destroy(old, later(3)), Err(gone));
}

#[test]
fn a_full_keyring_does_not_rotate() {
    let entropy = SeededEntropy::new(4);
    let mut keyring = keyring(1);
    for at in 1..i64::try_from(MAX_ROOTS).unwrap() {
        keyring.rotate(later(at), &entropy).unwrap();
    }
    let active = keyring.active();
    assert_eq!(keyring.rotate(later(99), &entropy), Err(RotationError::Full));
    assert_eq!(keyring.active(), active);
    let file = keyring.to_file();
    assert!(file.expose().len() <= MAX_FILE, "what is written can be read");
    assert!(Keyring::parse(file.expose(), None).is_ok());
    let sealed = keyring.to_sealed_file(&passphrase("p"), cheap(), &entropy).unwrap();
    assert!(Keyring::parse(&sealed, Some(&passphrase("p"))).is_ok());
}

#[test]
fn a_suite_that_is_switched_off_neither_wraps_nor_unwraps() {
    let keyring = keyring(1);
    let key = KeyBytes::generate(&SeededEntropy::new(5));
    let wrapped = keyring.wrap(&context(1), &key, Suites::ALL).unwrap();
    let off = Suites::all_but([Algorithm::XWing]);
    let disabled = RootError::Disabled(Disabled(Algorithm::XWing));
    assert_eq!(keyring.wrap(&context(1), &key, off), Err(disabled));
    assert_eq!(keyring.unwrap(&context(1), &wrapped, off).err(), Some(disabled));
}

#[test]
fn a_passphrase_is_needed_exactly_where_the_file_is_sealed() {
    let plain = keyring(1).to_file();
    let sealed = keyring(1).to_sealed_file(&passphrase("right"), cheap(), &SeededEntropy::new(1)).unwrap();
    let right = passphrase("right");
    assert_eq!(Keyring::parse(plain.expose(), Some(&right)).err(), Some(KeyringError::NotSealed));
    assert_eq!(Keyring::parse(&sealed, None).err(), Some(KeyringError::Sealed));
    for wrong in ["wrong", "Right", "right\n", " right"] {
        let opened = Keyring::parse(&sealed, Some(&passphrase(wrong)));
        assert_eq!(opened.err(), Some(KeyringError::WrongPassphrase), "{wrong:?}");
    }
    let empty = passphrase("");
    assert_eq!(Keyring::parse(&sealed, Some(&empty)).err(), Some(KeyringError::EmptyPassphrase));
    let entropy = SeededEntropy::new(1);
    let made = keyring(1).to_sealed_file(&empty, cheap(), &entropy);
    assert_eq!(made.err(), Some(KeyringError::EmptyPassphrase));
}

#[test]
fn a_sealed_file_tells_nothing_and_never_repeats() {
    let (keyring, entropy) = (three(), SeededEntropy::new(1));
    let seal = || keyring.to_sealed_file(&passphrase("p"), cheap(), &entropy).unwrap();
    let one = String::from_utf8(seal()).unwrap();
    assert_ne!(one.as_bytes(), seal());
    for word in text(&keyring).split('"').filter(|word| word.len() >= 36) {
        assert!(!one.contains(word), "{word}");
    }
    assert!(!one.contains("X-Wing") && !one.contains("destroyed"));
}

/// Any change of a sealed file is refused: the cost and the salt make another key, everything else is authenticated.
#[test]
fn every_changed_byte_of_a_sealed_file_is_refused() {
    let sealed = keyring(1).to_sealed_file(&passphrase("p"), cheap(), &SeededEntropy::new(1)).unwrap();
    let right = passphrase("p");
    for at in 0..sealed.len() {
        for change in [1, 2, 0x20] {
            let mut changed = sealed.clone();
            changed[at] ^= change;
            assert!(Keyring::parse(&changed, Some(&right)).is_err(), "byte {at}");
            assert!(Keyring::parse(&changed, None).is_err(), "byte {at}");
        }
        assert!(Keyring::parse(&sealed[..at], Some(&right)).is_err(), "{at} bytes");
    }
}

#[test]
fn greedy_costs_are_refused_before_they_are_paid() {
    let sealed = keyring(1).to_sealed_file(&passphrase("p"), cheap(), &SeededEntropy::new(1)).unwrap();
    let sealed = String::from_utf8(sealed).unwrap();
    for (from, to) in [
        (r#""memory_kib":8"#, r#""memory_kib":1048577"#),
        (r#""memory_kib":8"#, r#""memory_kib":4294967295"#),
        (r#""memory_kib":8"#, r#""memory_kib":0"#),
        (r#""passes":1"#, r#""passes":65"#),
        (r#""passes":1"#, r#""passes":0"#),
        (r#""lanes":1"#, r#""lanes":17"#),
    ] {
        let greedy = sealed.replace(from, to);
        assert_ne!(greedy, sealed);
        let parsed = Keyring::parse(greedy.as_bytes(), Some(&passphrase("p")));
        assert_eq!(parsed.err(), Some(KeyringError::Cost), "{to}");
    }
}

#[test]
fn what_is_not_exactly_a_keyring_is_refused() {
    let good = text(&three());
    assert!(parse(&good).is_ok());
    let id = three().active().to_string();
    let other_id = RootId::from_uuid(RootId::parse(&id).unwrap().uuid()).to_string().to_uppercase();
    let version_4 = id.replacen("-7", "-4", 1);
    for (from, to, why) in [
        (r#""version":1"#, r#""version":2"#, KeyringError::Version),
        ("X-Wing", "ML-KEM-768", KeyringError::Unsupported),
        ("X-Wing", "x-wing", KeyringError::Unsupported),
        (r#""use":"root""#, r#""use":"epoch""#, KeyringError::Unsupported),
        (r#""state":"active""#, r#""state":"retired""#, KeyringError::RootState),
        (r#""state":"active""#, r#""state":"Active""#, KeyringError::Value("state")),
        (r#""state":"retired""#, r#""state":"active""#, KeyringError::RootState),
        (r#""state":"destroyed""#, r#""state":"retired""#, KeyringError::RootState),
        (r#","destroyed":1763800003000000"#, "", KeyringError::RootState),
        (r#""retired":1763800001000000,"#, "", KeyringError::RootState),
        (id.as_str(), other_id.as_str(), KeyringError::Value("id")),
        (id.as_str(), version_4.as_str(), KeyringError::Value("id")),
        (id.as_str(), "1", KeyringError::Value("id")),
        (r#""seed":""#, r#""seed":"A"#, KeyringError::Value("seed")),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        assert_eq!(parse(&changed).err(), Some(why), "{from} → {to}");
    }
    for (from, to) in [
        ("{", "[{"),
        ("}]}", "}]}x"),
        (r#""version":1"#, r#""version":1,"version":1"#),
        (r#""version":1"#, r#""version":"1""#),
        (r#""version":1,"#, ""),
        (r#""version":1"#, r#""version":1,"comment":"mine""#),
        (r#""use":"root""#, r#""use":"root","use":"root""#),
        (r#""use":"root""#, r#""use":"root","note":null"#),
        (r#""use":"root","#, ""),
        (r#""created":1763800000000000"#, r#""created":1763800000000000.5"#),
        ("X-Wing", "X\\u002dWing"),
        (r#""roots""#, r#""sealed":"AA","roots""#),
        (r#""roots""#, r#""keys""#),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        assert!(matches!(parse(&changed), Err(KeyringError::Syntax { .. })), "{from} → {to}");
    }
    let one = text(&keyring(1));
    let entry = &one[one.find('[').unwrap() + 1..one.rfind(']').unwrap()];
    let twice = one.replace(entry, &format!("{entry},{entry}"));
    assert_eq!(parse(&twice).err(), Some(KeyringError::DuplicateId));
    let two = keyring(2);
    let two = text(&two);
    let other = &two[two.find('[').unwrap() + 1..two.rfind(']').unwrap()];
    let both = one.replace(entry, &format!("{entry},{other}"));
    assert_eq!(parse(&both).err(), Some(KeyringError::NotOneActive));
    assert_eq!(parse(&one.replace(entry, "")).err(), Some(KeyringError::NotOneActive));
    let huge = " ".repeat(MAX_FILE + 1 - one.len()) + &one;
    assert_eq!(parse(&huge).err(), Some(KeyringError::TooLarge));
}

/// What goes into a log has nothing of the file's content in it.
#[test]
fn errors_quote_nothing() {
    let good = text(&keyring(1));
    let seed = good.split('"').find(|word| word.len() == 43).unwrap().to_owned();
    for changed in [
        good.replace(r#""version":1"#, &format!(r#""version":"{seed}""#)),
        good.replace(r#""seed""#, &format!(r#""{seed}""#)),
        good.replace(&seed, &format!("{seed}A")),
    ] {
        let error = parse(&changed).err().unwrap();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(&seed[..8]), "{shown}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), text in r#"[{}\[\]":,0-9a-z]{0,60}"#) {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            prop_assert!(Keyring::parse(bytes, None).is_err());
            prop_assert!(Keyring::parse(bytes, Some(&passphrase("p"))).is_err());
        }
    }
}
