//! What the edge promises, checked on the real binary: who may call what, and what bad input gets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod authz;
mod bad_input;
mod canary;
mod erasure;
mod second_factor;
mod sought;
mod sql;
mod story;
mod strangers;
mod swaps;
