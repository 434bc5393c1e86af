//! Imports: their rows have digests in whatever form other rows are.

use async_trait::async_trait;
use portal_store::{ReadTx, StoreError};
use portal_upkeep::page::{self, Page};
use portal_upkeep::scan::{Checked, ScanError, ScannedTable};
use sea_orm::PaginatorTrait;
use sea_orm::entity::prelude::*;

use crate::store::Seals;
use crate::store::entity::consent_import;
use crate::store::imports;

const KEY: &[consent_import::Column] = &[consent_import::Column::ImportId];
/// A row may have a thousand refusals.
const MOST: u32 = 32;

/// Checks digests and columns.
pub(super) struct Imports {
    pub(super) seals: Seals,
}

#[async_trait]
impl ScannedTable for Imports {
    fn table(&self) -> &'static str {
        "consent_import"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        Ok(consent_import::Entity::find().count(tx.conn()).await.map_err(StoreError::from)?)
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let page = page.at_most(MOST);
        let query = page.of(consent_import::Entity::find(), KEY);
        let rows = query.all(tx.conn()).await.map_err(StoreError::from)?;
        let mut checked = Checked::of(&page, rows.len(), rows.last().map(|row| page::key_of(row, KEY)));
        for row in &rows {
            checked.note(self.seals.verify(row))?;
            checked.note(imports::read(row).map(drop))?;
        }
        Ok(checked)
    }
}
