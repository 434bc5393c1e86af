//! The gateway through real sockets: clients on the one side, services of the mesh on the other.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used
)]

mod client;
mod devices;
mod edge;
mod fixture;
mod foreign;
mod grpc;
mod json;
mod oauth;
mod proof;
mod tls;
mod tokens;
mod web;
