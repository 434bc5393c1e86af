//! What the formats cost: fields, subject keys, streams, digests. The raw side is aws-lc-rs doing the encryption alone, on
//! as many bytes and with as much associated data: `cargo bench -p portal-crypto --bench formats`.
//!
//! A line is to be read as in `primitives.rs`.
#![allow(clippy::unwrap_used)]

#[path = "paired/harness.rs"]
mod harness;

use std::hint::black_box;
use std::process::ExitCode;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use portal_core::id::{EpochId, Id, SubjectId, TenantId};
use portal_core::{SystemEntropy, Timestamp, Workload};
use portal_crypto::blind_index::{BlindIndexKey, IndexBits, IndexedColumn};
use portal_crypto::bulk::{self, CHUNK, Opener, SEALED_CHUNK, Sealer};
use portal_crypto::envelope::{Padding, Place, Scope};
use portal_crypto::epoch::EpochKey;
use portal_crypto::kdf::ServiceSecret;
use portal_crypto::key::KeyBytes;
use portal_crypto::row_digest::{RowDigest, RowDigestKey};
use portal_crypto::suite::Suites;

use harness::{alone, pair};

/// Nanoseconds for a field of 64 bytes with a key that is at hand.
const FIELD: f64 = 200.0;
/// At least 85 % of the raw speed.
const BULK: f64 = 1.0 / 0.85;
/// 300,000 a second.
const REWRAP: f64 = 1e9 / 300_000.0;

const SCOPE: Scope = Scope { service: Workload::Auth, tenant: TenantId::DEFAULT };

fn main() -> ExitCode {
    harness::title();
    fields();
    subject_keys();
    streams();
    rows();
    harness::verdict()
}

fn subject() -> SubjectId {
    SubjectId::from_bytes([3; 16])
}

fn epoch(id: u8) -> EpochKey {
    EpochKey::new(&KeyBytes::generate(&SystemEntropy), EpochId::from_bytes([id; 16]), SCOPE, Suites::ALL)
}

fn raw_key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap())
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([9; 12])
}

fn fields() {
    let now = Timestamp::from_seconds(0);
    let (key, _) = epoch(1).new_subject_key(subject(), 1, now, &SystemEntropy).unwrap();
    let raw = raw_key();
    let (row, owner) = ([1; 16], SCOPE.owner(subject()));
    let place = Place { owner, table: "account", column: "email", row, row_version: 1 };
    for length in [64, 1_024] {
        let (plaintext, mut buffer) = (vec![3; length], vec![0; length]);
        pair(
            &format!("field, seal {length} B"),
            || key.seal(black_box(&place), Padding::None, &plaintext, &SystemEntropy).unwrap(),
            || raw.seal_in_place_separate_tag(nonce(), Aad::from(&[5; 110]), &mut buffer).unwrap(),
        )
        .nanos_at_most(if length == 64 { FIELD } else { f64::INFINITY });
        let envelope = key.seal(&place, Padding::None, &plaintext, &SystemEntropy).unwrap();
        let tag = raw.seal_in_place_separate_tag(nonce(), Aad::from(&[5; 110]), &mut buffer).unwrap();
        let mut out = vec![0; length];
        pair(
            &format!("field, open {length} B"),
            || key.open(black_box(&place), Padding::None, &envelope).unwrap(),
            || {
                let aad = Aad::from(&[5; 110]);
                raw.open_separate_gather(nonce(), aad, &buffer, tag.as_ref(), &mut out).unwrap();
            },
        )
        .nanos_at_most(if length == 64 { FIELD } else { f64::INFINITY });
    }
    let envelope = key.seal(&place, Padding::To64, b"yes", &SystemEntropy).unwrap();
    alone("field, seal 3 B padded to 64", || {
        key.seal(black_box(&place), Padding::To64, b"yes", &SystemEntropy).unwrap()
    });
    alone("field, open 3 B padded to 64", || key.open(black_box(&place), Padding::To64, &envelope).unwrap());
}

fn subject_keys() {
    let (old, new, now) = (epoch(1), epoch(2), Timestamp::from_seconds(0));
    let (_, record) = old.new_subject_key(subject(), 1, now, &SystemEntropy).unwrap();
    alone("subject key, unwrap", || old.unwrap(subject(), black_box(&record)).unwrap())
        .nanos_at_most(1_000.0);
    alone("subject key, rewrap", || old.rewrap(&new, subject(), black_box(&record), &SystemEntropy).unwrap())
        .nanos_at_most(REWRAP);
    alone("subject key, new", || old.new_subject_key(subject(), 1, now, &SystemEntropy).unwrap());
}

fn streams() {
    const MIB: usize = 1 << 20;
    let (key, raw) = (KeyBytes::generate(&SystemEntropy), raw_key());
    let mut frames = vec![[0; SEALED_CHUNK]; MIB / CHUNK];
    let mut buffer = vec![0; MIB];
    pair(
        "stream, seal 1 MiB in frames",
        || {
            let (mut sealer, header) = Sealer::new(&key, b"context", &SystemEntropy);
            for frame in &mut frames {
                sealer.seal_chunk(frame).unwrap();
            }
            sealer.finish(&mut Vec::new()).unwrap();
            header
        },
        || raw.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut buffer).unwrap(),
    )
    .ratio_at_most(BULK);
    let plaintext = vec![3; MIB];
    let sealed = bulk::seal(&key, b"context", &plaintext, &SystemEntropy).unwrap();
    let (header, chunks) = sealed.split_first_chunk().unwrap();
    let tag = raw.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut buffer).unwrap();
    let (ciphertext, mut out) = (buffer.clone(), vec![0; MIB]);
    // What is opened in place can't be opened again, so both sides get a fresh copy.
    pair(
        "stream, open 1 MiB in frames, + copy",
        || {
            let mut opener = Opener::new(&key, b"context", header).unwrap();
            for (frame, chunk) in frames.iter_mut().zip(chunks.chunks_exact(SEALED_CHUNK)) {
                frame.copy_from_slice(chunk);
                opener.open_chunk(frame).unwrap();
            }
        },
        || {
            out.copy_from_slice(&ciphertext);
            raw.open_in_place_separate_tag(nonce(), Aad::empty(), tag.as_ref(), &mut out).unwrap();
        },
    )
    .ratio_at_most(BULK);
    alone("stream, seal 1 MiB at once", || {
        bulk::seal(&key, b"context", black_box(&plaintext), &SystemEntropy).unwrap()
    });
    alone("stream, open 1 MiB at once", || bulk::open(&key, b"context", black_box(&sealed)).unwrap());
}

fn rows() {
    let key = RowDigestKey::new(&[7; 32]);
    let envelope = [5; 98];
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    alone("row digest, ten fields of 98 B", || {
        let row = RowDigest::new(&key, "account", &[1; 16], 1);
        names.iter().fold(row, |row, name| row.bytes(*name, black_box(&envelope))).finish()
    });
    let secret = ServiceSecret::new(&[7; 32]);
    let column = IndexedColumn { tenant: TenantId::DEFAULT, table: "account", column: "email" };
    let index = BlindIndexKey::derive(&secret, &column, 1);
    alone("blind index", || index.index(black_box(b"anna@example.org"), IndexBits::FULL));
}
