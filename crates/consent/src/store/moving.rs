//! The data migration that seals reasons and evidence and gives rows their digests, as
//! [`portal_upkeep::migration::sealing`] says: plaintext columns become sealed ones.
//!
//! One migration for all tables, one table after the other: its [name](NAME) decides for the whole service in which form
//! rows are written.
//!
//! | module | holds |
//! |---|---|
//! | [`tables`] | what is particular to each table |

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use portal_core::id::SubjectId;
use portal_crypto::envelope::SubjectKey;
use portal_keys::{Keys, KeysError, SubjectKeys};
use portal_store::sealed::DigestedRow;
use portal_store::{ReadTx, StoreError};
use portal_upkeep::migration::sealing::{Rows, SealedTable};
use portal_upkeep::migration::{MigrationError, TableMigration, Tables};
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, FromQueryResult};

use crate::store::Seals;
use crate::store::entity::{
    consent, consent_event, evidence, notice, notice_revision, purpose, purpose_revision,
};

mod tables;

/// The name of the migration.
pub(crate) const NAME: &str = "d0001_seal_consents";
const DESCRIPTION: &str =
    "Seals reasons and evidence of consents, and gives consents, purposes and notices digests";

/// The columns of the table of `M`.
pub(super) type ColumnOf<M> = <<M as ModelTrait>::Entity as EntityTrait>::Column;

/// A row of a table whose rows get a new form, and are scanned.
#[async_trait]
pub(super) trait Stored:
    DigestedRow<Entity: EntityTrait<Model = Self, Column: Send + Sync>> + FromQueryResult + Send + Sync
{
    /// As [`SealedTable::KEY`].
    const KEY: &'static [ColumnOf<Self>];
    /// As [`SealedTable::DIGESTS`].
    const DIGESTS: &'static [ColumnOf<Self>];
    /// As [`SealedTable::CELLS`].
    const CELLS: &'static [ColumnOf<Self>] = &[];
    /// As [`SealedTable::CLEAR`].
    const CLEAR: &'static [ColumnOf<Self>] = &[];
    /// Rows to be read at once, so that they fit into memory.
    const MOST: u32 = u32::MAX;

    /// Rows with something in the clear that is to be sealed.
    fn in_the_clear() -> Option<Condition> {
        None
    }

    /// Of each row the person whose key it takes, if it takes one.
    async fn owners(_: &ReadTx, rows: &[Self]) -> Result<Vec<Option<SubjectId>>, StoreError> {
        Ok(vec![None; rows.len()])
    }

    /// Seals what is in the clear, beside it.
    fn seal(&mut self, _: &Seals, _: &SubjectKey) -> Result<(), StoreError> {
        Ok(())
    }

    /// Opens what is sealed, and names the column if it is not what is in the clear.
    fn compare(&self, _: &Seals, _: &SubjectKey) -> Result<Option<&'static str>, StoreError> {
        Ok(None)
    }

    /// The column that needs a key that is not there.
    fn sealed_column() -> &'static str {
        ""
    }

    /// Takes what is in the clear away.
    fn clear(&mut self) {}

    /// What is missing between the rows and the ledger.
    async fn unlinked(_: &ReadTx, _: &[Self]) -> Result<Vec<StoreError>, StoreError> {
        Ok(Vec::new())
    }

    /// Whether every plain column holds what it promises.
    fn parse(&self) -> Result<(), StoreError>;
}

/// The owners of rows, and their keys.
type Owned = (Vec<Option<SubjectId>>, SubjectKeys);

/// What moves and checks the rows of one table.
pub(super) struct Table<M> {
    pub(super) seals: Seals,
    pub(super) keys: Keys,
    row: PhantomData<fn() -> M>,
}

impl<M: Stored> Table<M> {
    pub(super) fn new(seals: &Seals, keys: &Keys) -> Self {
        Self { seals: seals.clone(), keys: keys.clone(), row: PhantomData }
    }

    /// Whose the rows are, and the keys of those that are to be sealed.
    async fn keys_for(&self, tx: &ReadTx, rows: &[M]) -> Result<Owned, MigrationError> {
        let owners = M::owners(tx, rows).await?;
        let subjects: Vec<SubjectId> = owners.iter().copied().flatten().collect();
        let keys = self.keys.subjects_or_new(&subjects).await?;
        Ok((owners, keys))
    }

    /// Whose the rows are, and the keys of those that are sealed. One that is missing was lost, and is not to be made anew:
    /// what it has sealed would never open again, not even after the key database was put back.
    async fn keys_of(&self, tx: &ReadTx, rows: &[M]) -> Result<Owned, MigrationError> {
        let owners = M::owners(tx, rows).await?;
        let subjects: Vec<SubjectId> = owners.iter().copied().flatten().collect();
        let keys = self.keys.subjects(&subjects).await?;
        Ok((owners, keys))
    }
}

#[async_trait]
impl<M: Stored + 'static> SealedTable for Table<M> {
    type Entity = M::Entity;

    const KEY: &'static [ColumnOf<M>] = M::KEY;
    const DIGESTS: &'static [ColumnOf<M>] = M::DIGESTS;
    const CELLS: &'static [ColumnOf<M>] = M::CELLS;
    const CLEAR: &'static [ColumnOf<M>] = M::CLEAR;
    const MOST: u32 = M::MOST;

    fn old() -> Option<Condition> {
        M::in_the_clear()
    }

    fn stamp(&self, row: &mut M) -> Result<(), StoreError> {
        self.seals.stamp(row)
    }

    fn is_stamped(&self, row: &M) -> Result<bool, StoreError> {
        self.seals.is_stamped(row)
    }

    async fn seal(&self, tx: &ReadTx, rows: &mut [M]) -> Result<(), MigrationError> {
        let (owners, keys) = self.keys_for(tx, rows).await?;
        for (row, owner) in rows.iter_mut().zip(owners) {
            if let Some(key) = key_of(&keys, owner)? {
                row.seal(&self.seals, key)?;
            }
        }
        Ok(())
    }

    async fn compare(&self, tx: &ReadTx, rows: &[M]) -> Result<Vec<bool>, MigrationError> {
        let (owners, keys) = self.keys_of(tx, rows).await?;
        for (row, owner) in rows.iter().zip(owners) {
            if let Some(key) = key_of(&keys, owner)?
                && let Some(column) = row.compare(&self.seals, key)?
            {
                let table = M::Entity::default().table_name();
                return Err(MigrationError::Mismatch { table, column, row: row.row().to_string() });
            }
        }
        Ok(vec![true; rows.len()])
    }

    async fn clear(&self, rows: &mut [M]) -> Result<(), MigrationError> {
        rows.iter_mut().for_each(M::clear);
        Ok(())
    }
}

/// The migration.
pub(crate) fn migration(seals: &Seals, keys: &Keys) -> Tables {
    fn table<M: Stored + 'static>(seals: &Seals, keys: &Keys) -> Box<dyn TableMigration> {
        Box::new(Rows(Table::<M>::new(seals, keys)))
    }
    // Cursors count them: new ones go to the end.
    let tables = [
        table::<consent::Model>,
        table::<consent_event::Model>,
        table::<evidence::Model>,
        table::<notice::Model>,
        table::<notice_revision::Model>,
        table::<purpose::Model>,
        table::<purpose_revision::Model>,
    ];
    Tables::new(NAME, DESCRIPTION, tables.map(|table| table(seals, keys)).into()).sealed_with(keys)
}

/// The key of `owner`; `None` if nothing is to be sealed, or if the owner was erased.
fn key_of(keys: &SubjectKeys, owner: Option<SubjectId>) -> Result<Option<&Arc<SubjectKey>>, KeysError> {
    owner.map_or(Ok(None), |owner| keys.unless_erased(owner))
}
