//! The consent service through real gRPC over mutual TLS, on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access;
mod changes;
mod concurrency;
mod decisions;
mod expiry;
mod imports;
mod input;
mod journey;
mod moving;
mod operators;
mod past;
mod receipts;
mod record;
mod records;
mod renewal;
mod scans;
mod schema;
mod sealed;
mod snapshot;
mod sql;
mod states;
mod subjects;
mod tampering;
mod world;
