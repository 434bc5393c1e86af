//! Valuation: what each record and each person of a dataset contributes to a model.
//!
//! What it promises:
//! - A record whose subject does not permit the dataset's purpose is never valued. Consent is asked over the mesh before
//!   records are read and again before values are published; without an answer nothing is valued.
//! - An append is stored whole or not at all; faults name row and column.
//! - Every change is an audit event with a leaf in the ledger, in the transaction that makes it.
//! - A valuation survives the death of its worker, ends within a second when cancelled, and publishes all of its values
//!   at once or none.
//! - A controller sees its own datasets and valuations, a subject its own value.
//! - The numbers of a record and what it is worth are sealed under the key of the person they are about, each bound to
//!   its place; of somebody who was erased nothing opens, and everybody else is valued as before.
//! - A row that is not what was written answers DATA_LOSS where it alone is asked for, is left out of lists and counted,
//!   and fails the valuation that needs it; the rest keeps working.
//!
//! | module | holds |
//! |---|---|
//! | [`engine`] | exact KNN-Shapley: pure, no IO |
//! | `domain` | datasets, batches, valuations, outcomes: pure |
//! | `service` | the gRPC edge, [`policy`], [`REASONS`] |
//! | `app` | use cases, one transaction each; the port to consent |
//! | `upkeep` | [`Upkeep`]: keys, data migrations, scans |
//! | `worker` | runs jobs on leases; sweeps |
//! | `store`, `migration` | the database: sealed cells, digests, the data migration to them and what a scan checks |
#![forbid(unsafe_code)]

#[expect(clippy::too_many_arguments, reason = "a run is five things and the engine itself")]
pub mod engine;

mod app;
mod config;
mod domain;
mod error;
mod metrics;
mod migration;
mod service;
mod store;
mod upkeep;
mod worker;

use portal_mesh::Row;

pub use config::{Config, JobsConfig};
pub use error::StartError;
pub use migration::Migrations;
pub use service::Service;
pub use service::status::REASONS;
pub use upkeep::Upkeep;

/// The policy table: one row per method.
#[must_use]
pub const fn policy() -> &'static [Row] {
    service::policy::TABLE
}
