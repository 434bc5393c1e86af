//! Data migrations and integrity scans on SQLite and PostgreSQL, over a service of two tables.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod chaos;
mod faults;
mod in_place;
mod killed;
mod live;
mod people;
mod rpc;
mod scans;
mod set_back;
mod several;
mod steering;
mod toy;
