//! The fuzz targets on their corpus and on mutations of it, with the stable compiler and in each run of the tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

/// The files of a corpus, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(directory(target))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

/// What is called `good-…` is taken and everything else is not: a format that drifts away from its corpus is noticed.
#[test]
fn each_target_takes_what_is_good_in_its_corpus() {
    for (name, target) in TARGETS {
        let files = corpus(name);
        assert!(files.iter().filter(|(file, _)| file.starts_with("good-")).count() >= 3, "{name}");
        for (file, bytes) in files {
            assert_eq!(target(&bytes), file.starts_with("good-"), "{name}/{file}");
        }
    }
}

#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, u8),
    Repeat(Index, u8),
    Cut(Index),
    Splice(Index, Index, Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let interesting =
        prop_oneof![any::<u8>(), prop::sample::select(b"\0\x01\x7f\x80\xff\"{}[],:.0-".to_vec())];
    let bytes = prop::collection::vec(interesting.clone(), 1..9);
    prop_oneof![
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (any::<Index>(), interesting).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<Index>(), bytes).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, length)| Mutation::Remove(at, length)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, length)| Mutation::Repeat(at, length)),
        any::<Index>().prop_map(Mutation::Cut),
        any::<(Index, Index, Index)>().prop_map(|(file, from, to)| Mutation::Splice(file, from, to)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation, files: &[(String, Vec<u8>)]) {
    let length = bytes.len();
    let at = |index: &Index| index.index(length + 1);
    match mutation {
        Mutation::Flip(index, bit) if length > 0 => bytes[index.index(length)] ^= 1 << bit,
        Mutation::Set(index, byte) if length > 0 => bytes[index.index(length)] = *byte,
        Mutation::Flip(..) | Mutation::Set(..) => {}
        Mutation::Insert(index, more) => drop(bytes.splice(at(index)..at(index), more.iter().copied())),
        Mutation::Remove(index, count) => {
            drop(bytes.drain(at(index)..length.min(at(index) + usize::from(*count))));
        }
        Mutation::Repeat(index, count) => {
            bytes.extend_from_within(at(index)..length.min(at(index) + usize::from(*count)));
        }
        Mutation::Cut(index) => bytes.truncate(at(index)),
        Mutation::Splice(file, from, to) => {
            let other = &index_of(file, files).1;
            let tail = &other[from.index(other.len() + 1)..];
            bytes.truncate(at(to));
            bytes.extend_from_slice(tail);
        }
    }
}

fn index_of<'a>(index: &Index, files: &'a [(String, Vec<u8>)]) -> &'a (String, Vec<u8>) {
    &files[index.index(files.len())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn each_target_survives_mutations_of_its_corpus(
        file: Index,
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        for (name, target) in TARGETS {
            let files = corpus(name);
            let mut bytes = index_of(&file, &files).1.clone();
            for mutation in &mutations {
                mutate(&mut bytes, mutation, &files);
            }
            target(&bytes);
        }
    }

    #[test]
    fn each_target_survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for (_, target) in TARGETS {
            prop_assert!(!target(&bytes));
        }
    }
}
