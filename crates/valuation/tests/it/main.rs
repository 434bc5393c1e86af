//! The valuation service through real gRPC over mutual TLS, on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access;
mod audit;
mod consent;
mod datasets;
mod jobs;
mod operators;
mod outage;
mod real_consent;
mod schema;
mod sealed;
mod tampering;
mod upgrade;
mod values;
mod world;
