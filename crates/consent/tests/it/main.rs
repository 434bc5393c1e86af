//! The consent service through real gRPC over mutual TLS, on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access;
mod concurrency;
mod decisions;
mod input;
mod journey;
mod moving;
mod operators;
mod scans;
mod schema;
mod sealed;
mod sql;
mod tampering;
mod world;
