//! What a batch writes, all of it at its end.

use portal_core::Timestamp;
use portal_store::{StoreError, Tx};

use super::look::{Found, Readable};
use crate::record::RecordId;
use crate::refusal::{self, Cause, Refusal};
use crate::{imported, store};

/// The changes of one batch.
pub(super) struct Changes {
    now: Timestamp,
    imported: Vec<imported::Model>,
    confirmed: Vec<imported::Model>,
    dropped: Vec<RecordId>,
    legacy_dropped: Vec<RecordId>,
    refused: Vec<Refusal>,
    forgotten: Vec<RecordId>,
}

impl Changes {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            imported: Vec::new(),
            confirmed: Vec::new(),
            dropped: Vec::new(),
            legacy_dropped: Vec::new(),
            refused: Vec::new(),
            forgotten: Vec::new(),
        }
    }

    /// A record was imported.
    pub(super) fn insert(&mut self, row: imported::Model) {
        self.imported.push(row);
    }

    /// An imported record was verified.
    pub(super) fn confirm(&mut self, row: Option<imported::Model>) {
        self.confirmed.extend(row);
    }

    /// A record can be read: what was noted about it before no longer holds.
    pub(super) fn accept(&mut self, readable: &Readable) {
        if readable.refused {
            self.forgotten.push(readable.record.record_id());
        }
    }

    /// A record can't be imported.
    pub(super) fn refuse(&mut self, found: &Found, cause: Cause) {
        self.refused.push(Refusal { record_id: found.row.record_id, cause, refused_at: self.now });
    }

    /// What was noted about a record, if anything, no longer holds.
    pub(super) fn forget(&mut self, found: &Found) {
        if found.refused {
            self.forgotten.push(found.row.record_id);
        }
    }

    /// The imported form of a record goes, if it has one.
    pub(super) fn drop_imported(&mut self, found: &Found) {
        if found.imported.is_some() {
            self.dropped.push(found.row.record_id);
        }
    }

    /// A legacy record goes.
    pub(super) fn drop_legacy(&mut self, id: RecordId) {
        self.legacy_dropped.push(id);
    }

    /// How many legacy records go.
    pub(super) fn legacy_dropped(&self) -> u64 {
        self.legacy_dropped.len() as u64
    }

    /// Writes them.
    pub(super) async fn write(self, tx: &Tx) -> Result<(), StoreError> {
        imported::insert(tx, self.imported).await?;
        imported::confirm(tx, self.confirmed).await?;
        imported::delete(tx, &self.dropped).await?;
        refusal::note(tx, &self.refused).await?;
        refusal::forget(tx, &self.forgotten).await?;
        store::delete(tx, &self.legacy_dropped).await
    }
}
