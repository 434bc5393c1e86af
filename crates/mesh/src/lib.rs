//! How the processes of Portal speak: mutual post-quantum TLS, policy, deadlines, limits, telemetry.
//!
//! A service hands [`MeshServer`] its routes and its policy table; it dials others through a [`MeshChannel`]. Everything
//! between the socket and the handler is here, in the order of [`guard`]'s one function.
//!
//! Architecture invariants: nobody else imports rustls; a connection is either mutual, ML-DSA-65 and X25519MLKEM768, or
//! refused; a method without a policy row is refused; a call without a deadline gets one.
//!
//! | module | does |
//! |---|---|
//! | [`config`] | the configuration sections every process shares |
//! | [`ca`] | issues workload certificates |
//! | [`identity`] | loads, checks and reloads this process's certificate |
//! | [`edge`] | TLS for clients from outside: two certificates, chosen by what the client can do |
//! | [`outbound`] | forms that are posted to servers outside |
//! | [`server`], [`guard`] | serves: the layers from socket to handler |
//! | [`channel`] | calls another service |
//! | [`authorization`] | who may call what |
//! | [`policy`], [`caller`] | what holds for a call of a method; the permit |
//! | [`token`] | verifies the end user's token |
//! | [`context`] | deadline and trace, from hop to hop |
//! | [`status`], [`convert`] | errors and well-known types on the wire |
//! | [`admin`], [`metrics`], [`telemetry`] | `/metrics`, `/livez`, `/readyz`; logs |
#![forbid(unsafe_code)]

pub mod admin;
pub mod authorization;
pub mod ca;
pub mod caller;
pub mod channel;
pub mod config;
pub mod context;
pub mod convert;
pub mod edge;
pub mod guard;
pub mod host;
pub mod identity;
pub mod metrics;
pub mod outbound;
pub mod policy;
pub mod server;
pub mod status;
pub mod task;
pub mod telemetry;
pub mod token;

mod acceptor;
mod alias;
mod body;
mod certificate;
mod reload;
mod svid;
mod verifier;

pub use acceptor::Peer;
pub use authorization::Authorization;
pub use caller::{Caller, EndUser, Via};
pub use certificate::{Algorithm, Untimely};
pub use channel::MeshChannel;
pub use host::{Drain, Host, Readiness, Running};
pub use identity::Identity;
pub use metrics::Metrics;
pub use policy::{Audit, Permit, RateClass, Retry, Row};
pub use server::MeshServer;
pub use svid::SvidError;
pub use token::TokenVerifier;
