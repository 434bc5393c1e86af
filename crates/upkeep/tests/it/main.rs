//! Data migrations and integrity scans on SQLite and PostgreSQL, over a service of two tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod faults;
mod in_place;
mod killed;
mod live;
mod scans;
mod steering;
mod toy;
