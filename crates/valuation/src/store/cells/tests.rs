//! Cells open in their own places only, and not when anything of them was changed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use portal_core::id::{EpochId, TenantId};
use portal_core::{SeededEntropy, Timestamp, Workload};
use portal_crypto::envelope::{Scope, SubjectKey};
use portal_crypto::epoch::EpochKey;
use portal_crypto::key::KeyBytes;
use portal_crypto::row_digest::RowDigestKey;
use portal_crypto::suite::Suites;
use portal_store::Metrics;
use portal_store::sealed::{RowDigests, Sealing};
use portal_upkeep::migration::Finality;

use super::*;

fn seals() -> Seals {
    let metrics = Metrics::default();
    let sealing = Sealing::new(Arc::new(SeededEntropy::new(7)), &metrics);
    Seals::new(sealing, RowDigests::new(RowDigestKey::new(&[9; 32]), &metrics), &Finality::not_kept())
}

fn key(subject: u8) -> SubjectKey {
    let scope = Scope { service: Workload::Valuation, tenant: TenantId::DEFAULT };
    let (id, bytes) = (EpochId::from_bytes([1; 16]), KeyBytes::generate(&SeededEntropy::new(5)));
    let epoch = EpochKey::new(&bytes, id, scope, Suites::ALL);
    let entropy = SeededEntropy::new(subject.into());
    let subject = SubjectId::from_bytes([subject; 16]);
    epoch.new_subject_key(subject, 1, Timestamp::default(), &entropy).unwrap().0
}

fn place(row: usize) -> RecordPlace<'static> {
    RecordPlace { append: AppendId::from_bytes([3; 16]), position: 4, row, record_id: "r" }
}

/// A batch of three records of one person, two features each: 46 bytes each.
fn batch(seals: &Seals, key: &SubjectKey) -> Vec<u8> {
    let mut cells = Cells::new(3, 2);
    for row in 0..3 {
        cells.seal(seals, &place(row), key, &Numbers::new(&[1.0, row as f32], 2.0)).unwrap();
    }
    cells.finish()
}

#[track_caller]
fn assert_corrupt(opened: Result<Numbers, StoreError>) {
    match opened {
        Err(StoreError::Corrupt { table: "batch", column: "record", .. }) => {}
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it opens"),
    }
}

#[test]
fn each_record_opens_in_its_own_place_and_in_no_other() {
    let (seals, anna, bert) = (seals(), key(1), key(2));
    let sealed = batch(&seals, &anna);
    assert_eq!(sealed.len(), 3 * 46);
    for row in 0..3 {
        assert!(open(&seals, &sealed, 2, &place(row), &anna).unwrap().same(&[1.0, row as f32], 2.0));
        assert_corrupt(open(&seals, &sealed, 2, &place(row), &bert));
        let here = place(row);
        let other_append = AppendId::from_bytes([4; 16]);
        for elsewhere in [
            RecordPlace { append: other_append, ..here },
            RecordPlace { position: 5, ..here },
            RecordPlace { record_id: "s", ..here },
        ] {
            assert_corrupt(open(&seals, &sealed, 2, &elsewhere, &anna));
        }
    }
    assert_corrupt(open(&seals, &sealed, 2, &place(3), &anna));
    // Of one person, in one batch: two records change places.
    let swapped = [&sealed[46..92], &sealed[..46], &sealed[92..]].concat();
    assert_corrupt(open(&seals, &swapped, 2, &place(0), &anna));
    assert_corrupt(open(&seals, &swapped, 2, &place(1), &anna));
    assert!(open(&seals, &swapped, 2, &place(2), &anna).is_ok());
    // Of another width, nothing is read as something else.
    assert_corrupt(open(&seals, &sealed, 3, &place(0), &anna));
}

#[test]
fn no_bit_of_a_batch_can_be_changed() {
    let (seals, anna) = (seals(), key(1));
    let sealed = batch(&seals, &anna);
    for bit in 0..sealed.len() * 8 {
        let mut forged = sealed.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        for row in 0..3 {
            let opened = open(&seals, &forged, 2, &place(row), &anna);
            // The first two bytes tell the length of all.
            if row == bit / 8 / 46 || bit < 16 && opened.is_err() {
                assert_corrupt(opened);
            } else {
                assert!(opened.is_ok(), "bit {bit}, row {row}");
            }
        }
    }
    for len in 0..sealed.len() {
        assert_corrupt(open(&seals, &sealed[..len], 2, &place(2), &anna));
    }
    let extended = [&sealed[..], &[0]].concat();
    assert_corrupt(open(&seals, &extended, 2, &place(0), &anna));
}

#[test]
fn a_standing_is_of_its_row_and_its_column() {
    let (seals, anna) = (seals(), key(1));
    let standing = Standing { value: -1.5, standard_error: None, rank: 7, percentile: 12.5 };
    let row = |position: u8| Row { id: [position; 16], version: VERSION };
    let sealed = RECORD_MEASURE.seal(&seals.sealing, &anna, row(1), &standing).unwrap();
    assert_eq!(RECORD_MEASURE.open(&seals.sealing, &anna, row(1), &sealed).unwrap(), standing);
    assert!(RECORD_MEASURE.open(&seals.sealing, &anna, row(2), &sealed).is_err());
    assert!(SUBJECT_MEASURE.open(&seals.sealing, &anna, row(1), &sealed).is_err());
    assert!(RECORD_MEASURE.open(&seals.sealing, &key(2), row(1), &sealed).is_err());
}

#[test]
fn numbers_keep_their_bits() {
    let features = [0.0, -0.0, 1.5, f32::MIN_POSITIVE];
    let numbers = Numbers::new(&features, f32::MAX);
    let again = Numbers::from_plaintext(numbers.to_plaintext().expose()).unwrap();
    assert!(again.same(&features, f32::MAX));
    assert!(!again.same(&[0.0, 0.0, 1.5, f32::MIN_POSITIVE], f32::MAX));
    assert!(Numbers::from_plaintext(&[0; 7]).is_none());
    assert!(Numbers::from_plaintext(&[]).is_none());
}

#[test]
fn standings_come_back_and_nothing_else_is_one() {
    for standard_error in [None, Some(0.25), Some(0.0)] {
        let standing = Standing { value: -1.5, standard_error, rank: 7, percentile: 12.5 };
        let bytes = standing.to_plaintext();
        assert_eq!(bytes.expose().len(), 33);
        assert_eq!(Standing::from_plaintext(bytes.expose()), Some(standing));
        assert_eq!(Standing::from_plaintext(&bytes.expose()[1..]), None);
    }
    assert_eq!(Standing::from_plaintext(&[2; 33]), None);
}

#[test]
fn cells_of_the_erased_have_the_length_of_the_others() {
    let mut cells = Cells::new(3, 4);
    cells.leave_out();
    cells.leave_out();
    assert_eq!(cells.finish().len(), 2 * (34 + 4 * 5));
    assert_eq!(cell_len([1, 2], 4), Some(46 + 4 * 5));
    assert_eq!(cell_len([1, 3], 4), None);
}
