//! Published answers: ACVP, Wycheproof, X-Wing, RFC 9964, the proofs of transparency-dev. Sources: `../vectors/README.md`.
//!
//! Through the public functions, so of whichever backend the features chose; `src/backend/vectors.rs` has what is below
//! them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod aead;
mod bulk;
mod cose;
mod jose;
mod kem;
#[cfg(target_os = "linux")]
mod memory;
mod merkle;
#[cfg(target_os = "linux")]
#[path = "../support/search.rs"]
mod search;
mod sign;
mod types;

use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().unwrap()
}

/// Whether a test of Wycheproof must pass.
fn valid(test: &Value) -> bool {
    match test["result"].as_str() {
        Some("valid") => true,
        Some("invalid") => false,
        other => panic!("{other:?}"),
    }
}

fn tests(value: &Value) -> impl Iterator<Item = &Value> {
    value["tests"].as_array().unwrap().iter()
}
