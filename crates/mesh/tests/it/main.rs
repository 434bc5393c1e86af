//! The mesh from outside: what it refuses, what it lets through, how it ends.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used
)]

mod aliases;
mod authorization;
mod calls;
mod edge;
mod fixture;
mod identity;
mod keys;
mod outbound;
mod refusals;
mod svid;
