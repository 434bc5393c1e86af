//! Sessions: the names of devices. Rows of before do not say whose they are; their account does.

use std::collections::HashMap;

use async_trait::async_trait;
use portal_core::id::{Id, SubjectId};
use portal_keys::{Keys, SubjectKeys};
use portal_store::{Corruption, ReadTx, StoreError};
use portal_upkeep::migration::MigrationError;
use portal_upkeep::migration::sealing::SealedTable;
use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect};

use crate::domain::DeviceName;
use crate::store::account;
use crate::store::session::{Column, Entity, Model};
use crate::store::sessions::Sessions;

/// The migration of sessions.
pub struct SealSessions {
    /// Reads and writes rows.
    pub sessions: Sessions,
    /// The keys of persons.
    pub keys: Keys,
}

impl SealSessions {
    /// The keys of rows that are to be sealed.
    async fn keys_for(&self, rows: &[Model]) -> Result<SubjectKeys, MigrationError> {
        let subjects: Vec<_> = rows.iter().map(subject).collect();
        Ok(self.keys.subjects_or_new(&subjects).await?)
    }

    /// The keys of rows that are sealed. One that is missing was lost, and is not to be made anew: what it has sealed would
    /// never open again, not even after the key database was put back.
    async fn keys_of(&self, rows: &[Model]) -> Result<SubjectKeys, MigrationError> {
        let sealed = rows.iter().filter(|row| row.sealed_device_name.is_some());
        let subjects: Vec<_> = sealed.map(subject).collect();
        Ok(self.keys.subjects(&subjects).await?)
    }
}

fn subject(row: &Model) -> SubjectId {
    SubjectId::from_uuid(row.subject_id.unwrap_or_default())
}

/// Whose the sessions are.
async fn name_subjects(tx: &ReadTx, rows: &mut [Model]) -> Result<(), StoreError> {
    let accounts = rows.iter().filter(|row| row.subject_id.is_none()).map(|row| row.account_id);
    let accounts: Vec<Uuid> = accounts.collect();
    let subjects: Vec<(Uuid, Uuid)> = account::Entity::find()
        .select_only()
        .columns([account::Column::Id, account::Column::SubjectId])
        .filter(account::Column::Id.is_in(accounts))
        .into_tuple()
        .all(tx.conn())
        .await?;
    let subjects: HashMap<Uuid, Uuid> = subjects.into_iter().collect();
    for row in rows.iter_mut().filter(|row| row.subject_id.is_none()) {
        row.subject_id = subjects.get(&row.account_id).copied();
    }
    Ok(())
}

#[async_trait]
impl SealedTable for SealSessions {
    type Entity = Entity;

    const KEY: &'static [Column] = &[Column::Id];
    const DIGESTS: &'static [Column] = &[Column::RowDigest];
    const CELLS: &'static [Column] = &[Column::SubjectId, Column::SealedDeviceName];
    const CLEAR: &'static [Column] = &[Column::DeviceName];

    fn old() -> Option<Condition> {
        Some(Condition::any().add(Column::DeviceName.ne("")))
    }

    fn perhaps_old() -> Option<Condition> {
        // What has no name looks the same before and after.
        Self::old().map(|old| old.add(Column::SealedDeviceName.is_null()))
    }

    fn stamp(&self, row: &mut Model) -> Result<(), StoreError> {
        self.sessions.seals.digests.stamp(row)
    }

    fn is_stamped(&self, row: &Model) -> Result<bool, StoreError> {
        self.sessions.seals.digests.is_stamped(row)
    }

    async fn seal(&self, tx: &ReadTx, rows: &mut [Model]) -> Result<(), MigrationError> {
        name_subjects(tx, rows).await?;
        if let Some(row) = rows.iter().find(|row| row.subject_id.is_none()) {
            let (table, column, row) = ("session", "account_id", row.id.to_string());
            return Err(StoreError::Corrupt { table, column, row, cause: Corruption::ValueInvalid }.into());
        }
        let keys = self.keys_for(rows).await?;
        for row in rows {
            match keys.unless_erased(subject(row))? {
                Some(key) => self.sessions.seal(row, &DeviceName::new(row.device_name.clone()), key)?,
                None => row.sealed_device_name = None,
            }
        }
        Ok(())
    }

    async fn compare(&self, _: &ReadTx, rows: &[Model]) -> Result<Vec<bool>, MigrationError> {
        let keys = self.keys_of(rows).await?;
        let compare = |row: &Model| {
            if row.sealed_device_name.is_none() {
                return Ok(row.device_name.is_empty());
            }
            let Some(key) = keys.unless_erased(subject(row))? else { return Ok(true) };
            match self.sessions.sealed(row, key) {
                Ok(name) if name.expose() == row.device_name => Ok(true),
                Ok(_) => {
                    let (table, column) = ("session", "sealed_device_name");
                    Err(MigrationError::Mismatch { table, column, row: row.id.to_string() })
                }
                // From the text in the clear it can be made again.
                Err(StoreError::Corrupt { .. }) => Ok(false),
                Err(error) => Err(error.into()),
            }
        };
        rows.iter().map(compare).collect()
    }

    async fn clear(&self, rows: &mut [Model]) -> Result<(), MigrationError> {
        let keys = self.keys_of(rows).await?;
        for row in rows {
            if row.sealed_device_name.is_some() && keys.unless_erased(subject(row))?.is_none() {
                row.sealed_device_name = None;
            }
            row.device_name.clear();
        }
        Ok(())
    }
}
