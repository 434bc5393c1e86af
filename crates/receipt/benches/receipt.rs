//! What a receipt costs, from the record to the answer: `cargo bench -p portal-receipt`. Nanoseconds of processor time a call
//! (lower quartile of the rounds), and bytes. It ends with an error if a budget is not kept.
//!
//! The receipt is of an ordinary whole record: a child with a guardian, two parties, a document as evidence. Its place is
//! shown by 16 hashes: one of 65,536 entries.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing)]

#[expect(dead_code, reason = "nothing here has a counterpart")]
#[path = "../../crypto/benches/paired/harness.rs"]
mod harness;
#[expect(dead_code, reason = "the tests need more of them")]
#[path = "../tests/it/records.rs"]
mod records;

use std::hint::black_box;
use std::process::ExitCode;

use portal_crypto::cose::{Key, SigningKey, receipt};
use portal_crypto::merkle::proof::inclusion_proof;
use portal_crypto::merkle::{TreeHead, leaf_hash};
use portal_crypto::pair::PairSigningKey;
use portal_crypto::suite::Suites;
use portal_receipt::{Proof, Record, payload, sign, verify};

const ENTRIES: u32 = 65_536;
const AT: usize = 4_711;
/// Nanoseconds to issue one, with its place.
const ISSUE: f64 = 5e6;
/// Nanoseconds to verify one, with its place.
const VERIFY: f64 = 1e6;
/// Bytes of the signed receipt.
const SIZE: f64 = 8_192.0;

/// The payload that is kept for `record`.
fn kept(record: &Record) -> Vec<u8> {
    payload::payload(payload::content(&record.clone().fitted(payload::MAX_CONTENT)), &[9; 32])
}

fn main() -> ExitCode {
    let (pair, record) = (PairSigningKey::from_seed(&[1; 64]).unwrap(), records::for_child());
    let kept = kept(&record);
    let mut leaves: Vec<_> = (0..ENTRIES).map(|number| leaf_hash(&number.to_be_bytes())).collect();
    leaves[AT] = payload::leaf_hash(&kept).unwrap();
    let place = receipt::Inclusion {
        tree_size: u64::from(ENTRIES),
        leaf_index: AT as u64,
        path: inclusion_proof(&leaves, AT).unwrap(),
    };
    let root = TreeHead::of(&leaves).root;
    let issue = || {
        let kept = self::kept(black_box(&record));
        let cose = sign(&kept, pair.ml_dsa_65()).unwrap();
        (cose, receipt::issue(&place, &root, SigningKey::MlDsa65(pair.ml_dsa_65())).unwrap())
    };
    harness::title();
    harness::alone("receipt, issue with its place", issue).nanos_at_most(ISSUE);
    let (cose, inclusion) = issue();
    let keys = Key::both(pair.verifying_key());
    let check = || {
        let proof = Proof { cose: black_box(&cose), inclusion: Some(&inclusion) };
        let report = verify(&proof, &keys, Suites::ALL);
        assert!(report.valid() && report.included.is_some());
    };
    harness::alone("receipt, verify with its place", check).nanos_at_most(VERIFY);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let size = cose.len() as f64;
    println!("{:<34} {:>12} bytes", "receipt, signed", cose.len());
    println!("{:<34} {:>12} bytes", "its place", inclusion.len());
    harness::budget(size < SIZE, size, SIZE);
    harness::verdict()
}
