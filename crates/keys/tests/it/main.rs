//! The key hierarchy on SQLite and PostgreSQL, with root keys in a file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod damage;
mod erasure;
mod fixture;
mod life;
mod outage;
mod rotation;
mod service_keys;
