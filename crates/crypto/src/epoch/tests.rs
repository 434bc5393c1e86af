#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use portal_core::id::TenantId;
use portal_core::{SeededEntropy, Workload};
use proptest::prelude::*;

use super::*;
use crate::envelope::{Padding, Place};
use crate::hex;

/// Gives the same byte again and again.
struct Same(u8);

impl Entropy for Same {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

const NOW: Timestamp = Timestamp::from_micros(0x0102_0304_0506);

fn scope() -> Scope {
    Scope { service: Workload::Auth, tenant: TenantId::from_bytes([0x11; 16]) }
}

fn subject(byte: u8) -> SubjectId {
    SubjectId::from_bytes([byte; 16])
}

fn epoch_with(bytes: u8, id: u8, scope: Scope, suites: Suites) -> EpochKey {
    let bytes = KeyBytes::copy_of(&[bytes; 32]).unwrap();
    EpochKey::new(&bytes, EpochId::from_bytes([id; 16]), scope, suites)
}

fn epoch() -> EpochKey {
    epoch_with(0x55, 0x66, scope(), Suites::ALL)
}

/// A subject key of 0x44 bytes under a nonce of 0x44 bytes.
fn record() -> SubjectKeyRecord {
    epoch().new_subject_key(subject(0x22), 5, NOW, &Same(0x44)).unwrap().1
}

#[track_caller]
fn refused(epoch: &EpochKey, of: SubjectId, record: &SubjectKeyRecord, why: SubjectKeyError) {
    assert_eq!(epoch.unwrap(of, record).err(), Some(why));
    let new = epoch_with(0x77, 0x78, epoch.scope(), Suites::ALL);
    assert_eq!(epoch.rewrap(&new, of, record, &Same(1)).err(), Some(why), "rewrapping is as strict");
}

/// Whether both keys are the same one, seen from outside.
fn same(one: &SubjectKey, other: &SubjectKey) -> bool {
    let place = Place { owner: *one.owner(), table: "t", column: "c", row: [0; 16], row_version: 0 };
    let envelope = one.seal(&place, Padding::None, b"value", &Same(1)).unwrap();
    other.open(&place, Padding::None, &envelope).is_ok()
}

/// Computed with AESGCM of PyCA cryptography 50 and Python's `hmac` from the module's description.
#[test]
fn the_format_never_changes() {
    let expected = "01030166666666666666666666666666666666000000050000010203040506444444444444444444444444a28ffdb38f0a397c64eb78a731a77294a016a65aa873b6405c08816a0101a31f423131df085504c1c198b390031ab2cf20d558a3926aa017dc00ed1f35114ee91b9a4c00160ba93bb6fad3e3b0ac4f7f";
    assert_eq!(record().to_bytes(), hex::decode::<123>(expected).unwrap());
}

#[test]
fn a_record_has_123_bytes_and_says_what_it_is() {
    let record = record();
    assert_eq!(SUBJECT_KEY_RECORD, 123);
    assert_eq!(record.epoch(), epoch().id());
    assert_eq!(record.generation(), 5);
    assert_eq!(record.created(), NOW);
    assert_eq!(SubjectKeyRecord::from_bytes(&record.to_bytes()), Ok(record));
}

#[test]
fn a_record_unwraps_to_its_key() {
    let entropy = SeededEntropy::new(1);
    let (made, record) = epoch().new_subject_key(subject(1), 1, NOW, &entropy).unwrap();
    let unwrapped = epoch().unwrap(subject(1), &record).unwrap();
    assert!(same(&made, &unwrapped));
    assert_eq!(unwrapped.owner(), &scope().owner(subject(1)));
    assert_eq!(unwrapped.generation(), 1);
    let (other, _) = epoch().new_subject_key(subject(1), 1, NOW, &entropy).unwrap();
    assert!(!same(&made, &other), "each key is a new one");
}

#[test]
fn every_flipped_bit_is_refused() {
    let good = record().to_bytes();
    for bit in 0..good.len() * 8 {
        let mut flipped = good;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let parsed = SubjectKeyRecord::from_bytes(&flipped);
        let Ok(record) = parsed else {
            assert!(bit / 8 < 3, "bit {bit} is of version and suite only");
            continue;
        };
        let why = match bit / 8 {
            3..19 => SubjectKeyError::Epoch { expected: epoch().id(), found: record.epoch() },
            19..91 => SubjectKeyError::Refused,
            91.. => SubjectKeyError::Commitment,
            _ => panic!("bit {bit} was taken"),
        };
        refused(&epoch(), subject(0x22), &record, why);
    }
}

#[test]
fn every_other_length_is_refused() {
    let longer = [record().to_bytes().as_slice(), &[0; 200]].concat();
    for length in (0..longer.len()).filter(|length| *length != SUBJECT_KEY_RECORD) {
        assert_eq!(SubjectKeyRecord::from_bytes(&longer[..length]), Err(InvalidRecord), "{length}");
    }
}

#[test]
fn every_other_owner_epoch_and_key_is_refused() {
    let record = record();
    for bit in 0..128 {
        let flipped = (u128::from_be_bytes([0x22; 16]) ^ (1 << bit)).to_be_bytes();
        refused(&epoch(), SubjectId::from_bytes(flipped), &record, SubjectKeyError::Refused);
        let tenant = TenantId::from_bytes((u128::from_be_bytes([0x11; 16]) ^ (1 << bit)).to_be_bytes());
        let elsewhere = epoch_with(0x55, 0x66, Scope { tenant, ..scope() }, Suites::ALL);
        refused(&elsewhere, subject(0x22), &record, SubjectKeyError::Refused);
    }
    for service in Workload::ALL.into_iter().filter(|service| *service != Workload::Auth) {
        let elsewhere = epoch_with(0x55, 0x66, Scope { service, ..scope() }, Suites::ALL);
        refused(&elsewhere, subject(0x22), &record, SubjectKeyError::Refused);
    }
    let other_key = epoch_with(0x54, 0x66, scope(), Suites::ALL);
    refused(&other_key, subject(0x22), &record, SubjectKeyError::Refused);
    let other_id = epoch_with(0x55, 0x67, scope(), Suites::ALL);
    let why = SubjectKeyError::Epoch { expected: other_id.id(), found: epoch().id() };
    refused(&other_id, subject(0x22), &record, why);
}

/// Whoever holds the epoch key can wrap any key: the commitment of another subject, service or generation, or of another
/// key, still refuses it.
#[test]
fn a_commitment_to_something_else_is_refused() {
    let epoch = epoch();
    let key = KeyBytes::copy_of(&[0x44; 32]).unwrap();
    let other_key = KeyBytes::copy_of(&[0x45; 32]).unwrap();
    let other_service = epoch_with(0x55, 0x66, Scope { service: Workload::Consent, ..scope() }, Suites::ALL);
    let good = record();
    let made = epoch.wrap(good.header, subject(0x22), (&key, good.commitment), &Same(0x44)).unwrap();
    assert_eq!(made, good);
    for commitment in [
        epoch.commitment(&other_key, subject(0x22), 5),
        epoch.commitment(&key, subject(0x23), 5),
        epoch.commitment(&key, subject(0x22), 6),
        other_service.commitment(&key, subject(0x22), 5),
        [0; 32],
    ] {
        let forged = epoch.wrap(good.header, subject(0x22), (&key, commitment), &Same(0x44)).unwrap();
        refused(&epoch, subject(0x22), &forged, SubjectKeyError::Commitment);
    }
    let swapped = epoch.wrap(good.header, subject(0x22), (&other_key, good.commitment), &Same(0x44)).unwrap();
    refused(&epoch, subject(0x22), &swapped, SubjectKeyError::Commitment);
}

#[test]
fn rewrapping_changes_the_wrap_and_nothing_else() {
    let (old, new) = (epoch(), epoch_with(0x56, 0x67, scope(), Suites::ALL));
    let before = record();
    let after = old.rewrap(&new, subject(0x22), &before, &Same(9)).unwrap();
    assert_eq!(after.epoch(), new.id());
    assert_eq!((after.generation(), after.created()), (before.generation(), before.created()));
    assert_eq!(after.commitment, before.commitment);
    assert_ne!(after.wrapped, before.wrapped);
    let keys = (old.unwrap(subject(0x22), &before).unwrap(), new.unwrap(subject(0x22), &after).unwrap());
    assert!(same(&keys.0, &keys.1));
    refused(&old, subject(0x22), &after, SubjectKeyError::Epoch { expected: old.id(), found: new.id() });
}

#[test]
fn rewrapping_stays_in_its_scope() {
    let elsewhere = Scope { tenant: TenantId::DEFAULT, ..scope() };
    let new = epoch_with(0x56, 0x67, elsewhere, Suites::ALL);
    assert_eq!(epoch().rewrap(&new, subject(0x22), &record(), &Same(1)), Err(SubjectKeyError::Scope));
}

#[test]
fn a_suite_that_is_switched_off_neither_wraps_nor_unwraps() {
    let suites = Suites::all_but([Algorithm::Aes256Gcm]);
    let disabled = SubjectKeyError::Disabled(Disabled(Algorithm::Aes256Gcm));
    let off = epoch_with(0x55, 0x66, scope(), suites);
    assert_eq!(off.new_subject_key(subject(1), 1, NOW, &Same(1)).err(), Some(disabled));
    refused(&off, subject(0x22), &record(), disabled);
    assert_eq!(epoch().rewrap(&off, subject(0x22), &record(), &Same(1)), Err(disabled));
}

proptest! {
    #[test]
    fn any_bytes_parse_to_what_they_were_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 0..140)) {
        let mut bytes = bytes;
        for set in [false, true] {
            if set && bytes.len() >= 3 {
                bytes[..3].copy_from_slice(&[1, 3, 1]);
            }
            if let Ok(record) = SubjectKeyRecord::from_bytes(&bytes) {
                prop_assert_eq!(record.to_bytes().to_vec(), bytes.clone());
                prop_assert!(epoch().unwrap(subject(1), &record).is_err());
            }
        }
    }
}
