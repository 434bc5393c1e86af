//! How integrity scans check each table: the digest of every row, every sealed cell, every plain column; and that an index
//! says what it is an index of; that receipts say what their events say, and that events, receipts and the ledger have each
//! other.
//!
//! Digests are looked at once rows can't lack them any more, as when they are read. What was sealed for somebody who was
//! erased does not open, and is no fault.

mod imports;
mod links;
mod notice_purposes;
mod receipts;

use std::sync::Arc;

use async_trait::async_trait;
use portal_core::id::SubjectId;
use portal_crypto::envelope::SubjectKey;
use portal_keys::{Keys, KeysError, SubjectKeys};
use portal_store::{Corruption, ReadTx, StoreError};
use portal_upkeep::page::{self, Page};
use portal_upkeep::scan::{Checked, ScanError, ScannedTable};
use sea_orm::PaginatorTrait;
use sea_orm::entity::prelude::*;

use crate::store::Seals;
use crate::store::entity::{
    change_ack, consent, consent_event, evidence, notice, notice_revision, purpose, purpose_revision, subject,
};
use crate::store::moving::{Stored, Table};
use imports::Imports;
use links::Entries;
use notice_purposes::NoticePurposes;
use receipts::Receipts;

pub(in crate::store) use links::unlinked;

/// All tables that are scanned.
pub(crate) fn tables(seals: &Seals, keys: &Keys) -> Vec<Arc<dyn ScannedTable>> {
    fn table<M: Stored + 'static>(seals: &Seals, keys: &Keys) -> Arc<dyn ScannedTable> {
        Arc::new(Table::<M>::new(seals, keys))
    }
    let tables = [
        table::<change_ack::Model>,
        table::<consent::Model>,
        table::<consent_event::Model>,
        table::<evidence::Model>,
        table::<notice::Model>,
        table::<notice_revision::Model>,
        table::<purpose::Model>,
        table::<purpose_revision::Model>,
        table::<subject::Model>,
    ];
    let mut tables: Vec<Arc<dyn ScannedTable>> = tables.map(|table| table(seals, keys)).into();
    tables.push(Arc::new(Imports { seals: seals.clone() }));
    tables.push(Arc::new(NoticePurposes));
    tables.push(Arc::new(Receipts { seals: seals.clone(), keys: keys.clone() }));
    tables
}

/// The ledger: what its entries are about.
pub(crate) fn ledger() -> Arc<dyn ScannedTable> {
    Arc::new(Entries)
}

#[async_trait]
impl<M: Stored> ScannedTable for Table<M> {
    fn table(&self) -> &'static str {
        M::Entity::default().table_name()
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        Ok(M::Entity::find().count(tx.conn()).await.map_err(StoreError::from)?)
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let reading = self.seals.reading(tx).await?;
        let page = page.at_most(M::MOST);
        let rows = page.of(M::Entity::find(), M::KEY).all(tx.conn()).await.map_err(StoreError::from)?;
        let owners = M::owners(tx, &rows).await?;
        let subjects: Vec<SubjectId> = owners.iter().copied().flatten().collect();
        let keys = self.keys.subjects(&subjects).await?;
        let mut checked = Checked::of(&page, rows.len(), rows.last().map(|row| page::key_of(row, M::KEY)));
        for fault in M::unlinked(tx, &rows).await? {
            checked.note::<()>(Err(fault))?;
        }
        for (row, owner) in rows.iter().zip(owners) {
            checked.note(reading.check(row))?;
            checked.note(row.parse())?;
            if let Some(key) = key_of(row, &keys, owner) {
                match key {
                    Ok(key) => checked.note(open(row, &self.seals, key))?,
                    Err(Ok(missing)) => checked.note::<()>(Err(missing))?,
                    Err(Err(error)) => checked.note_key(error)?,
                }
            }
        }
        Ok(checked)
    }
}

/// The key of `owner`; nothing if nothing is sealed or the owner was erased; or what is wrong with the row, or with keys.
fn key_of<'a, M: Stored>(
    row: &M,
    keys: &'a SubjectKeys,
    owner: Option<SubjectId>,
) -> Option<Result<&'a Arc<SubjectKey>, Result<StoreError, KeysError>>> {
    match keys.get(owner?) {
        Ok(key) => Some(Ok(key)),
        Err(KeysError::Erased(_)) => None,
        // Nothing was ever sealed for somebody without a key; a row that is not moved yet need not have one.
        Err(KeysError::Missing(_)) if row.digest().is_none() => None,
        Err(KeysError::Corrupt { .. } | KeysError::Missing(_)) => {
            Some(Err(Ok(corrupt::<M>(row, M::sealed_column(), Corruption::KeyMissing))))
        }
        Err(error) => Some(Err(Err(error))),
    }
}

fn open<M: Stored>(row: &M, seals: &Seals, key: &SubjectKey) -> Result<(), StoreError> {
    match row.compare(seals, key)? {
        // In the clear alone: to be sealed yet.
        Some(_) if row.digest().is_none() => Ok(()),
        Some(column) => Err(corrupt::<M>(row, column, Corruption::ValueInvalid)),
        None => Ok(()),
    }
}

fn corrupt<M: Stored>(row: &M, column: &'static str, cause: Corruption) -> StoreError {
    let table = M::Entity::default().table_name();
    StoreError::Corrupt { table, column, row: row.row().to_string(), cause }
}
