//! What rows hold as numbers: closed enums with ids that never change their meaning.

use std::fmt;

use portal_core::LogSafe;
use portal_crypto::inventory;

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyState {
    /// Seals and opens.
    Active,
    /// Opens what it sealed, and seals nothing new.
    Retired,
    /// Switched off: refuses everything until it is switched on again.
    Disabled,
    /// Gone; only this record of it is left.
    Destroyed,
    /// Published, and not used yet: a key that signs tokens. None of the key database is.
    Pending,
}

impl KeyState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Active, Self::Retired, Self::Disabled, Self::Destroyed, Self::Pending];

    pub(crate) const fn id(self) -> i64 {
        match self {
            Self::Active => 1,
            Self::Retired => 2,
            Self::Disabled => 3,
            Self::Destroyed => 4,
            Self::Pending => 5,
        }
    }

    pub(crate) fn from_id(id: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state != Self::Pending && state.id() == id)
    }

    /// The name in logs and inventories.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Disabled => "disabled",
            Self::Destroyed => "destroyed",
            Self::Pending => "pending",
        }
    }
}

impl From<inventory::KeyState> for KeyState {
    fn from(state: inventory::KeyState) -> Self {
        match state {
            inventory::KeyState::Active => Self::Active,
            inventory::KeyState::Retired => Self::Retired,
            inventory::KeyState::Destroyed => Self::Destroyed,
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl LogSafe for KeyState {}

/// What a key of the service itself is for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Purpose {
    /// The secret that page tokens, token handles, the pepper and the token signing key are derived from.
    ServiceSecret,
    /// Digests of rows.
    RowDigest,
    /// Names of the erased in the shred ledger, and the links of that ledger.
    Shred,
    /// Signatures of statements.
    Statement,
    /// The blind index of one column.
    BlindIndex,
    /// Checkpoints of the ledger, and receipts.
    Ledger,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 6] =
        [Self::ServiceSecret, Self::RowDigest, Self::Shred, Self::Statement, Self::BlindIndex, Self::Ledger];

    pub(crate) const fn id(self) -> i64 {
        match self {
            Self::ServiceSecret => 1,
            Self::RowDigest => 2,
            Self::Shred => 3,
            Self::Statement => 4,
            Self::BlindIndex => 5,
            Self::Ledger => 6,
        }
    }

    pub(crate) fn from_id(id: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.id() == id)
    }

    /// The name in inventories and in what authenticates the sealed key.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServiceSecret => "service-secret",
            Self::RowDigest => "row-digest",
            Self::Shred => "shred",
            Self::Statement => "statement",
            Self::BlindIndex => "blind-index",
            Self::Ledger => "ledger",
        }
    }
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyEvent {
    /// It was made.
    Created,
    /// Another one took its place; it opens only.
    Retired,
    /// It was switched off.
    Disabled,
    /// It was switched on again, as a retired one.
    Enabled,
    /// It was destroyed.
    Destroyed,
    /// Nothing is wrapped under it any more.
    Rewrapped,
    /// It was wrapped under another root key.
    RootChanged,
    /// It was taken over from a file of an earlier version.
    Imported,
    /// A subject's keys were shredded.
    Shredded,
    /// Key rows of shredded subjects had come back, and were deleted again.
    ShredsReplayed,
}

impl KeyEvent {
    pub(crate) const fn id(self) -> i64 {
        match self {
            Self::Created => 1,
            Self::Retired => 2,
            Self::Disabled => 3,
            Self::Enabled => 4,
            Self::Destroyed => 5,
            Self::Rewrapped => 6,
            Self::RootChanged => 7,
            Self::Imported => 8,
            Self::Shredded => 9,
            Self::ShredsReplayed => 10,
        }
    }
}
