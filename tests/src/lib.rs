//! Tests of the real `portal` binary from outside: what a client, an operator or a power cut can see.
//!
//! [`Portal`] runs the binary on a data directory and ephemeral ports; [`Channel`] speaks gRPC to its edge, so that the
//! generated clients work through it; [`Person`] is somebody signed in. Nothing here is a mock.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::missing_panics_doc,
    reason = "this crate is tests throughout: a panic is a failed test"
)]

mod answer;
mod apart;
mod channel;
mod fixture;
mod people;
mod portal;

pub use answer::{Answer, fields};
pub use channel::{Channel, call, call_with, frame};
pub use fixture::{dataset, notice, published_notice, published_purpose, purpose, record_batch};
pub use people::{OPERATOR, PASSWORD, Person};
pub use portal::Portal;

use portal_core::id::{AccountId, Id};
use portal_core::{Clock, SystemClock, SystemEntropy};

/// A new UUID, to be somebody's id, a request id or a unique name.
#[must_use]
pub fn uuid() -> String {
    AccountId::generate(SystemClock.now(), &SystemEntropy).to_string()
}
