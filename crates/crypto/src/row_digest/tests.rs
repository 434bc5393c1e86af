#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::hex;

fn key() -> RowDigestKey {
    RowDigestKey::new(&[7; 32])
}

fn digest(key: &RowDigestKey) -> RowDigest<'_> {
    RowDigest::new(key, "account", &[9; 16], 3)
}

/// Computed with Python's `hmac` from the module's description: stored digests depend on it.
#[test]
fn the_format_never_changes() {
    let key = key();
    let made = digest(&key)
        .bytes("email", b"envelope")
        .int("age", 41)
        .float("weight", -0.0)
        .text("name", "Anna")
        .bool("active", true)
        .null("left");
    let expected = "0964c678cf5a6442b4457f4fe52d4c2877fffb4334056ad8d3a3c8504edd3036";
    assert_eq!(made.finish(), hex::decode(expected).unwrap());
}

#[test]
fn the_order_of_the_calls_does_not_matter() {
    let key = key();
    let one = digest(&key).int("a", 1).text("b", "2").null("c").finish();
    assert_eq!(digest(&key).null("c").text("b", "2").int("a", 1).finish(), one);
}

#[test]
fn every_difference_is_another_digest() {
    let (key, other_key) = (key(), RowDigestKey::new(&[8; 32]));
    let eight = 0x6162_6364_6566_6768_i64;
    let digests = [
        digest(&key).finish(),
        digest(&other_key).finish(),
        RowDigest::new(&key, "accounts", &[9; 16], 3).finish(),
        RowDigest::new(&key, "account", &[8; 16], 3).finish(),
        RowDigest::new(&key, "account", &[9; 16], 2).finish(),
        digest(&key).null("a").finish(),
        digest(&key).null("b").finish(),
        digest(&key).bytes("a", b"").finish(),
        digest(&key).text("a", "").finish(),
        digest(&key).bool("a", false).finish(),
        digest(&key).bool("a", true).finish(),
        digest(&key).int("a", 0).finish(),
        digest(&key).int("a", -1).finish(),
        digest(&key).float("a", 0.0).finish(),
        digest(&key).float("a", 1.0).finish(),
        digest(&key).float("a", f64::NAN).finish(),
        digest(&key).float("a", f64::INFINITY).finish(),
        digest(&key).int("a", eight).finish(),
        digest(&key).text("a", "abcdefgh").finish(),
        digest(&key).bytes("a", b"abcdefgh").finish(),
        digest(&key).bytes("a", b"abcdefg").finish(),
        digest(&key).text("a", "x").text("b", "y").finish(),
        digest(&key).text("a", "y").text("b", "x").finish(),
        digest(&key).text("a", "xb").finish(),
        digest(&key).text("a.b", "x").finish(),
        digest(&key).text("a[0].b", "x").finish(),
        digest(&key).text("a", "x").text("a", "x").finish(),
        digest(&key).text("a", "x").finish(),
    ];
    assert_eq!(digests.iter().collect::<BTreeSet<_>>().len(), digests.len());
}

#[test]
fn floats_that_databases_confuse_have_one_digest() {
    let key = key();
    let float = |value| digest(&key).float("a", value).finish();
    assert_eq!(float(0.0), float(-0.0));
    assert_eq!(float(f64::NAN), float(-f64::NAN));
    assert_eq!(float(f64::NAN), float(f64::from_bits(0x7ff8_0000_0000_0001)));
}

#[test]
fn every_flipped_bit_of_a_digest_is_seen() {
    let key = key();
    let good = digest(&key).int("a", 1).finish();
    assert!(digest(&key).int("a", 1).verify(&good));
    for bit in 0..256 {
        let mut flipped = good;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!digest(&key).int("a", 1).verify(&flipped), "bit {bit}");
    }
    assert!(!digest(&key).int("a", 1).verify(&good[..31]));
    assert!(!digest(&key).int("a", 1).verify(&[]));
}

proptest! {
    /// Rows with other cells have other digests, whatever stands in names and values.
    #[test]
    fn different_rows_differ(
        one in prop::collection::btree_map("[a\\x00-\\x04]{0,6}", prop::collection::vec(0_u8..5, 0..8), 0..4),
        other in prop::collection::btree_map("[a\\x00-\\x04]{0,6}", prop::collection::vec(0_u8..5, 0..8), 0..4),
    ) {
        let key = key();
        let of = |row: &std::collections::BTreeMap<String, Vec<u8>>| {
            let fields = row.iter().rev();
            fields.fold(digest(&key), |digest, (name, value)| digest.bytes(name.clone(), value)).finish()
        };
        prop_assert_eq!(of(&one) == of(&other), one == other);
    }
}
