//! Both tables for integrity scans: each legacy record is verified and opened, each imported one checked and opened.
//!
//! Invariant: a finding names table, row, column and cause, never content. An imported record of a person who was erased
//! is no fault: it can't be opened, and need not be.

use std::sync::Arc;

use async_trait::async_trait;
use portal_core::Sensitive;
use portal_core::id::{Id, SubjectId};
use portal_keys::{Keys, KeysError, SubjectKeys};
use portal_store::{Corruption, ReadTx, StoreError};
use portal_upkeep::Page;
use portal_upkeep::scan::{Checked, ScanError, ScannedTable};
use sea_orm::prelude::Uuid;

use crate::imported::{self, Seals};
use crate::reader::{Reader, Unreadable};
use crate::record::{LegacyRecord, RecordId};
use crate::refusal::Cause;
use crate::store::{self, Row};

/// The table of legacy records.
pub struct LegacyTable {
    reader: Arc<Reader>,
}

/// The table of imported records.
pub struct ImportedTable {
    seals: Seals,
    keys: Keys,
}

impl LegacyTable {
    /// Read by `reader`.
    #[must_use]
    pub fn new(reader: Arc<Reader>) -> Self {
        Self { reader }
    }
}

impl ImportedTable {
    /// Sealed by `seals` under `keys`.
    #[must_use]
    pub fn new(seals: Seals, keys: Keys) -> Self {
        Self { seals, keys }
    }

    fn check(&self, row: &imported::Model, keys: &SubjectKeys) -> Result<Result<(), StoreError>, KeysError> {
        if let Err(corrupt) = self.seals.check(row) {
            return Ok(Err(corrupt));
        }
        match keys.get(imported::subject(row)) {
            Ok(key) => Ok(self.seals.open(row, key).map(drop)),
            Err(KeysError::Erased(_)) => Ok(Ok(())),
            Err(KeysError::Missing(_) | KeysError::Corrupt { .. }) => Ok(Err(imported::without_key(row))),
            Err(error) => Err(error),
        }
    }
}

fn after(page: &Page) -> Option<RecordId> {
    page.after.as_deref().and_then(|key| Uuid::from_slice(key).ok()).map(RecordId::from_uuid)
}

#[async_trait]
impl ScannedTable for LegacyTable {
    fn table(&self) -> &'static str {
        store::TABLE
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        Ok(store::count(tx).await?)
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let rows = store::rows(tx, after(page), page.limit).await?;
        let last = rows.last().map(|row| row.record_id.uuid().as_bytes().to_vec());
        let mut checked = Checked::of(page, rows.len(), last);
        let records: Vec<&LegacyRecord> = rows.iter().filter_map(|row| row.record.as_ref().ok()).collect();
        for (record, read) in records.iter().zip(self.reader.read_all(&records)) {
            checked.note(found(record, &read))?;
        }
        for Row { record, .. } in rows {
            checked.note(record)?;
        }
        Ok(checked)
    }
}

/// What is wrong with a record that was read.
fn found(record: &LegacyRecord, read: &Result<Sensitive<Vec<u8>>, Unreadable>) -> Result<(), StoreError> {
    let Err(unreadable) = read else { return Ok(()) };
    let (column, cause) = match Cause::from(*unreadable) {
        Cause::Disagreement => ("kem_ciphertext", Corruption::EnvelopeRefused),
        Cause::Signature => ("signature", Corruption::ValueInvalid),
        Cause::Malformed | Cause::SubjectErased | Cause::Tag => ("sealed", Corruption::EnvelopeRefused),
        Cause::UnknownKemKey => ("kem_key_id", Corruption::KeyMissing),
        Cause::UnknownSigner => ("signer_key_id", Corruption::KeyMissing),
    };
    Err(StoreError::Corrupt { table: store::TABLE, column, row: record.record_id().to_string(), cause })
}

#[async_trait]
impl ScannedTable for ImportedTable {
    fn table(&self) -> &'static str {
        imported::TABLE
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        Ok(imported::count(tx).await?)
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let rows = imported::page(tx, after(page), page.limit).await?;
        let last = rows.last().map(|row| row.record_id.as_bytes().to_vec());
        let mut checked = Checked::of(page, rows.len(), last);
        let subjects: Vec<SubjectId> = rows.iter().map(imported::subject).collect();
        let keys = self.keys.subjects(&subjects).await?;
        for row in &rows {
            checked.note(self.check(row, &keys)?)?;
        }
        Ok(checked)
    }
}
