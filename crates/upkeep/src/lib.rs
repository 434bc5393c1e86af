//! What a service does to its own data while it is working: moves rows to new forms, and checks them.
//!
//! What it promises:
//! - A data migration misses no row and moves none twice, whatever is killed and whoever writes meanwhile; until it is
//!   committed it can be rolled back to exactly what was there.
//! - An integrity scan reads everything and says what is wrong with which row, never what is in it.
//! - Both are slow enough for live traffic not to notice, are done by one process at a time, and go on from the last
//!   batch when that process is killed.
//! - Operators steer both by calls and by commands, which do the same thing: they change a record in the database.
//!
//! | module | holds |
//! |---|---|
//! | [`audit`] | what happened, with an entry in the ledger each |
//! | [`config`] | `[migrations]` and `[integrity]` |
//! | [`erasure`] | what goes of a person besides their keys |
//! | [`indexes`] | blind indexes and the life of their keys |
//! | [`ledger`] | the ledger of a service, with its keys |
//! | [`metrics`] | every metric of this crate |
//! | [`migration`] | the engine of data migrations |
//! | [`page`] | pages of tables, in the order of their keys |
//! | [`reasons`] | the reasons of errors |
//! | [`rpc`] | the calls of operators |
//! | [`scan`] | the engine of integrity scans |
//! | [`schema`] | the tables of both engines |
//! | [`status`] | errors of the store and the keys on the wire |
//! | [`together`] | work of several calls in one transaction |
#![forbid(unsafe_code)]

pub mod audit;
pub mod config;
pub mod erasure;
pub mod indexes;
pub mod ledger;
pub mod metrics;
pub mod migration;
pub mod own_keys;
pub mod page;
pub mod reasons;
pub mod rpc;
pub mod scan;
pub mod schema;
pub mod status;
pub mod together;

use std::sync::Arc;

use portal_core::{Clock, Entropy, Workload};
use portal_store::Database;

pub use config::{IntegrityConfig, MigrationConfig};
pub use metrics::Metrics;
pub use page::Page;
pub use reasons::REASONS;

/// What the engines work with.
#[derive(Clone)]
pub struct Host {
    /// Whose data it is.
    pub service: Workload,
    /// The database of the service, which has the tables of [`schema`].
    pub database: Database,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Names processes and reports.
    pub entropy: Arc<dyn Entropy>,
    /// Where it is counted.
    pub metrics: Metrics,
}
