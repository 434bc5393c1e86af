//! What earlier systems wrote is read if it is whole, and only then; it is imported, and not lost on the way; and nobody
//! but this package can read it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod export;
mod import;
mod isolation;
mod load;
mod process;
mod records;
mod scans;
mod world;
#[path = "../support/writer.rs"]
mod writer;
