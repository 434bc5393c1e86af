//! The ledger on both databases: positions, proofs, checkpoints; what somebody does who has got at the database.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod export;
mod order;
mod proofs;
mod signing;
mod verify;
mod world;
