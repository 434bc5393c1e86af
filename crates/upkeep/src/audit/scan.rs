//! What an integrity scan checks of what happened: the digest, the sealed details, and that the ledger has this and no other.

use async_trait::async_trait;
use portal_ledger::{Commitment, feed};
use portal_store::{Corruption, ReadTx, StoreError};
use sea_orm::{EntityTrait, PaginatorTrait};

use super::table::{Column, Entity, Model};
use super::{Audit, EVENT, TABLE, corrupt};
use crate::page::{Page, key_of};
use crate::scan::{Checked, ScanError, ScannedTable};

const KEY: [Column; 1] = [Column::EventId];

#[async_trait]
impl ScannedTable for Audit {
    fn table(&self) -> &'static str {
        TABLE
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        Ok(Entity::find().count(tx.conn()).await.map_err(StoreError::from)?)
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let rows = page.of(Entity::find(), &KEY).all(tx.conn()).await.map_err(StoreError::from)?;
        let mut checked = Checked::of(page, rows.len(), rows.last().map(|row| key_of(row, &KEY)));
        let ids: Vec<_> = rows.iter().map(|row| row.event_id).collect();
        let entries = feed::commitments(tx, EVENT, &ids).await?;
        for row in rows {
            let found = entries.get(&row.event_id).map(Vec::as_slice).unwrap_or_default();
            checked.note(self.in_ledger(row, found))?;
        }
        Ok(checked)
    }
}

impl Audit {
    fn in_ledger(&self, row: Model, entries: &[Commitment]) -> Result<(), StoreError> {
        let id = row.event_id;
        let recorded = self.recorded(row)?;
        if entries == [recorded.commitment()] { Ok(()) } else { Err(corrupt(id, Corruption::LedgerMismatch)) }
    }
}
