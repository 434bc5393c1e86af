//! Why an operator's call was not answered.

use portal_core::Invalid;
use portal_keys::KeysError;
use portal_mesh::status::Reason;
use portal_store::StoreError;
use portal_store::idempotency::IdempotencyError;
use tonic::Status;

use crate::migration::{MigrationError, OperationError, TransitionError};
use crate::reasons::{
    MIGRATION_COMMITTED, MIGRATION_DONE, MIGRATION_MISMATCH, MIGRATION_NOT_DONE, MIGRATION_NOT_FOUND,
    MIGRATION_NOT_RUNNING, MIGRATION_NOT_STARTED, ROW_CORRUPT, SCAN_RUNNING,
};
use crate::scan::ScanRefusal;
use crate::status;

/// One variant per layer that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Idempotency(#[from] IdempotencyError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Operation(#[from] OperationError),
    #[error(transparent)]
    Scan(#[from] ScanRefusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Idempotency(error) => status::idempotency(&error),
            Failure::Keys(error) => status::keys(&error),
            Failure::Operation(error) => operation(&error),
            Failure::Scan(error) => scan(&error),
            Failure::Store(error) => status::store(&error),
        }
    }
}

fn operation(failed: &OperationError) -> Status {
    match failed {
        OperationError::Migration(MigrationError::Keys(error)) => status::keys(error),
        OperationError::Migration(MigrationError::Mismatch { .. }) => MIGRATION_MISMATCH.status(),
        OperationError::Migration(MigrationError::SetBack { .. }) => ROW_CORRUPT.status(),
        OperationError::Migration(MigrationError::Store(error)) | OperationError::Store(error) => {
            status::store(error)
        }
        OperationError::NotFound => MIGRATION_NOT_FOUND.status(),
        OperationError::Transition(error) => transition(*error).status(),
    }
}

const fn transition(failed: TransitionError) -> Reason {
    match failed {
        TransitionError::Committed => MIGRATION_COMMITTED,
        TransitionError::Done => MIGRATION_DONE,
        TransitionError::NotDone => MIGRATION_NOT_DONE,
        TransitionError::NotRunning => MIGRATION_NOT_RUNNING,
        TransitionError::NotStarted => MIGRATION_NOT_STARTED,
    }
}

fn scan(refused: &ScanRefusal) -> Status {
    match refused {
        ScanRefusal::Running => SCAN_RUNNING.status(),
        ScanRefusal::Store(error) => status::store(error),
        ScanRefusal::UnknownTable { index } => {
            let invalid = Invalid::field(&format!("tables[{index}]"), "must be a table that is scanned");
            portal_mesh::status::invalid(&invalid)
        }
    }
}
