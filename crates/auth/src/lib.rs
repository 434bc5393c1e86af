//! Accounts, sessions and tokens: who somebody is, and how the other services know.
//!
//! What it promises:
//! - A password is never stored, and checking one takes the same path and answer whoever asks about whomever.
//! - How many passwords are looked at is bounded before any is: by client, by e-mail address and in all; failures lock.
//! - Whoever has a second factor gets no token without it. Every proof is good once, and nobody but its owner reads, sets or
//!   removes a factor.
//! - A client's tokens are opaque; what is stored of them is of no use without the service's secret.
//! - A refresh token is spent once. The client whose reply was lost gets the same successor for ten seconds; a copy used
//!   later ends the session.
//! - Whatever is revoked, or changes its roles, is in the feed of revocations by the same transaction, in the order of
//!   commits; a watcher sees all of it or hears nothing.
//! - Every change is an audit event with a leaf in the ledger, in the transaction that makes it.
//! - What is mailed is in the database before anything is answered, and leaves it when it was sent. A mailed token is good
//!   once; who asks for one learns nothing about accounts.
//! - Who deletes their account is forgotten: rows and keys go, ids stay.
//! - Services get short-lived signed tokens with the roles of the moment of exchange.
//! - What is personal is sealed under the key of its person; a row that was changed from outside is not used.
//! - No e-mail address, name, password or token is in a log, an error or a `Debug`.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | [`Config`] |
//! | [`service`] | the gRPC edge: [`Service`], policy table, conversions, statuses |
//! | `app` | the use cases, one transaction each; the password pool; the feed |
//! | `domain` | accounts, sessions, handles: pure |
//! | `store` | rows and queries |
//! | `migration` | the schema; the data migrations |
//! | `upkeep` | [`Upkeep`]: what goes on beside the calls |
//! | `worker` | forgets what has expired |
//! | [`metrics`] | metric names |
#![forbid(unsafe_code)]

mod app;
pub mod config;
mod domain;
mod error;
pub mod metrics;
mod migration;
pub mod service;
mod store;
mod upkeep;
mod worker;

pub use config::{
    Config, MailConfig, OAuthConfig, OperatorConfig, PasskeyConfig, PasswordConfig, SmtpConfig, SmtpTls,
    TokenConfig, TotpConfig, TransportConfig,
};
pub use migration::Migrations;
pub use service::{REASONS, Service, StartError};
pub use upkeep::Upkeep;

/// Every method with who may call it.
#[must_use]
pub const fn policy() -> &'static [portal_mesh::Row] {
    service::policy::TABLE
}
