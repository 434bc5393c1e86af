//! The cryptography of Portal, composed of standard pieces by their specification.
//!
//! Invariants: nothing here does IO, reads a clock, or is async; algorithms are closed enums with stable ids, never
//! strings in business code; secrets are wiped on drop, have no `Debug`, `Display` or `Serialize`, and are compared in
//! constant time; every function passes published vectors (`tests/vectors/README.md`). Only `backend` names the
//! library that computes.
//!
//! | module | holds |
//! |---|---|
//! | [`hash`] | SHA-256, SHA-384 |
//! | [`mac`] | HMAC-SHA-256 |
//! | [`aead`] | AES-256-GCM, XAES-256-GCM |
//! | [`kem`] | X-Wing, ML-KEM-768 and ML-KEM-1024 (FIPS 203) |
//! | [`hpke`] | HPKE (RFC 9180) with X-Wing: sealing to a public key |
//! | [`kdf`] | the service secret and the keys derived from it, one [`kdf::Label`] each |
//! | [`sign`] | ML-DSA-65 (FIPS 204), Ed25519 |
//! | [`pair`] | Ed25519 and ML-DSA-65 together, for what is kept |
//! | [`token`] | the mesh's access token: `at+jwt` (RFC 9068) signed by ML-DSA-65 (RFC 9964), key sets |
//! | [`password`] | Argon2id with a pepper, PHC strings |
//! | [`page_token`] | page tokens bound to their query |
//! | [`merkle`] | the hash tree of RFC 9162 with its proofs |
#![forbid(unsafe_code)]

pub mod aead;
mod backend;
pub mod hash;
pub mod hpke;
pub mod kdf;
pub mod kem;
pub mod mac;
pub mod merkle;
pub mod page_token;
pub mod pair;
pub mod password;
pub mod sign;
pub mod token;

mod base64url;
mod hex;
mod seed;
