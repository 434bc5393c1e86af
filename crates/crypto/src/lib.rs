//! The cryptography of Portal, composed of standard pieces by their specification.
//!
//! Invariants: nothing here does IO, reads a clock, or is async; algorithms are closed enums with stable ids, never
//! strings in business code; secrets are wiped on drop, have no `Debug`, `Display` or `Serialize`, and are compared in
//! constant time; every function passes published vectors (`tests/vectors/README.md`). Only `backend` names the
//! library that computes.
//!
//! | module | holds |
//! |---|---|
//! | [`suite`] | the algorithms with their ids; which are switched on |
//! | [`key`] | 32 secret bytes |
//! | [`hash`] | SHA-256, SHA-384 |
//! | [`mac`] | HMAC-SHA-256 |
//! | [`aead`] | AES-256-GCM, XAES-256-GCM |
//! | [`kem`] | X-Wing, ML-KEM-768 and ML-KEM-1024 (FIPS 203) |
//! | [`hpke`] | HPKE (RFC 9180) with X-Wing: sealing to a public key |
//! | [`envelope`] | the field envelope: one sealed value, bound to its place; the key of a data subject |
//! | [`epoch`] | the epoch key, which wraps the subject keys; their records |
//! | [`wrapped`] | what a provider binds a wrapped key to; the records of those keys |
//! | [`keyring`] | the root keys of the `file` provider and their file |
//! | [`inventory`] | what is known of a key: id, algorithm, use, state, times |
//! | [`bulk`] | Cobblestone-256: files and exports, chunk by chunk |
//! | [`row_digest`] | the authenticated digest of a database row |
//! | [`blind_index`] | equality look-ups of sealed values |
//! | [`kdf`] | the service secret and the keys derived from it, one [`kdf::Label`] each |
//! | [`sign`] | ML-DSA-65 (FIPS 204), Ed25519, ECDSA on P-256 |
//! | [`pair`] | Ed25519 and ML-DSA-65 together, for what is kept |
//! | [`cose`] | signed objects in CBOR: COSE_Sign1 and COSE_Sign with ML-DSA-65 and Ed25519 |
//! | [`statement`] | statements signed by Ed25519 and ML-DSA-65 |
//! | [`jws`] | signed objects in JSON: JWS with a signature of Ed25519 and one of ML-DSA-65 |
//! | [`jose`] | signed claims for clients outside: compact JWS with ML-DSA-65, ES256 or Ed25519; keys as JWK |
//! | [`token`] | the mesh's access token: `at+jwt` (RFC 9068) signed by ML-DSA-65 (RFC 9964), key sets |
//! | [`password`] | Argon2id with a pepper, PHC strings |
//! | [`page_token`] | page tokens bound to their query |
//! | [`merkle`] | the hash tree of RFC 9162 with its proofs and tiles
//! | [`checkpoint`] | the signed head of a log: C2SP tlog-checkpoint, with Ed25519 and ML-DSA-65 |
#![forbid(unsafe_code)]

pub mod aead;
mod backend;
pub mod blind_index;
pub mod bulk;
pub mod checkpoint;
pub mod cose;
pub mod envelope;
pub mod epoch;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod hash;
pub mod hpke;
pub mod inventory;
pub mod jose;
pub mod jws;
pub mod kdf;
pub mod kem;
pub mod key;
pub mod keyring;
pub mod mac;
pub mod merkle;
pub mod page_token;
pub mod pair;
pub mod password;
pub mod row_digest;
pub mod sign;
pub mod statement;
pub mod suite;
pub mod token;
pub mod wrapped;

mod base64url;
mod hex;
mod seed;
mod short_bytes;
mod strict_json;

pub use backend::BACKEND;
