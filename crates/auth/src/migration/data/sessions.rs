//! Sessions: the names of devices. Rows of before do not say whose they are; their account does.

use async_trait::async_trait;
use portal_core::id::{Id, SubjectId};
use portal_keys::{Keys, SubjectKeys};
use portal_store::{Corruption, ReadTx, StoreError};
use portal_upkeep::migration::{MigrationError, Mode};
use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect, Value};
use std::collections::HashMap;

use super::{Table, intact, key_of};
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
    async fn keys_of(&self, rows: &[Model]) -> Result<SubjectKeys, MigrationError> {
        let subjects: Vec<_> = rows.iter().map(subject).collect();
        Ok(self.keys.subjects_or_new(&subjects).await?)
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
impl Table for SealSessions {
    type Entity = Entity;

    fn key() -> Column {
        Column::Id
    }

    fn digest() -> Column {
        Column::RowDigest
    }

    fn columns() -> Vec<Column> {
        vec![Column::DeviceName, Column::SubjectId, Column::SealedDeviceName]
    }

    fn old() -> Condition {
        Condition::any().add(Column::DeviceName.ne(""))
    }

    fn perhaps_old() -> Condition {
        // What has no name looks the same before and after.
        Self::old().add(Column::SealedDeviceName.is_null())
    }

    fn key_value(bytes: &[u8]) -> Value {
        Uuid::from_slice(bytes).unwrap_or_default().into()
    }

    async fn seal(&self, tx: &ReadTx, rows: &mut [Model]) -> Result<(), MigrationError> {
        name_subjects(tx, rows).await?;
        if let Some(row) = rows.iter().find(|row| row.subject_id.is_none()) {
            let (table, column, row) = ("session", "account_id", row.id.to_string());
            return Err(StoreError::Corrupt { table, column, row, cause: Corruption::ValueInvalid }.into());
        }
        let keys = self.keys_of(rows).await?;
        for row in rows {
            if let Some(key) = key_of(&keys, subject(row))? {
                let name = DeviceName::new(row.device_name.clone());
                self.sessions.write(row, &name, Mode::Both, key)?;
            } else {
                row.sealed_device_name = None;
                self.sessions.seal(row)?;
            }
        }
        Ok(())
    }

    async fn sound(&self, rows: &[Model]) -> Result<Vec<bool>, MigrationError> {
        // A row without a subject was never sealed.
        let sealed: Vec<Model> = rows.iter().filter(|row| row.subject_id.is_some()).cloned().collect();
        let keys = self.keys_of(&sealed).await?;
        let sound = |row: &Model| {
            if row.subject_id.is_none() {
                return Ok(false);
            }
            let Some(key) = key_of(&keys, subject(row))? else {
                return intact(self.sessions.check(row));
            };
            let name = match self.sessions.sealed(row, key) {
                Ok(name) => name,
                // From the text in the clear it can be made again.
                Err(StoreError::Corrupt { .. }) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            if name.expose() == row.device_name {
                return Ok(true);
            }
            let (table, column) = ("session", "sealed_device_name");
            Err(MigrationError::Mismatch { table, column, row: row.id.to_string() })
        };
        rows.iter().map(sound).collect()
    }

    fn unseal(row: &mut Model) {
        (row.sealed_device_name, row.subject_id, row.row_digest) = (None, None, None);
    }

    async fn finish(&self, rows: &mut [Model]) -> Result<(), MigrationError> {
        let keys = self.keys_of(rows).await?;
        for row in rows {
            if key_of(&keys, subject(row))?.is_none() {
                row.sealed_device_name = None;
            }
            self.sessions.clear(row)?;
        }
        Ok(())
    }
}
