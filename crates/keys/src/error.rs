//! Why a key was not given, or not changed.
//!
//! Invariant: nothing here holds key material. Subjects and epochs are named by their ids, which are safe to tell.

use std::path::PathBuf;
use std::sync::Arc;

use portal_core::id::{EpochId, RootId, SubjectId};
use portal_crypto::epoch::SubjectKeyError;
use portal_crypto::suite::{Algorithm, Disabled, UnknownAlgorithm};
use portal_store::migrate::MigrateError;
use portal_store::{ConnectError, StoreError};

use crate::{KeyState, ProviderError};

/// One variant per cause that is met differently.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The key database can't be opened.
    #[error("the key database could not be opened")]
    Connect(#[from] ConnectError),
    /// A record of the key database is not what was written: changed, moved, cut, or of another key.
    #[error("the stored {what} {id} is corrupt")]
    Corrupt {
        /// What kind of record.
        what: Stored,
        /// Which.
        id: String,
    },
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Crypto,
    /// The configuration has switched the algorithm off.
    #[error(transparent)]
    Disabled(#[from] Disabled),
    /// The epoch key was switched off by an operator.
    #[error("epoch {0} is disabled")]
    EpochDisabled(EpochId),
    /// The subject's keys were destroyed, and it gets no new ones.
    #[error("subject {0} was erased")]
    Erased(SubjectId),
    /// The key database holds another service's keys.
    #[error("the key database belongs to the service {owner}")]
    Foreign {
        /// Whose it is.
        owner: String,
    },
    /// The file with the secret of an earlier version can't be taken over.
    #[error("keys.import_service_secret_file: {}: {problem}", path.display())]
    Import {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: ImportProblem,
    },
    /// Keys are still wrapped under the epoch.
    #[error("{keys} subject keys are still wrapped under epoch {epoch}")]
    InUse {
        /// The epoch.
        epoch: EpochId,
        /// How many.
        keys: u64,
    },
    /// Rows are still found by the key of a blind index.
    #[error("{rows} rows are still found by the key {key}")]
    IndexInUse {
        /// The key.
        key: String,
        /// How many.
        rows: u64,
    },
    /// The schema of the key database could not be brought up to date.
    #[error("the key database could not be migrated")]
    Migrate(#[from] MigrateError),
    /// The subject has no keys.
    #[error("subject {0} has no key")]
    Missing(SubjectId),
    /// No such epoch, or no such key of the service.
    #[error("there is no key {0}")]
    NoSuchKey(String),
    /// Keys are still wrapped under the root key.
    #[error("{keys} keys are still wrapped under the root key {root}")]
    RootInUse {
        /// The root key.
        root: RootId,
        /// How many.
        keys: u64,
    },
    /// Another process is replacing the root key.
    #[error("another rotation is under way")]
    Rotating,
    /// The key is in a state that does not allow the change.
    #[error("the key {key} is {state}")]
    State {
        /// Which key.
        key: String,
        /// Where it is in its life.
        state: KeyState,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key provider did not open or wrap a key, and what was opened earlier is too old to be used.
    #[error("the keys are not available")]
    Unavailable(#[source] Arc<ProviderError>),
    /// The configuration switches off what no service uses, which would change nothing.
    #[error("keys.disabled_algorithms: {0} is used by no service with this provider; take it off the list")]
    UnusedAlgorithm(Algorithm),
    /// The configuration switches off something that does not exist.
    #[error("keys.disabled_algorithms")]
    UnknownAlgorithm(#[from] UnknownAlgorithm),
}

impl KeysError {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Rotating | Self::Unavailable(_) => true,
            Self::Connect(_)
            | Self::Corrupt { .. }
            | Self::Crypto
            | Self::Disabled(_)
            | Self::EpochDisabled(_)
            | Self::Erased(_)
            | Self::Foreign { .. }
            | Self::Import { .. }
            | Self::InUse { .. }
            | Self::IndexInUse { .. }
            | Self::Migrate(_)
            | Self::Missing(_)
            | Self::NoSuchKey(_)
            | Self::RootInUse { .. }
            | Self::State { .. }
            | Self::UnknownAlgorithm(_)
            | Self::UnusedAlgorithm(_) => false,
        }
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "ids are passed as they are: a reference would say nothing"
    )]
    pub(crate) fn corrupt(what: Stored, id: impl ToString) -> Self {
        Self::Corrupt { what, id: id.to_string() }
    }
}

impl From<SubjectKeyError> for KeysError {
    /// For keys that were just made; what is wrong with a stored one is told with its subject.
    fn from(error: SubjectKeyError) -> Self {
        match error {
            SubjectKeyError::Disabled(disabled) => Self::Disabled(disabled),
            SubjectKeyError::Commitment
            | SubjectKeyError::Epoch { .. }
            | SubjectKeyError::Library
            | SubjectKeyError::Refused
            | SubjectKeyError::Scope => Self::Crypto,
        }
    }
}

/// A kind of record in the key database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stored {
    /// An epoch key.
    EpochKey,
    /// A key of the service itself.
    ServiceKey,
    /// An entry of the shred ledger.
    Shred,
    /// A subject key.
    SubjectKey,
}

impl std::fmt::Display for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::EpochKey => "epoch key",
            Self::ServiceKey => "service key",
            Self::Shred => "entry of the shred ledger",
            Self::SubjectKey => "subject key",
        })
    }
}

/// Why a service secret was not imported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ImportProblem {
    /// Another secret is sealed in the key database already, and data depends on it.
    Differs,
    /// Not 64 hexadecimal digits.
    Malformed,
    /// The file can't be read.
    Unreadable,
}

impl std::fmt::Display for ImportProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Differs => "another service secret is in use already",
            Self::Malformed => "must hold 64 hexadecimal digits",
            Self::Unreadable => "can't be read",
        })
    }
}
