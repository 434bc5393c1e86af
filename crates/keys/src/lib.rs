//! The keys of a service: who holds the root, and what hangs below it.
//!
//! ```text
//! root        held by the provider; never in a database
//! ├ epoch     per service and tenant, for ninety days; wraps subject keys
//! │ └ subject one per person: the key of all their fields; deleting it is the crypto-shred
//! └ service   the service's own keys: derivations, row digests, blind indexes, the shred ledger, statements, checkpoints of the ledger
//! ```
//! Promises of [`Keys`]:
//! - A key is given out, or a typed error; never another key, never none. What is at hand serves for the configured time
//!   after the provider's last word, then it is wiped and everything is [`KeysError::Unavailable`].
//! - A record that was changed, moved or put in from elsewhere does not open: [`KeysError::Corrupt`], for that key alone.
//! - Whoever was erased has no key, on no replica after a second, and never gets another one.
//! - Epochs and roots are replaced, and keys wrapped anew, while everything is in use; what is interrupted goes on.
//! - Replicas need no coordinator: they share the key database and nothing else.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | `[keys]` |
//! | [`provider`] | the holder of the root key: a file, a PKCS#11 token, Vault or OpenBao Transit |
//! | `keys` | [`Keys`], the handle |
//! | `hierarchy` | what all parts share, and how it is opened |
//! | `epochs`, `subjects`, `secrets` | the three kinds of keys: opened, made, kept for their time |
//! | `cache`, `window`, `seals` | opened subject keys, how long they hold, how often they have sealed |
//! | `rotate`, `roots`, `rewrap`, `erase`, `scrub`, `statement` | what is done to keys |
//! | `watch`, `upkeep` | what goes on in the background |
//! | `wrapping` | keys under the root |
//! | `replies` | [`Replies`]: the kept replies to request ids, sealed |
//! | `service_cell` | [`ServiceCells`]: cells under a key of the service's own |
//! | `request_hash` | [`RequestHashes`]: what a request is known again by |
//! | `store` | the rows; the only SQL |
//! | `milestones` | what has happened for good to the data |
//! | `inventory`, `cbom` | what keys there are |
#![forbid(unsafe_code)]

mod cache;
mod cbom;
pub mod config;
mod epochs;
mod erase;
pub mod error;
mod hierarchy;
mod inventory;
mod keys;
mod metrics;
mod milestones;
pub mod provider;
mod replies;
mod request_hash;
mod rewrap;
mod roots;
mod rotate;
mod scrub;
mod seals;
mod secrets;
mod service_cell;
mod statement;
mod store;
mod subjects;
mod upkeep;
mod watch;
mod window;
mod wrapping;

pub use config::{KeysConfig, ProviderConfig};
pub use erase::{Erasure, Replayed, Shred, ShredsChecked};
pub use error::KeysError;
pub use hierarchy::Ambient;
pub use inventory::{Inventory, KeyAlgorithm, KeyEntry, KeyUse};
pub use keys::Keys;
pub use metrics::Metrics;
pub use provider::{Provider, ProviderError};
pub use replies::{Replies, ReplyError, Request};
pub use request_hash::{RequestHash, RequestHashes};
pub use rewrap::RewrapProgress;
pub use roots::RootChange;
pub use rotate::Rotation;
pub use secrets::IndexKeys;
pub use service_cell::{ServiceCells, ServiceColumn};
pub use statement::{ErasureStatement, InvalidStatement};
pub use store::migration::Migrations;
pub use store::state::{KeyState, Purpose};
pub use subjects::SubjectKeys;
