//! What can go wrong in a use case, one variant per cause; and at start-up.

use std::sync::Arc;

use portal_core::Invalid;
use portal_keys::{KeysError, ReplyError};
use portal_ledger::LedgerError;
use portal_mesh::config::ConfigError;
use portal_mesh::identity::IdentityError;
use portal_mesh::server::ServeError;
use portal_store::idempotency::IdempotencyError;
use portal_store::migrate::MigrateError;
use portal_store::{ConnectError, StoreError};
use portal_upkeep::migration::MigrationError;

use crate::domain::consent::ConsentError;
use crate::domain::import::ImportError;
use crate::domain::life::LifeError;

/// Why a use case did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What worked on it ended without an answer.
    #[error("the request was not answered")]
    Abandoned,
    /// The decision can't be recorded.
    #[error("the decision can't be recorded")]
    Consent(#[from] ConsentError),
    /// No such consent.
    #[error("no such consent")]
    ConsentNotFound,
    /// The records of an import can't be added to it.
    #[error("the import can't take the records")]
    Import(#[from] ImportError),
    /// The request is wrong in a way that only the data shows.
    #[error("the request can't be taken")]
    Invalid(#[from] Invalid),
    /// The ledger does not prove.
    #[error("the ledger does not prove")]
    Ledger(#[source] LedgerError),
    /// The purpose or notice can't take the change.
    #[error("the resource can't take the change")]
    Life(#[from] LifeError),
    /// No such notice, or none that the caller may see.
    #[error("no such notice")]
    NoticeNotFound,
    /// The key of a person can't be had at this moment, and something of theirs is sealed under it.
    #[error("the key of a person can't be had")]
    KeyNotAtHand,
    /// No such purpose, or none that the caller may see.
    #[error("no such purpose")]
    PurposeNotFound,
    /// No such receipt.
    #[error("no such receipt")]
    ReceiptNotFound,
    /// The request id was used for another request.
    #[error("the request id was used for another request")]
    RequestIdReused,
    /// What is to be resumed after is not there.
    #[error("the change to resume after is not there")]
    ResumeUnknown,
    /// The key of a person can't be had.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The database failed.
    #[error("the database failed")]
    Store(#[from] StoreError),
    /// The reference or the id of the subject is taken.
    #[error("the subject is registered already")]
    SubjectExists,
    /// No such subject.
    #[error("no such subject")]
    SubjectNotFound,
    /// The transaction failed that it shared with others.
    #[error(transparent)]
    Together(Arc<Error>),
    /// A record that the answer rests on is corrupt.
    #[error("a record is corrupt")]
    Unreadable(#[source] Arc<StoreError>),
    /// A notice can't be published before its purposes.
    #[error("a purpose of the notice is not published")]
    UnpublishedPurpose,
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

/// The service can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration names something that can't be used.
    #[error("the configuration can't be used")]
    Config(#[from] ConfigError),
    /// The database can't be opened.
    #[error("the database can't be opened")]
    Connect(#[from] ConnectError),
    /// The workload certificate can't be used.
    #[error("the workload certificate can't be used")]
    Identity(#[from] IdentityError),
    /// The keys can't be opened.
    #[error("the keys can't be opened")]
    Keys(#[from] KeysError),
    /// The schema can't be brought up to date.
    #[error("the schema can't be brought up to date")]
    Migrate(#[from] MigrateError),
    /// The data migrations can't be looked at.
    #[error("the data migrations can't be looked at")]
    Settle(#[from] MigrationError),
    /// The address can't be served.
    #[error("the server can't start")]
    Serve(#[from] ServeError),
}
