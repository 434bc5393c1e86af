//! The known answers, parsed. For tests alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::HashMap;

/// One case of a file of NIST's form: `name = value` by line, cases apart by empty lines.
pub struct Case(HashMap<&'static str, &'static str>);

impl Case {
    /// The bytes called `name`.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        unhex(self.0[name])
    }

    /// The bytes called `name`, of this length.
    pub fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap()
    }
}

/// Kyber-768: pk, sk, ct, ss.
pub fn kyber768() -> Vec<Case> {
    parse(include_str!("../tests/vectors/round3/kyber768-r3.first10.rsp"))
}

/// Dilithium3: msg, pk, and sm, the signature before the message.
pub fn dilithium3() -> Vec<Case> {
    parse(include_str!("../tests/vectors/round3/dilithium3-r3.first10.rsp"))
}

fn parse(text: &'static str) -> Vec<Case> {
    let blocks = text.split("\n\n").filter(|block| block.contains(" = "));
    let cases: Vec<_> =
        blocks.map(|block| Case(block.lines().filter_map(|line| line.split_once(" = ")).collect())).collect();
    assert_eq!(cases.len(), 10);
    cases
}

/// Bytes of hexadecimal digits.
pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
