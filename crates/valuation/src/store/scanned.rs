//! What an integrity scan checks of each table: digests, sealed cells, and values that no version of the service writes.
//! The rows of `record` are checked with the batch they are in, under whose cells they are.

use std::sync::Arc;

use async_trait::async_trait;
use portal_store::{ReadTx, StoreError};
use portal_upkeep::Page;
use portal_upkeep::scan::{Checked, ScanError, ScannedTable};
use sea_orm::{EntityTrait, PaginatorTrait, QueryFilter};

use super::moving::{
    self, Appends, Batches, Crypto, Datasets, Exclusions, RecordValues, SubjectValues, Table, Unchecked,
    Valuations,
};

/// The tables.
pub fn tables(crypto: &Crypto) -> Vec<Arc<dyn ScannedTable>> {
    let seals = &crypto.seals;
    let crypto = || crypto.clone();
    vec![
        Arc::new(Scanned { table: Datasets(crypto()), seals: seals.clone() }),
        Arc::new(Scanned { table: Appends(crypto()), seals: seals.clone() }),
        Arc::new(Scanned { table: Batches(crypto()), seals: seals.clone() }),
        Arc::new(Scanned { table: Valuations(crypto()), seals: seals.clone() }),
        Arc::new(Scanned { table: Exclusions(crypto()), seals: seals.clone() }),
        Arc::new(Scanned { table: RecordValues(crypto()), seals: seals.clone() }),
        Arc::new(Scanned { table: SubjectValues(crypto()), seals: seals.clone() }),
    ]
}

struct Scanned<T> {
    table: T,
    seals: super::Seals,
}

impl From<Unchecked> for ScanError {
    fn from(error: Unchecked) -> Self {
        match error {
            Unchecked::Keys(error) => error.into(),
            Unchecked::Store(error) => error.into(),
        }
    }
}

#[async_trait]
impl<T: Table> ScannedTable for Scanned<T> {
    fn table(&self) -> &'static str {
        T::NAME
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        Ok(T::Entity::find().filter(T::all()).count(tx.conn()).await.map_err(StoreError::from)?)
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let page = &Page { after: page.after.clone(), limit: u32::min(page.limit, T::MOST) };
        let reading = self.seals.reading(tx).await?;
        let rows = moving::page::<T>(tx, page).await?;
        let last = rows.last().and_then(moving::key_of::<T>);
        let mut checked = Checked::of(page, rows.len(), last);
        for fault in self.table.faults(&reading, rows).await? {
            checked.note(fault)?;
        }
        Ok(checked)
    }
}
