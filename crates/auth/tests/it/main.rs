//! Auth through real gRPC over mutual TLS, on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod accounts;
mod attempts;
mod audit;
mod factors;
mod fixture;
mod indexes;
mod input;
mod ledger;
mod lockout;
mod logs;
mod moving;
mod operators;
mod outage;
mod passwords;
mod revocations;
mod scans;
mod sealed;
mod sessions;
mod sql;
mod tokens;
mod trail;
