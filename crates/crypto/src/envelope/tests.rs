#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use portal_core::id::Id;
use portal_core::{Entropy, SeededEntropy};
use proptest::prelude::*;

use super::*;
use crate::hex;
use crate::key::KeyBytes;
use crate::suite::Suites;

/// Gives 1, 2, 3, …, so that a nonce is known.
struct Counting;

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for (byte, value) in bytes.iter_mut().zip(1..) {
            *byte = value;
        }
    }
}

fn owner(subject: u8) -> Owner {
    Owner {
        service: Workload::Auth,
        tenant: TenantId::from_bytes([0x11; 16]),
        subject: SubjectId::from_bytes([subject; 16]),
    }
}

fn place() -> Place<'static> {
    Place { owner: owner(0x22), table: "account", column: "email", row: [0x33; 16], row_version: 7 }
}

fn key_with(bytes: u8, owner: Owner, generation: u32, suites: Suites) -> SubjectKey {
    SubjectKey::new(KeyBytes::copy_of(&[bytes; 32]).unwrap(), owner, generation, suites)
}

fn key() -> SubjectKey {
    key_with(0x44, owner(0x22), 5, Suites::ALL)
}

/// The same key where AES-256-GCM is switched off: it seals with XAES-256-GCM.
fn extended_key() -> SubjectKey {
    key_with(0x44, owner(0x22), 5, Suites::all_but([Algorithm::Aes256Gcm]))
}

fn seal(place: &Place<'_>, plaintext: &[u8]) -> Vec<u8> {
    key().seal(place, Padding::None, plaintext, &Counting).unwrap()
}

/// Envelopes of both suites, with the length of their nonces.
fn envelopes(plaintext: &[u8]) -> [(Vec<u8>, usize); 2] {
    let extended = extended_key().seal(&place(), Padding::None, plaintext, &Counting).unwrap();
    [(seal(&place(), plaintext), 12), (extended, 24)]
}

#[track_caller]
fn refused(key: &SubjectKey, place: &Place<'_>, envelope: &[u8], why: OpenError) {
    assert_eq!(key.open(place, Padding::None, envelope).err(), Some(why));
}

/// Computed with AESGCM of PyCA cryptography 50 from the module's description: stored data depends on it.
#[test]
fn the_format_never_changes() {
    let envelope = seal(&place(), b"anna@example.org");
    let expected = "0101000000050102030405060708090a0b0caab32eb3fc418c6507d540150c28f3b9cb273a69a605397e13e73552f4396a1e";
    assert_eq!(envelope, hex::decode::<50>(expected).unwrap());
    assert_eq!(key().open(&place(), Padding::None, &envelope).unwrap().expose(), b"anna@example.org");
    let [_, (envelope, _)] = envelopes(b"anna@example.org");
    let expected = "0102000000050102030405060708090a0b0c0d0e0f101112131415161718831c512053ae20b46dd6c781b702dbf62d1c3d8236eae26c06c32572f3fce6d3";
    assert_eq!(envelope, hex::decode::<62>(expected).unwrap());
}

#[test]
fn the_overhead_is_34_bytes_and_46_under_xaes() {
    for length in 0..300 {
        let lengths = envelopes(&vec![1; length]).map(|(envelope, _)| envelope.len());
        assert_eq!(lengths, [length + 34, length + 46]);
    }
}

#[test]
fn a_key_opens_what_either_suite_sealed() {
    for (envelope, _) in envelopes(b"value") {
        assert_eq!(key().open(&place(), Padding::None, &envelope).unwrap().expose(), b"value");
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    for (envelope, nonce) in [&b""[..], b"x", b"anna@example.org"].into_iter().flat_map(envelopes) {
        for bit in 0..envelope.len() * 8 {
            let mut flipped = envelope.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let generation = u32::from_be_bytes(flipped[2..6].try_into().unwrap());
            let why = match bit / 8 {
                0 | 1 => OpenError::Malformed,
                2..6 => OpenError::Generation { expected: 5, found: generation },
                _ => OpenError::Refused,
            };
            refused(&key(), &place(), &flipped, why);
        }
        let mut other_suite = envelope.clone();
        other_suite[1] ^= 3;
        let short = nonce == 12 && envelope.len() < 6 + 24;
        let why = if short { OpenError::Malformed } else { OpenError::Refused };
        refused(&key(), &place(), &other_suite, why);
    }
}

#[test]
fn every_cut_and_every_extension_is_refused() {
    for (envelope, nonce) in [&b""[..], b"x", b"anna@example.org"].into_iter().flat_map(envelopes) {
        for length in 0..envelope.len() {
            let why = if length < 6 + nonce { OpenError::Malformed } else { OpenError::Refused };
            refused(&key(), &place(), &envelope[..length], why);
            assert!(key().open(&place(), Padding::None, &envelope[envelope.len() - length..]).is_err());
        }
        for byte in 0..=255 {
            let longer = [envelope.as_slice(), &[byte]].concat();
            refused(&key(), &place(), &longer, OpenError::Refused);
            assert!(key().open(&place(), Padding::None, &[&[byte], envelope.as_slice()].concat()).is_err());
        }
    }
}

/// Under a key with the same bytes, as if somebody had copied the key too: the place alone refuses.
#[test]
fn every_other_place_is_refused() {
    let envelopes = envelopes(b"anna@example.org");
    let mut others = Vec::new();
    for bit in 0..128 {
        let flip = |bytes: [u8; 16]| (u128::from_be_bytes(bytes) ^ (1 << bit)).to_be_bytes();
        let at = place();
        let tenant = TenantId::from_bytes(flip(at.owner.tenant.bytes()));
        let subject = SubjectId::from_bytes(flip(at.owner.subject.bytes()));
        others.push(Place { owner: Owner { tenant, ..at.owner }, ..at });
        others.push(Place { owner: Owner { subject, ..at.owner }, ..at });
        others.push(Place { row: flip(at.row), ..at });
    }
    others.extend((0..64).map(|bit| Place { row_version: 7 ^ (1 << bit), ..place() }));
    others.extend(
        ["", "accoun", "accounts", "Account", "email", "acc"].map(|table| Place { table, ..place() }),
    );
    others.extend(["", "emai", "emails", "account", "name"].map(|column| Place { column, ..place() }));
    others.push(Place { table: "accounte", column: "mail", ..place() });
    others.push(Place { table: "email", column: "account", ..place() });
    for service in Workload::ALL.into_iter().filter(|service| *service != Workload::Auth) {
        others.push(Place { owner: Owner { service, ..place().owner }, ..place() });
    }
    assert_eq!(others.len(), 3 * 128 + 64 + 6 + 5 + 2 + 3);
    for other in others {
        let same_bytes = key_with(0x44, other.owner, 5, Suites::ALL);
        let empty = other.table.is_empty() || other.column.is_empty();
        let why = if empty { OpenError::Name } else { OpenError::Refused };
        for (envelope, _) in &envelopes {
            refused(&same_bytes, &other, envelope, why);
        }
    }
}

#[test]
fn every_other_key_is_refused() {
    let [(envelope, _), (extended, _)] = envelopes(b"anna@example.org");
    for bit in 0..256 {
        let mut bytes = [0x44; 32];
        bytes[bit / 8] ^= 1 << (bit % 8);
        let other = SubjectKey::new(KeyBytes::copy_of(&bytes).unwrap(), owner(0x22), 5, Suites::ALL);
        refused(&other, &place(), &envelope, OpenError::Refused);
        refused(&other, &place(), &extended, OpenError::Refused);
    }
    let generation = |generation| key_with(0x44, owner(0x22), generation, Suites::ALL);
    for other in [0, 4, 6, u32::MAX] {
        let why = OpenError::Generation { expected: other, found: 5 };
        refused(&generation(other), &place(), &envelope, why);
        let mut claimed = envelope.clone();
        claimed[2..6].copy_from_slice(&other.to_be_bytes());
        refused(&generation(other), &place(), &claimed, OpenError::Refused);
    }
}

#[test]
fn a_key_seals_and_opens_for_its_owner_only() {
    let envelope = seal(&place(), b"value");
    let other = key_with(0x44, owner(0x23), 5, Suites::ALL);
    refused(&other, &place(), &envelope, OpenError::Owner);
    assert_eq!(other.seal(&place(), Padding::None, b"value", &Counting), Err(SealError::Owner));
    assert_eq!(other.seals(), 0);
}

#[test]
fn names_have_1_to_63_bytes() {
    let (longest, longer) = ("x".repeat(63), "x".repeat(64));
    let with = |table, column| key().seal(&Place { table, column, ..place() }, Padding::None, b"", &Counting);
    assert!(with(&longest, &longest).is_ok());
    for (table, column) in [("", "x"), ("x", ""), (longer.as_str(), "x"), ("x", longer.as_str())] {
        assert_eq!(with(table, column), Err(SealError::Name));
    }
}

/// Why the service's name needs no length in the associated data.
#[test]
fn no_name_of_a_workload_begins_another_one_or_is_too_long() {
    for one in Workload::ALL {
        assert!((1..=MAX_SERVICE).contains(&one.name().len()));
        for other in Workload::ALL.into_iter().filter(|other| *other != one) {
            assert!(!other.name().starts_with(one.name()), "{one} begins {other}");
        }
    }
}

#[test]
fn older_generations_open_and_the_newest_seals() {
    let of = |generation: u32| key_with(generation.to_be_bytes()[3], owner(0x22), generation, Suites::ALL);
    let envelopes: Vec<_> = (1..=4)
        .map(|generation| of(generation).seal(&place(), Padding::None, &[7], &Counting).unwrap())
        .collect();
    let key = of(3).after(of(2).after(of(1)));
    for envelope in &envelopes[..3] {
        assert_eq!(key.open(&place(), Padding::None, envelope).unwrap().expose(), &[7]);
    }
    refused(&key, &place(), &envelopes[3], OpenError::Generation { expected: 3, found: 4 });
    // The key that an envelope names is tried and no other.
    let mut claimed = envelopes[1].clone();
    claimed[2..6].copy_from_slice(&1_u32.to_be_bytes());
    refused(&key, &place(), &claimed, OpenError::Refused);
    let sealed = key.seal(&place(), Padding::None, b"new", &Counting).unwrap();
    assert_eq!(Header::read(&sealed).unwrap().generation, 3);
    // Another owner's key stays that, wherever it hangs.
    let foreign = of(3).after(key_with(1, owner(0x23), 1, Suites::ALL));
    refused(&foreign, &place(), &envelopes[0], OpenError::Owner);
}

#[test]
fn a_key_goes_on_counting_where_it_was() {
    let key = key().counting_from(MAX_SEALS - 1);
    key.seal(&place(), Padding::None, b"", &Counting).unwrap();
    assert_eq!(key.seals(), MAX_SEALS);
    assert_eq!(key.seal(&place(), Padding::None, b"", &Counting), Err(SealError::Exhausted));
}

#[test]
fn a_key_refuses_to_seal_too_often() {
    let key = key();
    assert_eq!(key.seals(), 0);
    key.seal(&place(), Padding::None, b"", &Counting).unwrap();
    assert_eq!(key.seals(), 1);
    key.set_seals(MAX_SEALS - 1);
    let last = key.seal(&place(), Padding::None, b"last", &Counting).unwrap();
    for _ in 0..3 {
        assert_eq!(key.seal(&place(), Padding::None, b"", &Counting), Err(SealError::Exhausted));
        assert_eq!(key.seals(), MAX_SEALS);
    }
    assert_eq!(key.open(&place(), Padding::None, &last).unwrap().expose(), b"last", "opening goes on");
}

#[test]
fn a_suite_that_is_switched_off_neither_seals_nor_opens() {
    let [(aes, _), (xaes, _)] = envelopes(b"value");
    let off = |algorithms: &[Algorithm]| {
        key_with(0x44, owner(0x22), 5, Suites::all_but(algorithms.iter().copied()))
    };
    let disabled = OpenError::Disabled(Disabled(Algorithm::Aes256Gcm));
    refused(&off(&[Algorithm::Aes256Gcm]), &place(), &aes, disabled);
    assert!(off(&[Algorithm::Aes256Gcm]).open(&place(), Padding::None, &xaes).is_ok());
    let disabled = OpenError::Disabled(Disabled(Algorithm::XAes256Gcm));
    refused(&off(&[Algorithm::XAes256Gcm]), &place(), &xaes, disabled);
    let neither = off(&[Algorithm::Aes256Gcm, Algorithm::XAes256Gcm]);
    let sealed = neither.seal(&place(), Padding::None, b"value", &Counting);
    assert!(matches!(sealed, Err(SealError::Disabled(_))), "{sealed:?}");
    assert_eq!(neither.seals(), 0);
}

#[test]
fn the_header_names_the_key() {
    let expected = Header { algorithm: Algorithm::Aes256Gcm, generation: 5 };
    assert_eq!(Header::read(&seal(&place(), b"value")), Ok(expected));
    let expected = Header { algorithm: Algorithm::XAes256Gcm, generation: 5 };
    assert_eq!(Header::read(&envelopes(b"value")[1].0), Ok(expected));
    for bytes in
        [&b""[..], b"\x01\x01\0\0\0", b"\x02\x01\0\0\0\x05", b"\x01\x00\0\0\0\x05", b"\x01\xff\0\0\0\x05"]
    {
        assert_eq!(Header::read(bytes), Err(OpenError::Malformed));
    }
}

#[test]
fn padding_hides_the_length() {
    let entropy = SeededEntropy::new(1);
    let length =
        |padding, plaintext: &[u8]| key().seal(&place(), padding, plaintext, &entropy).unwrap().len();
    for plaintext in [&b""[..], b"yes", b"no", &[7; 63]] {
        assert_eq!(length(Padding::To64, plaintext), 64 + 34);
    }
    assert_eq!(length(Padding::To64, &[7; 64]), 128 + 34);
    assert_eq!(length(Padding::To256, b""), 256 + 34);
    let padded = key().seal(&place(), Padding::To16, b"yes", &entropy).unwrap();
    assert_eq!(key().open(&place(), Padding::To16, &padded).unwrap().expose(), b"yes");
    assert_eq!(key().open(&place(), Padding::To64, &padded).err(), Some(OpenError::Padding));
    let plain = key().seal(&place(), Padding::None, b"yes", &entropy).unwrap();
    assert_eq!(key().open(&place(), Padding::To16, &plain).err(), Some(OpenError::Padding));
}

#[test]
fn two_envelopes_of_one_value_differ() {
    let entropy = SeededEntropy::new(1);
    let seal = || key().seal(&place(), Padding::None, b"value", &entropy).unwrap();
    assert_ne!(seal(), seal());
}

/// The key is computed with Python's `hmac`.
#[test]
fn a_stream_has_a_key_and_a_context_of_its_place() {
    let (derived, context) = key().bulk(&place(), 5).unwrap();
    let expected = "4c1b89c2f450929f6c137b6837fd40265dac8291b24590ece10faa2e3a3f5802";
    assert_eq!(*derived.expose(), hex::decode(expected).unwrap());
    let mut expected = b"portal/bulk/v1\0\0\0\0\x05auth".to_vec();
    expected.extend([[0x11; 16], [0x22; 16]].concat());
    expected.extend(b"\x07account\x05email");
    expected.extend([[0x33; 16].as_slice(), &[0, 0, 0, 0, 0, 0, 0, 7]].concat());
    assert_eq!(context, expected);

    let older = key_with(0x45, owner(0x22), 4, Suites::ALL);
    let (of_older, _) = older.bulk(&place(), 4).unwrap();
    let both = key().after(older);
    assert!(both.bulk(&place(), 4).unwrap().0.same_as(&of_older));
    let missing = OpenError::Generation { expected: 5, found: 3 };
    assert_eq!(both.bulk(&place(), 3).err(), Some(missing));
    let elsewhere = Place { owner: owner(0x23), ..place() };
    assert_eq!(both.bulk(&elsewhere, 5).err(), Some(OpenError::Owner));
    assert_eq!(both.bulk(&Place { table: "", ..place() }, 5).err(), Some(OpenError::Name));
    let off = key_with(0x44, owner(0x22), 5, Suites::all_but([Algorithm::Cobblestone256]));
    let disabled = OpenError::Disabled(Disabled(Algorithm::Cobblestone256));
    assert_eq!(off.bulk(&place(), 5).err(), Some(disabled));
}

fn padding() -> impl Strategy<Value = Padding> {
    prop_oneof![Just(Padding::None), Just(Padding::To16), Just(Padding::To64), Just(Padding::To256)]
}

proptest! {
    #[test]
    fn what_was_sealed_opens(
        plaintext in prop::collection::vec(any::<u8>(), 0..600),
        (table, column) in ("[a-z_]{1,63}", "[a-z_]{1,63}"),
        (row, row_version) in any::<([u8; 16], u64)>(),
        padding in padding(),
        (seed, bytes, generation, aes) in any::<(u64, u8, u32, bool)>(),
    ) {
        let suites = if aes { Suites::ALL } else { Suites::all_but([Algorithm::Aes256Gcm]) };
        let entropy = SeededEntropy::new(seed);
        let key = key_with(bytes, owner(seed.to_be_bytes()[0]), generation, suites);
        let place = Place { owner: *key.owner(), table: &table, column: &column, row, row_version };
        let envelope = key.seal(&place, padding, &plaintext, &entropy).unwrap();
        let opened = key.open(&place, padding, &envelope).unwrap();
        prop_assert_eq!(opened.expose(), &plaintext);
    }

    #[test]
    fn anything_else_is_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        header in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if header && bytes.len() >= 6 {
            let suite = 1 + bytes[1] % 2;
            bytes[..6].copy_from_slice(&[1, suite, 0, 0, 0, 5]);
        }
        prop_assert!(key().open(&place(), Padding::None, &bytes).is_err());
    }
}
