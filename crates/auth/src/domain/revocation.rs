//! What was revoked, in the order in which it was.

use portal_core::Timestamp;
use portal_core::id::{AccountId, SessionId};
use portal_crypto::hash::Sha256;

/// What a revocation is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// Every signed token of an account: all of its sessions ended, or its roles changed.
    Account(AccountId),
    /// One session.
    Session(SessionId),
    /// Every token that a key has signed, by the thumbprint of the key.
    SigningKey(Sha256),
}

/// An entry of the feed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Revocation {
    /// Its place: each is one more than the one before, in the order of their commits.
    pub position: i64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub target: Target,
}
