//! Records of an earlier system, and what happens to those that somebody touched.

use portal_core::id::{Id, SubjectId};
use portal_crypto::suite::{Algorithm, Disabled, Standing, Suites};
use portal_legacy_import::kem::{InvalidPrivateKey, PRIVATE_KEY_LEN};
use portal_legacy_import::open::OpenError;
use portal_legacy_import::record::{InvalidRecord, MAX_SEALED, Parts};
use portal_legacy_import::verify::InvalidSignature;
use portal_legacy_import::{
    Content, ContentDigest, LegacyOpen, LegacyRecord, LegacyVerify, Reader, RecordId, Unreadable,
};

use crate::writer::{Value, Writer, clone};

fn read(reader: &Reader, parts: Parts) -> Result<Vec<u8>, Unreadable> {
    reader.read(&LegacyRecord::try_from(parts).unwrap()).map(|plaintext| plaintext.expose().clone())
}

#[test]
fn what_was_written_is_read() {
    let writer = Writer::new(1);
    let reader = writer.reader();
    for number in 0..50 {
        let value = Value::new(1, number);
        assert_eq!(read(&reader, writer.parts(&value)), Ok(value.plaintext), "value {number}");
    }
    let longest = Value { plaintext: vec![7; MAX_SEALED - 16], ..Value::new(1, 0) };
    assert_eq!(read(&reader, writer.parts(&longest)), Ok(longest.plaintext));
}

type Tamper = fn(&mut Parts);

/// One change for every part of a record.
const CHANGES: [Tamper; 10] = [
    |parts| parts.record_id = RecordId::from_uuid(uuid::Uuid::from_u128(1)),
    |parts| parts.subject_id = SubjectId::from_uuid(uuid::Uuid::from_u128(1)),
    |parts| parts.table = "accounts".to_owned(),
    |parts| parts.field = "phone".to_owned(),
    // Both names at once: their border counts.
    |parts| (parts.table, parts.field) = ("accounte".to_owned(), "mail".to_owned()),
    |parts| parts.kem_ciphertext[0] ^= 1,
    |parts| parts.nonce[11] ^= 0x80,
    |parts| parts.sealed[3] ^= 1,
    |parts| _ = parts.sealed.pop(),
    |parts| parts.sealed.push(0),
];

#[test]
fn what_was_changed_is_not_believed() {
    let writer = Writer::new(2);
    let reader = writer.reader();
    for (number, change) in CHANGES.iter().enumerate() {
        let mut parts = writer.parts(&Value::new(2, 0));
        change(&mut parts);
        let refused = Err(Unreadable::Signature(InvalidSignature));
        assert_eq!(read(&reader, parts), refused, "change {number}");
    }
}

/// Even if the signer itself signed the change: where a value belongs is bound to it twice.
#[test]
fn what_was_changed_and_signed_anew_does_not_open() {
    let writer = Writer::new(3);
    let reader = writer.reader();
    for (number, change) in CHANGES.iter().enumerate() {
        let mut parts = writer.parts(&Value::new(3, 0));
        change(&mut parts);
        let error = read(&reader, writer.sign(parts)).unwrap_err();
        assert!(matches!(error, Unreadable::Open(OpenError::Refused(_))), "change {number}: {error:?}");
    }
}

#[test]
fn every_flipped_bit_of_a_value_is_refused() {
    let writer = Writer::new(4);
    let reader = writer.reader();
    let whole = writer.parts(&Value::new(4, 0));
    for bit in 0..whole.sealed.len() * 8 {
        let mut parts = clone(&whole);
        parts.sealed[bit / 8] ^= 1 << (bit % 8);
        let signed = writer.sign(clone(&parts));
        assert_eq!(read(&reader, parts), Err(Unreadable::Signature(InvalidSignature)));
        assert!(matches!(read(&reader, signed), Err(Unreadable::Open(OpenError::Refused(_)))));
    }
}

#[test]
fn parts_of_one_record_do_not_fit_another() {
    let writer = Writer::new(5);
    let reader = writer.reader();
    let (one, other) = (writer.parts(&Value::new(5, 0)), writer.parts(&Value::new(5, 5)));
    let mixed = [
        Parts { kem_ciphertext: other.kem_ciphertext.clone(), ..clone(&one) },
        Parts { nonce: other.nonce.clone(), ..clone(&one) },
        Parts { sealed: other.sealed.clone(), ..clone(&one) },
        Parts {
            kem_ciphertext: other.kem_ciphertext.clone(),
            nonce: other.nonce.clone(),
            sealed: other.sealed.clone(),
            ..clone(&one)
        },
    ];
    for (number, parts) in mixed.into_iter().enumerate() {
        let signed = writer.sign(clone(&parts));
        assert!(matches!(read(&reader, signed), Err(Unreadable::Open(_))), "mixture {number}");
        assert_eq!(read(&reader, parts), Err(Unreadable::Signature(InvalidSignature)));
    }
    let swapped = Parts { signature: other.signature.clone(), ..clone(&one) };
    assert_eq!(read(&reader, swapped), Err(Unreadable::Signature(InvalidSignature)));
}

#[test]
fn the_keys_of_another_system_are_of_no_use() {
    let (writer, stranger) = (Writer::new(6), Writer::new(7));
    let ((kem_key, signer), (_, strange_signer)) = (writer.key_ids(), stranger.key_ids());
    let parts = writer.parts(&Value::new(6, 0));
    assert_eq!(read(&stranger.reader(), clone(&parts)), Err(Unreadable::UnknownSigner(signer)));
    assert_eq!(
        read(&Reader::new(Suites::ALL, [], []).unwrap(), clone(&parts)),
        Err(Unreadable::UnknownSigner(signer))
    );
    // Signed by the right one, sealed to a key that is not there.
    let verify = LegacyVerify::from_bytes(writer.signer_public()).unwrap();
    let strange = LegacyOpen::from_bytes(stranger.kem_private()).unwrap();
    let reader = Reader::new(Suites::ALL, [strange], [verify]).unwrap();
    assert_eq!(read(&reader, clone(&parts)), Err(Unreadable::UnknownKemKey(kem_key)));
    // A name is not enough: the key that is named did not sign, or is not the one it was sealed to.
    let renamed = Parts { signer: strange_signer, ..clone(&parts) };
    assert_eq!(read(&stranger.reader(), renamed), Err(Unreadable::Signature(InvalidSignature)));
    let renamed = writer.sign(Parts { kem_key: stranger.key_ids().0, ..parts });
    assert!(matches!(read(&reader, renamed), Err(Unreadable::Open(OpenError::Refused(_)))));
}

#[test]
fn what_is_switched_off_reads_nothing() {
    assert_eq!((LegacyOpen::ALGORITHM.id(), LegacyVerify::ALGORITHM.id()), (0x01f1, 0x02f1));
    for algorithm in [LegacyOpen::ALGORITHM, LegacyVerify::ALGORITHM, Algorithm::Aes256Gcm] {
        let reader = Reader::new(Suites::all_but([algorithm]), [], []);
        assert_eq!(reader.err(), Some(Disabled(algorithm)));
    }
    for legacy in [LegacyOpen::ALGORITHM, LegacyVerify::ALGORITHM] {
        assert_eq!(legacy.standing(), Standing::ReadOnly);
    }
}

#[test]
fn a_damaged_private_key_is_refused() {
    let writer = Writer::new(8);
    let mut private = writer.kem_private().to_vec();
    private[1_200] ^= 1;
    assert_eq!(LegacyOpen::from_bytes(&private).err(), Some(InvalidPrivateKey::Damaged));
    let short = LegacyOpen::from_bytes(&private[1..]).err();
    assert_eq!(short, Some(InvalidPrivateKey::Length(PRIVATE_KEY_LEN - 1)));
}

#[test]
fn every_wrong_shape_has_its_cause() {
    let writer = Writer::new(9);
    let whole = writer.parts(&Value::new(9, 0));
    let check = |change: fn(&mut Parts), expected: InvalidRecord| {
        let mut parts = clone(&whole);
        change(&mut parts);
        assert_eq!(LegacyRecord::try_from(parts).err(), Some(expected));
    };
    check(|parts| parts.table.clear(), InvalidRecord::Table);
    check(|parts| parts.table = "Account".to_owned(), InvalidRecord::Table);
    check(|parts| parts.table = "a".repeat(65), InvalidRecord::Table);
    check(|parts| parts.field = "e-mail".to_owned(), InvalidRecord::Field);
    check(|parts| parts.field = "é".to_owned(), InvalidRecord::Field);
    check(|parts| _ = parts.kem_ciphertext.pop(), InvalidRecord::KemCiphertext(1_087));
    check(|parts| parts.kem_ciphertext.push(0), InvalidRecord::KemCiphertext(1_089));
    check(|parts| parts.nonce.push(0), InvalidRecord::Nonce(13));
    check(|parts| parts.sealed.truncate(15), InvalidRecord::Sealed(15));
    check(|parts| parts.sealed = vec![0; MAX_SEALED + 1], InvalidRecord::Sealed(MAX_SEALED + 1));
    // As long as one of ML-DSA-65.
    check(|parts| parts.signature.resize(3_309, 0), InvalidRecord::Signature(3_309));
}

/// docs/legacy-format.md, byte by byte.
#[test]
fn the_encodings_are_those_of_the_document() {
    let writer = Writer::new(10);
    let parts = writer.parts(&Value::new(10, 1));
    let record = LegacyRecord::try_from(clone(&parts)).unwrap();
    let mut place = Vec::new();
    place.extend(parts.record_id.uuid().as_bytes());
    place.extend(parts.subject_id.uuid().as_bytes());
    place.extend(b"\x00\x07account\x00\x0cdisplay_name");
    assert_eq!(record.place(), place);
    let mut signed = b"portal-legacy-record/v1\x00".to_vec();
    signed.extend(&place);
    signed.extend(parts.kem_key.as_bytes());
    signed.extend(&parts.kem_ciphertext);
    signed.extend(&parts.nonce);
    signed.extend([0, 0, 0, u8::try_from(parts.sealed.len()).unwrap()]);
    signed.extend(&parts.sealed);
    signed.extend(parts.signer.as_bytes());
    assert_eq!(record.signed_bytes(), signed);
}

#[test]
fn nothing_shows_content() {
    let writer = Writer::new(11);
    let value = Value { plaintext: b"canary-7e1f".to_vec(), ..Value::new(11, 0) };
    let record = writer.record(&value);
    let opened = writer.reader().read(&record).unwrap();
    assert!(!format!("{record:?} {opened:?}").contains("canary"));
    assert!(format!("{record:?}").contains("email"));
}

fn digest(values: &[Value]) -> ContentDigest {
    let content = |value: &Value, digest: ContentDigest| {
        digest.with(Content {
            record_id: value.record_id,
            subject_id: value.subject_id,
            table: &value.table,
            field: &value.field,
            plaintext: &value.plaintext,
        })
    };
    values.iter().fold(ContentDigest::default(), |digest, value| content(value, digest))
}

#[test]
fn the_content_digest_tells_every_difference() {
    let values: Vec<_> = (0..4).map(|number| Value::new(12, number)).collect();
    let whole = digest(&values);
    assert_eq!(whole, digest(&values));
    let changes: [fn(&mut Vec<Value>); 8] = [
        |values| values.swap(1, 2),
        |values| _ = values.pop(),
        |values| values.push(values[3].clone()),
        |values| values[2].plaintext.push(0),
        |values| values[1].plaintext.clear(),
        |values| values[1].subject_id = SubjectId::from_uuid(uuid::Uuid::nil()),
        |values| values[1].record_id = RecordId::from_uuid(uuid::Uuid::nil()),
        |values| (values[0].table, values[0].field) = ("accounte".to_owned(), "mail".to_owned()),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut values = values.clone();
        change(&mut values);
        assert_ne!(digest(&values), whole, "change {number}");
    }
    // Taken up where it was left.
    let half = ContentDigest::from_bytes(*digest(&values[..3]).as_bytes());
    let record = Writer::new(12).record(&values[3]);
    assert_eq!(half.with(Content::of(&record, &values[3].plaintext)), whole);
}
