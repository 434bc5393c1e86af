//! What earlier systems wrote is read if it is whole, and only then; and nobody but this package can read it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod export;
mod isolation;
mod load;
mod records;
#[path = "../support/writer.rs"]
mod writer;
