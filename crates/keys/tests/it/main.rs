//! The key hierarchy on SQLite and PostgreSQL, with root keys in a file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod damage;
mod erasure;
mod fixture;
mod life;
#[cfg(target_os = "linux")]
mod memory;
mod outage;
mod rotation;
#[cfg(target_os = "linux")]
#[path = "../../../crypto/tests/support/search.rs"]
mod search;
mod service_keys;
