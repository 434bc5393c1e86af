//! The vocabulary of Portal: identifiers, time, entropy, roles, scopes, workloads, field violations.
//!
//! Invariants: nothing here does IO or is async; nothing here reads the time or entropy of the machine except
//! [`SystemClock`] and [`SystemEntropy`], which the binary hands to everyone else as arguments.
//!
//! | module | holds |
//! |---|---|
//! | [`assurance`] | [`Acr`], [`Assurance`]: how sure one can be of who acts |
//! | [`id`] | one newtype per kind of resource, over UUIDv7 |
//! | [`time`] | [`Timestamp`] in microseconds, [`Clock`] |
//! | [`entropy`] | [`Entropy`] |
//! | [`identity`] | [`Workload`], [`TrustDomain`], [`Role`], [`Scope`] |
//! | [`invalid`] | [`Invalid`]: every field violation of a request at once |
//! | [`page`] | [`PageSize`] |
//! | [`sensitive`] | [`Sensitive`], [`Wipe`], [`LogSafe`] |
#![forbid(unsafe_code)]

pub mod assurance;
pub mod entropy;
pub mod id;
pub mod identity;
pub mod invalid;
pub mod page;
pub mod sensitive;
pub mod time;

pub use assurance::{Acr, Assurance};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use identity::{Role, Scope, TrustDomain, Workload};
pub use invalid::{Invalid, Violation};
pub use page::PageSize;
pub use sensitive::{LogSafe, Sensitive, Wipe};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
