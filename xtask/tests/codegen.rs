//! The checked-in generated code is what the protos generate now.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[test]
fn checked_in_code_is_what_the_protos_generate() {
    let fresh = tempfile::tempdir().unwrap();
    xtask::codegen::generate(&xtask::codegen::proto_dir(), fresh.path()).unwrap();
    let fresh = contents(fresh.path());
    let checked_in = contents(&xtask::codegen::gen_dir());
    assert_eq!(
        fresh.keys().collect::<Vec<_>>(),
        checked_in.keys().collect::<Vec<_>>(),
        "run `cargo xtask codegen`"
    );
    for (name, code) in &fresh {
        // Not assert_eq: nobody wants a megabyte of generated code in the failure.
        assert!(checked_in[name] == *code, "{name} is out of date: run `cargo xtask codegen`");
    }
}

#[test]
fn a_changed_proto_changes_the_code() {
    let protos = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let generate = |field: &str| {
        let proto = format!("syntax = \"proto3\";\npackage t.v1;\nmessage M {{ string {field} = 1; }}\n");
        fs::write(protos.path().join("t.proto"), proto).unwrap();
        xtask::codegen::generate(protos.path(), out.path()).unwrap();
        contents(out.path())
    };
    let one = generate("one");
    assert_eq!(one.keys().collect::<Vec<_>>(), ["descriptors.bin", "t.v1.rs"]);
    assert_eq!(one, generate("one"), "output depends on something but the protos");
    let two = generate("two");
    for (name, code) in one {
        assert!(two[&name] != code, "{name} did not change");
    }
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}
