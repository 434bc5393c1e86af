//! What a use case can refuse, and why the service can't start.

use portal_core::Invalid;
use portal_keys::{KeysError, ReplyError};
use portal_mesh::config::ConfigError;
use portal_mesh::identity::IdentityError;
use portal_mesh::server::ServeError;
use portal_store::idempotency::IdempotencyError;
use portal_store::migrate::MigrateError;
use portal_store::{ConnectError, StoreError};
use portal_upkeep::migration::MigrationError;

use crate::domain::dataset::Split;

/// Why a use case did nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such dataset, or it is another controller's.
    #[error("there is no such dataset")]
    DatasetNotFound,
    /// The record's id is taken.
    #[error("batch {batch}, row {row}: the dataset has a record with this id")]
    DuplicateRecord {
        /// The batch of the stream, from zero.
        batch: i64,
        /// The row in it, from zero.
        row: i64,
    },
    /// The request is not valid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The key of a person can't be had.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The caller is no account.
    #[error("the caller is no account")]
    NoAccount,
    /// The valuation has no values, or none yet.
    #[error("the valuation has not succeeded")]
    NotSucceeded,
    /// A split of the dataset is empty.
    #[error("the dataset has no records to value or to measure with")]
    NothingToValue(Split),
    /// The request id was used for another request.
    #[error("the request id was used for another request")]
    RequestIdReused,
    /// The record is about somebody who was erased.
    #[error("batch {batch}, row {row}: the subject was erased")]
    SubjectErased {
        /// The batch of the stream, from zero.
        batch: i64,
        /// The row in it, from zero.
        row: i64,
    },
    /// More records or bytes than one append may bring.
    #[error("the append is too large")]
    TooLarge,
    /// There is no such valuation, or it is another controller's; or nothing in it is the caller's.
    #[error("there is no such valuation")]
    ValuationNotFound,
}

impl From<IdempotencyError> for Error {
    fn from(error: IdempotencyError) -> Self {
        match error {
            IdempotencyError::Mismatch => Self::RequestIdReused,
            IdempotencyError::Store(error) => Self::Store(error),
        }
    }
}

impl From<ReplyError> for Error {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::Keys(error) => Self::Keys(error),
            ReplyError::Store(error) => Self::Store(error),
        }
    }
}

/// Why the service can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database can't be opened.
    #[error("the database can't be opened")]
    Connect(#[from] ConnectError),
    /// The workload certificate can't be used.
    #[error("the workload identity can't be loaded")]
    Identity(#[from] IdentityError),
    /// Its keys can't be opened.
    #[error("the keys can't be opened")]
    Keys(#[from] KeysError),
    /// What is registered to be migrated can't be looked at.
    #[error("the data migrations can't be looked at")]
    DataMigration(#[from] MigrationError),
    /// The schema can't be brought up to date.
    #[error("the schema can't be migrated")]
    Migrate(#[from] MigrateError),
    /// The server can't be started.
    #[error("the server can't be started")]
    Serve(#[from] ServeError),
}
