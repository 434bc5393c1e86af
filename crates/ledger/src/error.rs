//! What can go wrong with a ledger.

use portal_crypto::checkpoint::{CheckpointError, InvalidOrigin};
use portal_crypto::sign::BackendFailure;
use portal_crypto::suite::Disabled;
use portal_store::StoreError;

/// Why a ledger did not answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no such leaf.
    #[error("the ledger has no such leaf")]
    NotFound,
    /// The size is none that a proof can be made for.
    #[error("the ledger is not that long, or the leaf is not under that size")]
    OutOfRange,
    /// Nothing is signed yet: the service has just begun.
    #[error("the ledger has no checkpoint yet")]
    NotSigned,
    /// The tree is not the one that was signed: nothing is signed any more.
    #[error("the ledger is not the one whose checkpoint was signed at size {size}")]
    Forked {
        /// The size of the tree that was signed.
        size: u64,
    },
    /// The stored checkpoint was not signed by this ledger.
    #[error("the stored checkpoint is not one of this ledger")]
    Checkpoint(#[from] CheckpointError),
    /// Signing is switched off.
    #[error(transparent)]
    Disabled(#[from] Disabled),
    /// The name can't be that of a log.
    #[error(transparent)]
    Origin(#[from] InvalidOrigin),
    /// What was signed before can't be recalled or noted.
    #[error("the newest signed head can't be recalled or noted")]
    Recall(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The backend failed to sign.
    #[error(transparent)]
    Signing(#[from] BackendFailure),
    /// The database failed, or a row is corrupt.
    #[error(transparent)]
    Store(#[from] StoreError),
}
