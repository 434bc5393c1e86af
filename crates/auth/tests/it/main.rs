//! Auth through real gRPC over mutual TLS, on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod accounts;
mod attempts;
mod audit;
mod contact;
mod deletion;
mod devices;
mod dpop;
mod export;
mod factors;
mod fixture;
mod indexes;
mod input;
mod ledger;
mod lockout;
mod logout;
mod logs;
mod mail;
mod moving;
mod oauth;
mod operators;
mod outage;
mod passkeys;
mod passwords;
mod recovery;
mod revocations;
mod scans;
mod sealed;
mod sessions;
mod signing;
mod smtp;
mod sql;
mod step_up;
mod tokens;
mod trail;
