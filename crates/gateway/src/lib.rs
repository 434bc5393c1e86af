//! The edge: gRPC, gRPC-Web and JSON on one port, the console beside them, and the one place where an opaque access
//! token becomes the signed token that services verify.
//!
//! Invariants: gRPC and gRPC-Web bodies are never decoded; a service sees only the headers on a short list, so nothing
//! from outside passes for the mesh's own word; a token is never used from the cache while the feed of revocations is
//! lost; every body, header and wait is bounded; every error has a reason and is rendered in the caller's protocol.
//!
//! | module | does |
//! |---|---|
//! | [`config`](Config) | `[server]`, `[identity]`, `[upstreams]`, `[edge]`, `[edge_tls]`, `[telemetry]` |
//! | `edge` | accepts connections: TLS, HTTP/1.1 and HTTP/2, limits, drain |
//! | `route` | which protocol a request speaks, and what answers it |
//! | `forward` | carries one call to a service and its answer back |
//! | `body` | the bodies on both ways: bounded, and always with an end that says how the call ended |
//! | `web` | gRPC-Web, binary and text |
//! | `json` | JSON by the `google.api.http` rules of the protos |
//! | `tokens` | exchange, cache, revocation feed |
//! | `oauth` | OAuth 2.1 and OpenID Connect: endpoints, pages, a browser's cookies, discovery |
//! | `proof` | proofs of possession (DPoP): which requests they are for, and that they are used once |
//! | `local` | health and reflection, answered here |
//! | `mailbox` | the mails of a portal on one machine, as a page |
//! | `console`, `cors`, `keyset` | the console's files; cross-origin rules; `/.well-known/jwks.json` |
//! | [`reason`] | the reasons of errors that the gateway itself gives |
#![forbid(unsafe_code)]

mod body;
mod client;
mod config;
mod console;
mod cors;
mod edge;
mod forward;
mod json;
mod keyset;
mod local;
mod mailbox;
mod metrics;
mod oauth;
mod proof;
pub mod reason;
mod route;
mod service;
mod tokens;
mod web;

pub use config::{Config, EdgeConfig, MailboxConfig};
pub use mailbox::UnusableKey;
pub use oauth::{InvalidPublicUrl, PublicUrl};
pub use service::{Service, StartError};
