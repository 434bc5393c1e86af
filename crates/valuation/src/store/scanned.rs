//! What an integrity scan checks of each table: digests, sealed cells, and values that no version of the service writes.
//! The rows of `record` are checked with the batch they are in, under whose cells they are.

use std::sync::Arc;

use async_trait::async_trait;
use portal_keys::KeysError;
use portal_store::{ReadTx, StoreError};
use portal_upkeep::migration::sealing::{Model, SealedTable};
use portal_upkeep::page::{Page, key_of};
use portal_upkeep::scan::{Checked, ScanError, ScannedTable};
use sea_orm::{EntityName, EntityTrait, PaginatorTrait, QueryFilter};

use super::moving::{
    Appends, Batches, Crypto, Datasets, Exclusions, RecordValues, SubjectValues, Valuations,
};
use super::{Reading, Seals};

/// A table whose rows are checked.
#[async_trait]
pub(super) trait Checks: SealedTable {
    /// What is wrong with each of the rows as they are read.
    async fn faults(
        &self,
        reading: &Reading<'_>,
        rows: Vec<Model<Self>>,
    ) -> Result<Vec<Result<(), StoreError>>, ScanError>;
}

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
    seals: Seals,
}

#[async_trait]
impl<T: Checks> ScannedTable for Scanned<T> {
    fn table(&self) -> &'static str {
        T::Entity::default().table_name()
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        Ok(T::Entity::find().filter(T::all()).count(tx.conn()).await.map_err(StoreError::from)?)
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let page = page.at_most(T::MOST);
        let reading = self.seals.reading(tx).await?;
        let rows = page.of(T::Entity::find().filter(T::all()), T::KEY);
        let rows = rows.all(tx.conn()).await.map_err(StoreError::from)?;
        let mut checked = Checked::of(&page, rows.len(), rows.last().map(|row| key_of(row, T::KEY)));
        match self.table.faults(&reading, rows.clone()).await {
            Ok(faults) => faults.into_iter().try_for_each(|fault| checked.note(fault))?,
            // One by one: those whose key is switched off keep no other from being checked.
            Err(ScanError::Keys(KeysError::EpochDisabled(_))) => {
                for row in rows {
                    match self.table.faults(&reading, vec![row]).await {
                        Ok(faults) => faults.into_iter().try_for_each(|fault| checked.note(fault))?,
                        Err(ScanError::Keys(error)) => checked.note_key(error)?,
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(checked)
    }
}
