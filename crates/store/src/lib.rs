//! The one door to the database: SQLite (a file, the default) and PostgreSQL 15 or newer behind the same functions.
//!
//! What it promises:
//! - A change is one [`Database::run_tx`]: serialisable, all or nothing, durable when it returns. Conflicts with other
//!   transactions are retried here, a bounded number of times; services never write a retry loop around the database.
//! - A statement that failed dooms its transaction, on both databases: a body that goes on regardless gets
//!   [`StoreError::Doomed`] instead of a commit that PostgreSQL would have turned into a silent rollback.
//! - A body that returns an error, panics or is cancelled leaves nothing behind: no row, no lock, no open transaction.
//! - Errors, logs and metrics name transactions, tables, constraints and codes; never a bound value.
//!
//! Architecture invariant: no connection and no transaction can be had outside a body that this crate runs.
//!
//! | module | holds |
//! |---|---|
//! | [`bulk`] | many rows in one statement |
//! | [`columns`] | the column types every schema uses |
//! | [`config`] | [`DatabaseConfig`] |
//! | [`connect`] | pools, pragmas, [`ConnectError`] |
//! | [`database`] | [`Database`]: `run_tx`, `read` |
//! | [`error`] | [`StoreError`], and what is retried |
//! | [`idempotency`] | request ids: the same request answers with the first reply |
//! | [`inserts`] | [`Inserts`]: rows of several tables in one statement |
//! | [`leases`] | named leases: one process at a time does a thing, and a late one can't |
//! | [`metrics`] | [`Metrics`]: every metric name of this crate |
//! | [`migrate`] | schema migrations up, down, status |
//! | [`sealed`] | [`Sealed`] columns, row digests |
//! | [`tx`] | [`Tx`], [`ReadTx`], what a body is given |
#![forbid(unsafe_code)]

pub mod bulk;
pub mod columns;
pub mod config;
pub mod connect;
pub mod database;
pub mod error;
pub mod idempotency;
pub mod inserts;
pub mod leases;
pub mod metrics;
pub mod migrate;
pub mod sealed;
pub mod tx;

pub use config::DatabaseConfig;
pub use connect::ConnectError;
pub use database::Database;
pub use error::{Corruption, DatabaseFailure, StoreError};
pub use inserts::Inserts;
pub use leases::Lease;
pub use metrics::Metrics;
pub use sealed::Sealed;
pub use tx::{Conn, ReadTx, Tx};
