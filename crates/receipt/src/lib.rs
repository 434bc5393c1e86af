//! Receipts: what a person was told and decided, signed so that it can be checked by whoever has the keys alone.
//!
//! What it promises:
//! - A receipt is the content of one event of a consent ([`Record`]) in the terms of ISO/IEC TS 27560, as the guide of the
//!   W3C Data Privacy Vocabulary renders them. It has one encoding ([`payload`]); every other one is refused.
//! - It is signed with ML-DSA-65 ([`sign()`]), and shown to be in the ledger by a receipt of inclusion (RFC 9942).
//! - [`verify()`] needs neither network nor database, says of each step what it found, and never shows personal data.
//! - The same record is told in DPV JSON-LD, Kantara 1.1 and FHIR R5 ([`export`]); records of others in JSON-LD are read
//!   without loss ([`dpv::Document`]), and [`dpv::validate()`] names each field that the guide demands and they lack.
//!
//! Invariants: nothing here does IO or reads a clock; bytes from outside never panic.
#![forbid(unsafe_code)]

pub mod dpv;
pub mod export;
pub mod file;
pub mod keys;
pub mod payload;
pub mod record;

mod cbor;
mod sign;
mod verify;

pub use record::Record;
pub use sign::{CONTENT_TYPE, SignError, sign};
pub use verify::{Finding, Proof, Report, Step, verify};
