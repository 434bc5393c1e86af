//! What is dropped is gone: after keys were made, used and dropped, no page of the process that can be read holds their
//! bytes any more.
//!
//! Each case runs in a thread of its own that overwrites its stack at the end, since the compiler's copies on the stack
//! are nobody's to wipe; what is searched is the rest: heap, globals, the other stacks.

use std::hint::black_box;
use std::thread;

use portal_core::id::{EpochId, Id, SubjectId, TenantId};
use portal_core::{Entropy, Sensitive, SystemEntropy, Timestamp, Workload};
use portal_crypto::aead::{Aes256GcmKey, XAes256GcmKey};
use portal_crypto::blind_index::{BlindIndexKey, IndexBits, IndexedColumn};
use portal_crypto::envelope::{Padding, Place, Scope};
use portal_crypto::epoch::EpochKey;
use portal_crypto::kdf::{Label, ServiceSecret};
use portal_crypto::kem::{ml_kem, x_wing};
use portal_crypto::key::KeyBytes;
use portal_crypto::keyring::Keyring;
use portal_crypto::mac::MacKey;
use portal_crypto::pair::PairSigningKey;
use portal_crypto::password::Cost;
use portal_crypto::row_digest::{RowDigest, RowDigestKey};
use portal_crypto::sign::{SigningKey, ed25519};
use portal_crypto::suite::{Algorithm, Suites};
use portal_crypto::wrapped::KeyContext;
use portal_crypto::{bulk, hpke};

use crate::search::{Masked, Recorded, found, mask};

fn random<const N: usize>() -> Sensitive<[u8; N]> {
    let mut bytes = [0; N];
    SystemEntropy.fill(&mut bytes);
    Sensitive::new(bytes)
}

/// The secrets that `case` made and says it dropped.
fn secrets_of(case: fn() -> Vec<Masked>) -> Vec<Masked> {
    #[inline(never)]
    fn overwrite_stack() {
        black_box(&mut [0_u8; 1 << 20]);
    }
    let run = move || {
        let secrets = black_box(case)();
        overwrite_stack();
        secrets
    };
    thread::Builder::new().stack_size(1 << 23).spawn(run).unwrap().join().unwrap()
}

fn check(case: fn() -> Vec<Masked>) {
    let secrets = secrets_of(case);
    assert!(!secrets.is_empty());
    assert_eq!(found(&secrets), 0);
}

#[test]
fn what_is_not_dropped_is_found() {
    let kept = Box::new([random::<32>()]);
    assert!(found(&[mask(kept[0].expose())]) >= 1);
    drop(kept);
}

#[test]
fn symmetric_keys() {
    check(|| {
        let secret = random::<32>();
        let (mut sealed, mut extended) = (Vec::new(), Vec::new());
        let key = Box::new(Aes256GcmKey::new(secret.expose()));
        key.seal(&[1; 12], b"aad", b"plaintext", &mut sealed).unwrap();
        let longer = Box::new(XAes256GcmKey::new(secret.expose()));
        longer.seal(&[1; 24], b"aad", b"plaintext", &mut extended).unwrap();
        let mac = Box::new(MacKey::new(secret.expose()));
        black_box(mac.tag(b"message"));
        vec![mask(secret.expose())]
    });
}

#[test]
fn plaintexts() {
    check(|| {
        let (key, secret) = (Aes256GcmKey::new(&[7; 32]), random::<32>());
        let mut sealed = Vec::new();
        key.seal(&[1; 12], b"aad", secret.expose(), &mut sealed).unwrap();
        let opened = key.open(&[1; 12], b"aad", &sealed).unwrap();
        assert_eq!(opened.expose(), secret.expose());
        // What a vector was cut to is not all that it holds; and a text is one, too.
        let mut cut = opened.expose().clone();
        cut.truncate(1);
        let text: String = random::<32>().expose().iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        let masked = mask(text.as_bytes());
        let sensitive = (Sensitive::new(cut), Box::new(Sensitive::new(text)));
        black_box(&sensitive);
        vec![mask(secret.expose()), masked]
    });
}

#[test]
fn service_secrets() {
    check(|| {
        let secret = random::<32>();
        let service = Box::new(ServiceSecret::new(secret.expose()));
        let derived = Box::new(service.derive(Label::PageToken));
        vec![mask(secret.expose()), mask(derived.expose())]
    });
}

#[test]
fn kem_keys_and_shared_secrets() {
    check(|| {
        let mut secrets = Vec::new();
        for set in ml_kem::ParameterSet::ALL {
            let (key, seed) = ml_kem::DecapsulationKey::generate(set, &SystemEntropy).unwrap();
            let key = Box::new(key);
            let (ciphertext, shared) = key.encapsulation_key().encapsulate().unwrap();
            let opened = Box::new(key.decapsulate(&ciphertext).unwrap());
            assert_eq!(opened.expose(), shared.expose());
            secrets.extend([mask(&seed.expose()[..32]), mask(&seed.expose()[32..]), mask(shared.expose())]);
        }
        let (key, seed) = x_wing::DecapsulationKey::generate(&SystemEntropy).unwrap();
        let (ciphertext, shared) = key.encapsulation_key().encapsulate().unwrap();
        let opened = Box::new(key.decapsulate(&ciphertext).unwrap());
        assert_eq!(opened.expose(), shared.expose());
        secrets.extend([mask(seed.expose()), mask(shared.expose())]);
        secrets
    });
}

#[test]
fn what_hpke_carries() {
    check(|| {
        let (key, _) = x_wing::DecapsulationKey::generate(&SystemEntropy).unwrap();
        let secret = random::<32>();
        let (enc, sealed) = hpke::seal(key.encapsulation_key(), b"info", b"aad", secret.expose()).unwrap();
        let opened = hpke::open(&key, b"info", b"aad", &enc, &sealed).unwrap();
        assert_eq!(opened.expose(), secret.expose());
        vec![mask(secret.expose())]
    });
}

#[test]
fn signing_keys() {
    check(|| {
        let seed = random::<32>();
        let key = Box::new(SigningKey::from_seed(seed.expose()).unwrap());
        key.sign(b"message").unwrap();
        let written = key.to_pkcs8().unwrap();
        let read = Box::new(SigningKey::from_pkcs8(written.expose()).unwrap());
        read.clone().sign(b"message").unwrap();
        let classical = Box::new(ed25519::SigningKey::from_seed(seed.expose()).unwrap());
        classical.sign(b"message").unwrap();
        let (pair, both) = PairSigningKey::generate(&SystemEntropy).unwrap();
        let pair = Box::new(pair);
        pair.sign(b"message").unwrap();
        vec![mask(seed.expose()), mask(&both.expose()[..32]), mask(&both.expose()[32..])]
    });
}

fn scope() -> Scope {
    Scope { service: Workload::Auth, tenant: TenantId::DEFAULT }
}

#[test]
fn epoch_and_subject_keys() {
    check(|| {
        let (entropy, subject) = (Recorded::default(), SubjectId::from_bytes([1; 16]));
        let place = Place {
            owner: scope().owner(subject),
            table: "account",
            column: "email",
            row: [2; 16],
            row_version: 3,
        };
        let epoch_of = |id: u8, suites: Suites| {
            EpochKey::new(&KeyBytes::generate(&entropy), EpochId::from_bytes([id; 16]), scope(), suites)
        };
        let (old, new) = (epoch_of(1, Suites::ALL), epoch_of(2, Suites::ALL));
        let (made, record) = old.new_subject_key(subject, 1, Timestamp::from_seconds(0), &entropy).unwrap();
        let rewrapped = old.rewrap(&new, subject, &record, &SystemEntropy).unwrap();
        let key = Box::new(new.unwrap(subject, &rewrapped).unwrap());
        let secret = random::<32>();
        let sealed = made.seal(&place, Padding::To64, secret.expose(), &SystemEntropy).unwrap();
        let opened = key.open(&place, Padding::To64, &sealed).unwrap();
        assert_eq!(opened.expose().as_slice(), secret.expose());
        let (stream, context) = key.bulk(&place, 1).unwrap();
        let sealed = bulk::seal(&stream, &context, secret.expose(), &SystemEntropy).unwrap();
        let streamed = bulk::open(&stream, &context, &sealed).unwrap();
        assert_eq!(streamed.expose(), opened.expose());
        let mut secrets = vec![mask(stream.expose()), mask(secret.expose())];

        let extended = epoch_of(3, Suites::all_but([Algorithm::Aes256Gcm]));
        assert!(extended.new_subject_key(subject, 1, Timestamp::from_seconds(0), &entropy).is_err());
        secrets.extend(entropy.keys());
        assert_eq!(secrets.len(), 2 + 4, "of three epochs and a subject");
        secrets
    });
}

#[test]
fn root_keys_and_what_they_wrap() {
    check(|| {
        let (entropy, now) = (Recorded::default(), Timestamp::from_seconds(0));
        let mut keyring = Keyring::generate(now, &entropy).unwrap();
        let first = keyring.active();
        keyring.rotate(now, &entropy).unwrap();
        keyring.destroy(first, now).unwrap();
        let context = KeyContext::epoch(scope(), EpochId::from_bytes([1; 16]));
        let key = KeyBytes::generate(&entropy);
        let wrapped = keyring.wrap(&context, &key, Suites::ALL).unwrap();
        assert!(keyring.unwrap(&context, &wrapped, Suites::ALL).unwrap().same_as(&key));
        let passphrase = random::<32>();
        let words = Sensitive::new(passphrase.expose().to_vec());
        let cost = Cost::new(64, 1, 1).unwrap();
        let sealed = keyring.to_sealed_file(&words, cost, &SystemEntropy).unwrap();
        let opened = Keyring::parse(&sealed, Some(&words)).unwrap();
        let plain = opened.to_file();
        assert!(Keyring::parse(plain.expose(), None).is_ok());
        // The seed as the file has it: 32 of its 43 letters.
        let text = plain.expose().windows(8).position(|window| window == b"\"seed\":\"").unwrap() + 8;
        let mut secrets = vec![mask(&plain.expose()[text..text + 32]), mask(passphrase.expose())];
        secrets.extend(entropy.keys());
        assert_eq!(secrets.len(), 2 + 3, "two seeds and a wrapped key");
        secrets
    });
}

#[test]
fn digest_and_index_keys() {
    check(|| {
        let secret = random::<32>();
        let digest = RowDigestKey::new(secret.expose());
        black_box(RowDigest::new(&digest, "table", &[1; 16], 1).int("a", 1).finish());
        let service = ServiceSecret::new(secret.expose());
        let column = IndexedColumn { tenant: TenantId::DEFAULT, table: "account", column: "email" };
        let index = BlindIndexKey::derive(&service, &column, 1);
        black_box(index.index(b"value", IndexBits::FULL));
        let derived = service.derive(Label::BlindIndex);
        vec![mask(secret.expose()), mask(derived.expose())]
    });
}
