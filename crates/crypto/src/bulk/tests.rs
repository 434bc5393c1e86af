#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use portal_core::SeededEntropy;
use proptest::prelude::*;

use super::*;

fn key(byte: u8) -> KeyBytes {
    KeyBytes::copy_of(&[byte; 32]).unwrap()
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

fn sealed(length: usize) -> Vec<u8> {
    seal(&key(1), b"context", &text(length), &SeededEntropy::new(7)).unwrap()
}

/// By frames, as a file is read and written.
fn seal_by_frames(plaintext: &[u8]) -> Vec<u8> {
    let (mut sealer, header) = Sealer::new(&key(1), b"context", &SeededEntropy::new(7));
    let mut out = header.to_vec();
    let chunks = plaintext.chunks_exact(CHUNK);
    let mut last = chunks.remainder().to_vec();
    for chunk in chunks {
        let mut frame = Box::new([0; SEALED_CHUNK]);
        frame[..CHUNK].copy_from_slice(chunk);
        sealer.seal_chunk(&mut frame).unwrap();
        out.extend_from_slice(frame.as_slice());
    }
    sealer.finish(&mut last).unwrap();
    out.extend_from_slice(&last);
    out
}

fn open_by_frames(sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let (header, sealed) = sealed.split_first_chunk().ok_or(OpenError::Truncated)?;
    let mut opener = Opener::new(&key(1), b"context", header)?;
    let mut out = Vec::new();
    let chunks = sealed.chunks_exact(SEALED_CHUNK);
    let mut last = chunks.remainder().to_vec();
    for chunk in chunks {
        let mut frame: Box<[u8; SEALED_CHUNK]> = Box::new(chunk.try_into().unwrap());
        opener.open_chunk(&mut frame)?;
        out.extend_from_slice(&frame[..CHUNK]);
    }
    opener.finish(&mut last)?;
    out.extend_from_slice(&last);
    Ok(out)
}

fn refused(sealed: &[u8]) {
    assert!(open(&key(1), b"context", sealed).is_err());
    assert!(open_by_frames(sealed).is_err());
}

const LENGTHS: [usize; 9] =
    [0, 1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 5_000];

#[test]
fn whole_messages_and_frames_are_the_same() {
    for length in LENGTHS {
        let sealed = sealed(length);
        assert_eq!(seal_by_frames(&text(length)), sealed);
        assert_eq!(Some(sealed.len()), sealed_len(length));
        assert_eq!(sealed.len(), 56 + length + 16 * (length / CHUNK + 1));
        assert_eq!(open(&key(1), b"context", &sealed).unwrap().expose(), &text(length));
        assert_eq!(open_by_frames(&sealed).unwrap(), text(length));
    }
}

#[test]
fn opens_under_its_key_and_context_only() {
    for length in LENGTHS {
        let sealed = sealed(length);
        let why = |key: &KeyBytes, context: &[u8]| open(key, context, &sealed).err();
        assert_eq!(why(&key(2), b"context"), Some(OpenError::Commitment));
        assert_eq!(why(&key(1), b"contex"), Some(OpenError::Commitment));
        assert_eq!(why(&key(1), b"contexts"), Some(OpenError::Commitment));
        assert_eq!(why(&key(1), b""), Some(OpenError::Commitment));
    }
}

#[test]
fn every_flipped_bit_of_a_small_message_is_refused() {
    let good = sealed(40);
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let why = if bit / 8 < HEADER { OpenError::Commitment } else { OpenError::Refused };
        assert_eq!(open(&key(1), b"context", &flipped).err(), Some(why), "bit {bit}");
        assert_eq!(open_by_frames(&flipped).err(), Some(why), "bit {bit}");
    }
}

#[test]
fn flipped_bits_at_every_border_of_a_long_message_are_refused() {
    let good = sealed(2 * CHUNK + 5_000);
    let borders = [HEADER, HEADER + CHUNK, HEADER + SEALED_CHUNK, HEADER + 2 * SEALED_CHUNK, good.len()];
    for at in borders.into_iter().flat_map(|border| border.saturating_sub(17)..border + 17) {
        for bit in (0..8).filter(|_| at < good.len()) {
            let mut flipped = good.clone();
            flipped[at] ^= 1 << bit;
            refused(&flipped);
        }
    }
}

#[test]
fn every_cut_and_extension_of_a_small_message_is_refused() {
    let good = sealed(40);
    for length in 0..good.len() {
        refused(&good[..length]);
        refused(&good[good.len() - length..]);
    }
    for byte in 0..=255 {
        refused(&[good.as_slice(), &[byte]].concat());
    }
}

#[test]
fn a_long_message_cut_at_a_chunk_is_truncated() {
    let good = sealed(2 * CHUNK + 5_000);
    for chunks in 0..=2 {
        for more in 0..TAG_LEN {
            let cut = &good[..HEADER + chunks * SEALED_CHUNK + more];
            assert_eq!(open(&key(1), b"context", cut).err(), Some(OpenError::Truncated));
            assert_eq!(open_by_frames(cut).err(), Some(OpenError::Truncated));
        }
    }
    for more in [TAG_LEN, 1_000, CHUNK] {
        refused(&good[..HEADER + SEALED_CHUNK + more]);
        refused(&[good.as_slice(), &vec![0; more]].concat());
    }
}

#[test]
fn moved_repeated_and_foreign_chunks_are_refused() {
    let (good, other) = (sealed(2 * CHUNK + 5_000), seal_by_frames(&text(2 * CHUNK)));
    let chunk = |message: &[u8], at: usize| {
        let start = HEADER + at * SEALED_CHUNK;
        message[start..message.len().min(start + SEALED_CHUNK)].to_vec()
    };
    let with = |chunks: [Vec<u8>; 3]| [good[..HEADER].to_vec(), chunks.concat()].concat();
    let [one, two, three] = [0, 1, 2].map(|at| chunk(&good, at));
    assert_eq!(with([one.clone(), two.clone(), three.clone()]), good);
    refused(&with([two.clone(), one.clone(), three.clone()]));
    refused(&with([one.clone(), one.clone(), three.clone()]));
    refused(&with([one.clone(), three.clone(), two.clone()]));
    refused(&with([one.clone(), two.clone(), Vec::new()]));
    refused(&with([Vec::new(), two.clone(), three.clone()]));
    // Of the same salt, so the same keys: the chunks agree up to the last one.
    assert_eq!(chunk(&other, 0), one);
    let foreign = seal(&key(1), b"context", &text(3 * CHUNK), &SeededEntropy::new(8)).unwrap();
    refused(&with([one, chunk(&foreign, 1), three]));
}

#[test]
fn after_a_refusal_everything_is_refused() {
    let good = sealed(2 * CHUNK);
    let (header, chunks) = good.split_first_chunk().unwrap();
    let mut opener = Opener::new(&key(1), b"context", header).unwrap();
    let mut frame: Box<[u8; SEALED_CHUNK]> = Box::new(chunks[..SEALED_CHUNK].try_into().unwrap());
    frame[0] ^= 1;
    assert_eq!(opener.open_chunk(&mut frame), Err(OpenError::Refused));
    let mut second: Box<[u8; SEALED_CHUNK]> =
        Box::new(chunks[SEALED_CHUNK..2 * SEALED_CHUNK].try_into().unwrap());
    assert_eq!(opener.open_chunk(&mut second), Err(OpenError::Refused));
    assert_eq!(opener.finish(&mut chunks[2 * SEALED_CHUNK..].to_vec()), Err(OpenError::Refused));
}

#[test]
fn the_last_chunk_is_shorter_than_the_others() {
    let sealer = || Sealer::new(&key(1), b"", &SeededEntropy::new(1)).0;
    assert_eq!(sealer().finish(&mut vec![0; CHUNK]), Err(SealError));
    assert_eq!(sealer().finish(&mut vec![0; CHUNK - 1]), Ok(()));
    let (_, header) = Sealer::new(&key(1), b"", &SeededEntropy::new(1));
    let opener = || Opener::new(&key(1), b"", &header).unwrap();
    assert_eq!(opener().finish(&mut vec![0; SEALED_CHUNK]), Err(OpenError::Refused));
    assert_eq!(opener().finish(&mut Vec::new()), Err(OpenError::Truncated));
}

#[test]
fn a_message_ends_at_4_pib() {
    let (mut sealer, header) = Sealer::new(&key(1), b"", &SeededEntropy::new(1));
    let mut frame = Box::new([0; SEALED_CHUNK]);
    sealer.0.next = MAX_CHUNKS - 1;
    sealer.seal_chunk(&mut frame).unwrap();
    assert_eq!(sealer.seal_chunk(&mut frame), Err(SealError));
    assert_eq!(sealer.finish(&mut Vec::new()), Err(SealError));
    let mut opener = Opener::new(&key(1), b"", &header).unwrap();
    opener.0.next = MAX_CHUNKS - 1;
    opener.open_chunk(&mut frame).unwrap();
    assert_eq!(opener.open_chunk(&mut frame), Err(OpenError::Refused));
}

#[test]
fn the_number_of_a_chunk_goes_into_the_end_of_the_nonce() {
    let mut chunks = Chunks::derive(&key(1), &[0; SALT], b"").0;
    chunks.base_nonce = [0xff; NONCE_LEN];
    chunks.next = 0x01_0203_0405;
    let nonce = [255, 255, 255, 255, 255, 255, 255, 0xfe, 0xfd, 0xfc, 0xfb, 0xfa];
    assert_eq!(chunks.next_nonce(), Some(nonce));
    assert_eq!(chunks.next, 0x01_0203_0406);
}

#[test]
fn lengths_that_no_memory_holds() {
    assert_eq!(sealed_len(usize::MAX), None);
    assert_eq!(sealed_len(0), Some(HEADER + TAG_LEN));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_was_sealed_opens(
        plaintext in prop::collection::vec(any::<u8>(), 0..3 * CHUNK),
        context in prop::collection::vec(any::<u8>(), 0..80),
        seed: u64,
    ) {
        let entropy = SeededEntropy::new(seed);
        let key = KeyBytes::generate(&entropy);
        let sealed = seal(&key, &context, &plaintext, &entropy).unwrap();
        let opened = open(&key, &context, &sealed).unwrap();
        prop_assert_eq!(opened.expose(), &plaintext);
    }
}
