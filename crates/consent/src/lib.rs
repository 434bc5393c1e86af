//! The consent service: purposes, notices, what subjects decide, and whether their data may be used.
//!
//! What it promises:
//! - Every change of a consent is one event, appended in the same transaction as the state after it and the reply to its
//!   request id. What stands already is not an event again, however many say it at once.
//! - A decision is taken under a published notice that explains a published purpose, in a language the notice has.
//! - Withdrawing is never blocked: it asks for neither purpose nor notice.
//! - A published revision never changes; a notice is published with the SHA-384 of its canonical form.
//! - Who was told that a change is made finds it in the next decision, here at once and elsewhere within 250 ms.
//! - A check answers DENY in doubt. What was given ends by itself: expiry is judged at the time of the question.
//! - What subjects say and prove, and kept replies about them, are sealed under their own keys; what was not written here
//!   is not believed: a row whose digest is wrong is refused, in a list left out and counted, and the rest goes on.
//!
//! | module | holds |
//! |---|---|
//! | `config` | [`Config`] |
//! | `service` | the gRPC edge: parse, permit, use case, reply; [`policy`]; reasons of errors |
//! | `app` | the use cases, one transaction each |
//! | `domain` | the rules, pure |
//! | `store`, `migration` | rows and schema |
//! | `upkeep` | [`Upkeep`]: keys, data migrations, scans |
//! | `metrics`, `worker` | what is counted; what happens by itself |
#![forbid(unsafe_code)]

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

pub use config::{Config, DecisionConfig, OrganisationConfig, RenewalConfig, Source};
pub use error::StartError;
pub use migration::Migrations;
pub use service::Service;
pub use service::status::REASONS;
pub use upkeep::Upkeep;

/// The policy table of the package, a row per rpc.
#[must_use]
pub fn policy() -> &'static [portal_mesh::Row] {
    service::policy::TABLE
}
