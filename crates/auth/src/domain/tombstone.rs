//! What is left of an account that was deleted.

use portal_core::Timestamp;
use portal_core::id::{AccountId, SubjectId};

/// A deleted account. Its id is never given again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tombstone {
    /// Its id.
    pub account: AccountId,
    /// The person it belonged to.
    pub subject: SubjectId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was deleted.
    pub deleted_at: Timestamp,
    /// When the keys of its person were destroyed; `None` while that is still to be done.
    pub erased_at: Option<Timestamp>,
}
