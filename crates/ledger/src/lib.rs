//! The append-only log of one service: an RFC 9162 Merkle tree (SHA-256) of salted commitments, in the service's database.
//!
//! What it promises:
//! - [`append`](append::append) runs in the caller's transaction: a change and its entry are committed together or not at
//!   all, and no such transaction waits for another.
//! - Positions start at 0 and have no gaps, whatever runs at the same time and whatever is rolled back; an entry that was
//!   appended after another one was committed has the higher position.
//! - Heads of the tree are signed by Ed25519 and ML-DSA-65, each a continuation of all that were signed before; a proof is
//!   checked against the signed head before it is given out, so a row changed behind the ledger's back is an error.
//! - A leaf is a commitment: without its salt it tells nothing about what was appended. The ledger does not know the salt.
//!
//! | module | holds |
//! |---|---|
//! | [`leaf`] | [`Leaf`], [`Salt`], [`Commitment`] |
//! | [`append`](mod@append) | [`append()`], [`append_many`] |
//! | [`continuation`] | whether a log was set back: [`Log::continuation`] |
//! | [`feed`] | what was appended, in its order, for those who follow it |
//! | [`log`] | [`Log`]: checkpoints, proofs, entries; its sequencer, [`Log::run`] |
//! | [`verify`] | the whole log against what was signed: [`Log::verify`] |
//! | [`export`] | a log as a file, and verifying it with nothing else |
//! | [`error`] | what can go wrong |
//! | [`metrics`] | what is counted |
//! | [`schema`] | the tables, for a service's migrations |
#![forbid(unsafe_code)]

pub mod append;
pub mod continuation;
pub mod error;
pub mod export;
pub mod feed;
pub mod leaf;
pub mod log;
pub mod metrics;
pub mod schema;
pub mod verify;

mod entity;
mod rows;
mod sequence;
mod tree;

pub use append::{Append, Kind, append, append_many};
pub use continuation::Continuation;
pub use error::LedgerError;
pub use leaf::{Commitment, Leaf, Salt};
pub use log::{Consistency, Host, Inclusion, LeafRef, Log, PublicEntry, Signed, SignedHeads};
pub use metrics::Metrics;
pub use verify::{Fault, Verified};
