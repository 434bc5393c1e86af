//! The mesh from outside: what it refuses, what it lets through, how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod aliases;
mod calls;
mod fixture;
mod identity;
mod refusals;
