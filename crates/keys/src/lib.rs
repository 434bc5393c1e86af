//! The keys of a service: who holds the root, and what hangs below it.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | `[keys]` |
//! | [`provider`] | the holder of the root key: a file, a PKCS#11 token, Vault or OpenBao Transit |
#![forbid(unsafe_code)]

pub mod config;
pub mod provider;

pub use config::{KeysConfig, ProviderConfig};
pub use provider::{Provider, ProviderError};
