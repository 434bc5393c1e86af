//! Hashes: SHA-256 for trees, thumbprints and look-ups, SHA-384 for content that must keep for decades.

use crate::backend;

/// A SHA-256 value.
pub type Sha256 = [u8; 32];

/// A SHA-384 value.
pub type Sha384 = [u8; 48];

/// The SHA-256 of `message`.
#[must_use]
pub fn sha256(message: &[u8]) -> Sha256 {
    backend::sha256(&[message])
}

/// The SHA-384 of `message`.
#[must_use]
pub fn sha384(message: &[u8]) -> Sha384 {
    backend::sha384(&[message])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::hex;

    /// FIPS 180-4 examples.
    #[test]
    fn nist_examples() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), hex::decode(abc).unwrap());
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b""), hex::decode(empty).unwrap());
        let abc = "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
                   8086072ba1e7cc2358baeca134c825a7";
        assert_eq!(sha384(b"abc"), hex::decode(abc).unwrap());
    }
}
