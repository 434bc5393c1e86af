//! Whether a log continues what was signed of it; if not, whether it was set back or changed.

use portal_crypto::checkpoint::CheckpointError;
use portal_crypto::merkle::TreeHead;
use portal_store::ReadTx;

use crate::rows::position;
use crate::{Fault, LedgerError, Log, Verified, rows, tree};

/// What the newest signed head is to a log.
#[derive(Clone, Debug)]
pub enum Continuation {
    /// Rows of it are not what they were, or it does not lead to the checkpoint that is stored with it.
    Changed(Verified),
    /// It leads to that head, or nothing was signed.
    Continues,
    /// It does not lead to that head, and is whole by itself: what a database looks like that was put back from a backup, and
    /// may have gone on since.
    SetBack(TreeHead),
}

impl Log {
    /// What the newest head that was signed is to this log; `progress` is as in [`Log::verify`].
    ///
    /// # Errors
    /// [`LedgerError`] if the database or what was noted elsewhere can't be read.
    pub async fn continuation(&self, progress: impl Fn(u64, u64)) -> Result<Continuation, LedgerError> {
        let newest = self.0.signed_heads.recall().await.map_err(LedgerError::Recall)?;
        let Some(newest) = newest else { return Ok(Continuation::Continues) };
        if self.leads_to(newest).await? {
            return Ok(Continuation::Continues);
        }
        let verified = self.verify(progress).await?;
        // These say no more than that it does not lead there; or that the backup is from before this log began.
        let known = |fault: &Fault| {
            matches!(
                fault,
                Fault::SetBack { .. } | Fault::WrongRoot(_) | Fault::Checkpoint(CheckpointError::OtherOrigin)
            )
        };
        let leads_to_its_own = match verified.head {
            Some(head) => self.leads_to(head).await?,
            None => true,
        };
        let whole = leads_to_its_own && verified.faults.iter().all(known);
        Ok(if whole { Continuation::SetBack(newest) } else { Continuation::Changed(verified) })
    }

    async fn leads_to(&self, head: TreeHead) -> Result<bool, LedgerError> {
        let leads = |tx: ReadTx| async move {
            let size = position("ledger_head", "size", rows::head(&tx).await?.size)?;
            Ok::<_, LedgerError>(head.size <= size && tree::root(&tx, head.size).await? == head.root)
        };
        self.0.database.read("continue_ledger", leads).await
    }
}
