//! The append-only log of one service: an RFC 9162 Merkle tree (SHA-256) of salted commitments, in the service's database.
//!
//! What it promises:
//! - [`append`] runs in the caller's transaction: a change and its leaf are committed together or not at all.
//! - Positions start at 0 and have no gaps, whatever runs at the same time and whatever is rolled back.
//! - A leaf is a commitment: without its salt it tells nothing about what was appended, and [`forget_salt`] takes the
//!   salt away for good while the tree stays as it is.
//! - [`head`] costs the same at any size; [`prove_inclusion`] is checked against the head, so a row changed behind the
//!   ledger's back is an error and not a proof of something else.
//!
//! Not here yet: signed checkpoints, consistency proofs for clients, and proofs that do not read all leaves. No service
//! appends yet either. All writers of a ledger meet at its head row, one at a time.
//!
//! | module | holds |
//! |---|---|
//! | [`leaf`] | [`Leaf`], [`Salt`], [`Commitment`](leaf::Commitment) |
//! | [`log`] | [`append`], [`head`], [`prove_inclusion`], [`forget_salt`] |
//! | [`schema`] | the tables, for a service's migrations |
#![forbid(unsafe_code)]

pub mod leaf;
pub mod log;
pub mod schema;

mod entity;

pub use leaf::{Leaf, Salt};
pub use log::{Entry, Inclusion, append, forget_salt, head, prove_inclusion};
