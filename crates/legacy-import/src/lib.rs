//! Reads what earlier systems wrote: Kyber-768 of round 3 with AES-256-GCM, signed by Dilithium3 of round 3.1; and makes
//! records of today of it, sealed under the keys of their persons.
//!
//! Invariants: what is here can open and verify, never seal or sign; no record is opened before its signature is
//! verified; an old record is there until its new form was compared with it and an operator has committed; nothing but the binary of this package links it, and nothing else links `pqc_kyber` and `pqc_dilithium`
//! (`tests/isolation.rs`). The format is described in `docs/legacy-format.md`.
//!
//! | module | holds |
//! |---|---|
//! | [`key_id`] | names of keys |
//! | [`record`] | a record, its canonical encoding, and [`record::Verified`] |
//! | [`kem`] | decapsulation by two implementations that must agree |
//! | [`open`], [`verify`] | [`LegacyOpen`], [`LegacyVerify`] |
//! | [`reader`] | records read with all keys of an earlier system |
//! | [`export`] | records from a file |
//! | [`key_file`] | keys from files |
//! | [`store`], [`load`] | the table of legacy records, and an export put into it |
//! | [`imported`] | the table of imported records |
//! | [`refusal`] | the table of records that can't be imported |
//! | [`migration`] | legacy records become imported ones, and back |
//! | [`scan`] | both tables checked |
//! | [`importer`] | [`Importer`]: all of it together |
//! | [`schema`] | the database |
//! | [`content`], [`survey`] | what a set of records says, in one number |
#![forbid(unsafe_code)]

pub mod content;
pub mod export;
pub mod imported;
pub mod importer;
#[cfg(test)]
mod kat;
pub mod kem;
pub mod key_file;
pub mod key_id;
pub mod load;
pub mod migration;
pub mod open;
pub mod reader;
pub mod record;
pub mod refusal;
pub mod scan;
pub mod schema;
pub mod store;
pub mod survey;
pub mod verify;

pub use content::{Content, ContentDigest};
pub use export::Export;
pub use importer::Importer;
pub use key_id::KeyId;
pub use open::LegacyOpen;
pub use reader::{Reader, Unreadable};
pub use record::{LegacyRecord, RecordId};
pub use refusal::{Cause, Refusal};
pub use verify::LegacyVerify;
