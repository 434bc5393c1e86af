#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use std::collections::BTreeSet;

use portal_core::Workload;
use portal_core::id::TenantId;
use proptest::prelude::*;

use super::*;
use crate::epoch::EpochKey;
use crate::hex;
use crate::suite::Suites;

fn scope() -> Scope {
    Scope { service: Workload::Auth, tenant: TenantId::from_bytes([0x11; 16]) }
}

fn context() -> KeyContext {
    KeyContext::epoch(scope(), EpochId::from_bytes([0x66; 16]))
}

fn key() -> KeyBytes {
    KeyBytes::copy_of(&[0x55; 32]).unwrap()
}

fn wrapped(algorithm: Algorithm, length: usize) -> WrappedKey {
    WrappedKey { algorithm, root: RootId::from_bytes([0x77; 16]), bytes: vec![0x88; length] }
}

fn record(algorithm: Algorithm, length: usize) -> WrappedKeyRecord {
    WrappedKeyRecord::new(&context(), wrapped(algorithm, length), &key()).unwrap()
}

fn records() -> [WrappedKeyRecord; 2] {
    [record(Algorithm::XWing, 1_168), record(Algorithm::ProviderWrap, 61)]
}

#[test]
fn the_context_is_as_described() {
    let mut expected = b"portal/root-wrap/v1\0\x04auth".to_vec();
    expected.extend([[0x11; 16].as_slice(), &[1], &[0x66; 16], &[0x77; 16]].concat());
    assert_eq!(context().to_bytes(RootId::from_bytes([0x77; 16])), expected);
}

#[test]
fn every_context_has_its_own_bytes() {
    let mut contexts = vec![context(), KeyContext::service_secret(scope(), [0x66; 16])];
    contexts.extend(
        Workload::ALL[1..]
            .iter()
            .map(|service| KeyContext { scope: Scope { service: *service, ..scope() }, ..context() }),
    );
    contexts.push(KeyContext { scope: Scope { tenant: TenantId::DEFAULT, ..scope() }, ..context() });
    contexts.push(KeyContext { key_id: [0x67; 16], ..context() });
    let root = RootId::from_bytes([0x77; 16]);
    let bytes: BTreeSet<_> = contexts.iter().map(|context| context.to_bytes(root)).collect();
    assert_eq!(bytes.len(), contexts.len());
    assert!(!bytes.contains(&context().to_bytes(RootId::from_bytes([0x78; 16]))));
    for context in contexts.iter().skip(1) {
        let other = records().map(|record| record.check(context, &key()).is_err());
        assert_eq!(other, [true, true]);
    }
}

/// The commitments are computed with Python's `hmac` from the module's description.
#[test]
fn the_format_never_changes() {
    let [x_wing, provider] = records();
    assert_eq!(X_WING_RECORD, 1_235);
    let head = |suite: &str| format!("01{suite}{}{}", "66".repeat(16), "77".repeat(16));
    let x_wing_commit = "50caa6147c775963dc0d69e5636640bfabcb98eaaff3270e3aa8f7548aa30e26";
    let expected = format!("{}{}{x_wing_commit}", head("0101"), "88".repeat(1_168));
    assert_eq!(x_wing.to_bytes(), hex::decode::<1_235>(&expected).unwrap());
    let provider_commit = "6a2358c39c74ac9c0fa02980037be428c9b8916c5d19a11754a28bd06de2e386";
    let expected = format!("{}003d{}{provider_commit}", head("0110"), "88".repeat(61));
    assert_eq!(provider.to_bytes(), hex::decode::<130>(&expected).unwrap());
}

#[test]
fn a_record_reads_back() {
    for record in records() {
        assert_eq!(record.check(&context(), &key()), Ok(()));
        assert_eq!(record.key_id(), &[0x66; 16]);
        let read = WrappedKeyRecord::from_bytes(&record.to_bytes()).unwrap();
        assert_eq!(read, record);
        let epoch = EpochKey::of_record(&read, &key(), scope(), Suites::ALL).unwrap();
        assert_eq!(epoch.id(), EpochId::from_bytes([0x66; 16]));
    }
}

/// Of a change of the wrapped bytes themselves the provider takes care: here it "unwraps" whatever they are.
#[test]
fn every_flipped_bit_around_the_wrapped_key_is_refused() {
    for record in records() {
        let good = record.to_bytes();
        let end = good.len() - COMMIT;
        for bit in (0..good.len() * 8).filter(|bit| bit / 8 < HEADER || bit / 8 >= end) {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(record) = WrappedKeyRecord::from_bytes(&flipped) else { continue };
            let why = match bit / 8 {
                3..19 => RecordError::KeyId,
                19.. => RecordError::Commitment,
                _ => panic!("bit {bit} was taken"),
            };
            assert_eq!(record.check(&context(), &key()), Err(why), "bit {bit}");
        }
    }
}

#[test]
fn every_other_key_is_refused() {
    for bit in 0..256 {
        let mut bytes = [0x55; 32];
        bytes[bit / 8] ^= 1 << (bit % 8);
        let other = KeyBytes::copy_of(&bytes).unwrap();
        for record in records() {
            assert_eq!(record.check(&context(), &other), Err(RecordError::Commitment));
        }
    }
}

#[test]
fn every_other_length_is_refused() {
    for record in records() {
        let good = record.to_bytes();
        for length in 0..good.len() {
            assert_eq!(WrappedKeyRecord::from_bytes(&good[..length]), Err(InvalidRecord), "{length}");
        }
        assert!(WrappedKeyRecord::from_bytes(&[good.as_slice(), &[0]].concat()).is_err());
    }
}

#[test]
fn what_does_not_fit_a_record_is_refused() {
    let new = |algorithm, length| WrappedKeyRecord::new(&context(), wrapped(algorithm, length), &key());
    for (algorithm, length) in [
        (Algorithm::XWing, 0),
        (Algorithm::XWing, 1_167),
        (Algorithm::XWing, 1_169),
        (Algorithm::ProviderWrap, 0),
        (Algorithm::ProviderWrap, MAX_PROVIDER_WRAPPED + 1),
        (Algorithm::MlKem768, 1_168),
        (Algorithm::Kyber768Round3, 1_168),
        (Algorithm::Aes256Gcm, 61),
    ] {
        assert_eq!(new(algorithm, length), Err(InvalidRecord), "{algorithm} {length}");
    }
    let longest = new(Algorithm::ProviderWrap, MAX_PROVIDER_WRAPPED).unwrap();
    assert_eq!(WrappedKeyRecord::from_bytes(&longest.to_bytes()), Ok(longest));
}

proptest! {
    #[test]
    fn any_bytes_parse_to_what_they_were_or_not_at_all(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        length in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if let (true, Some(rest)) = (length, bytes.len().checked_sub(HEADER + 2 + COMMIT)) {
            bytes[..3].copy_from_slice(&[1, 1, 0x10]);
            bytes[HEADER..HEADER + 2].copy_from_slice(&u16::try_from(rest).unwrap().to_be_bytes());
        }
        if let Ok(record) = WrappedKeyRecord::from_bytes(&bytes) {
            prop_assert_eq!(record.to_bytes(), bytes);
        }
    }
}
