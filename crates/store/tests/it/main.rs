//! The store on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bulk;
mod idempotency;
mod leases;
mod migrate;
mod schema;
mod sealed;
mod sqlite;
mod transactions;
