//! What tests share: throw-away databases and a mesh for one service.
//!
//! For tests only, so it panics instead of returning errors: a test that can't be set up has failed. It starts real
//! servers and never stands in for one.
//!
//! | module | holds |
//! |---|---|
//! | `authenticator` | [`Authenticator`]: a passkey in software |
//! | [`database`] | [`TestDatabase`] and [`each_database!`]: a test on SQLite and on PostgreSQL |
//! | `keys` | [`TestDatabase::keys`]: the keys of a service, with a root key in a file |
//! | [`mesh`] | [`TestMesh`]: certificates, a clock that stands still, tokens for made-up users |
//! | [`proxy`] | [`FaultProxy`]: a way to a database that can be cut |
//! | [`postgres`] | [`EphemeralPostgres`]: a PostgreSQL that dies with its test process |
#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "this is test code"
)]

#[cfg(feature = "mesh")]
pub mod authenticator;
pub mod database;
#[cfg(feature = "mesh")]
mod keys;
#[cfg(feature = "mesh")]
pub mod mesh;
pub mod postgres;
pub mod proxy;

#[cfg(feature = "mesh")]
pub use authenticator::Authenticator;
pub use database::TestDatabase;
#[cfg(feature = "mesh")]
pub use mesh::{START, TestMesh, TestUser, UserChannel};
pub use postgres::EphemeralPostgres;
pub use proxy::FaultProxy;
#[doc(hidden)]
pub use tokio;
