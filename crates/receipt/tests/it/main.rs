//! Receipts through the front door: signed and verified, exported and read.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod dpv;
mod exports;
mod outside;
mod records;
mod schema;
mod verifying;
