//! Accounts: e-mail address and name. With the commit they are found by the keys of the index alone.

use async_trait::async_trait;
use portal_core::id::{Id, SubjectId};
use portal_keys::Keys;
use portal_store::{ReadTx, StoreError};
use portal_upkeep::migration::{MigrationError, Mode};
use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait, Condition, Value};

use super::{Table, intact, key_of};
use crate::store::account::{Column, Entity, Model};
use crate::store::accounts::Accounts;
use crate::store::email_index::{EmailIndexer, KeyedIndex};

/// The migration of accounts.
pub struct SealAccounts {
    /// Reads and writes rows.
    pub accounts: Accounts,
    /// Indexes e-mail addresses.
    pub emails: EmailIndexer,
    /// The keys of persons.
    pub keys: Keys,
}

impl SealAccounts {
    async fn keys_of(&self, rows: &[Model]) -> Result<portal_keys::SubjectKeys, MigrationError> {
        let subjects: Vec<_> = rows.iter().map(subject).collect();
        Ok(self.keys.subjects_or_new(&subjects).await?)
    }
}

fn subject(row: &Model) -> SubjectId {
    SubjectId::from_uuid(row.subject_id)
}

#[async_trait]
impl Table for SealAccounts {
    type Entity = Entity;

    fn key() -> Column {
        Column::Id
    }

    fn digest() -> Column {
        Column::RowDigest
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::Email,
            Column::DisplayName,
            Column::SealedEmail,
            Column::SealedDisplayName,
            Column::EmailIndex,
            Column::EmailIndexGeneration,
        ]
    }

    fn old() -> Condition {
        // One that was changed after the commit began is in the new form but for its index.
        let index = Column::EmailIndexGeneration.is_null();
        Condition::any().add(Column::Email.ne("")).add(Column::DisplayName.ne("")).add(index)
    }

    fn perhaps_old() -> Condition {
        Self::old()
    }

    fn key_value(bytes: &[u8]) -> Value {
        Uuid::from_slice(bytes).unwrap_or_default().into()
    }

    async fn seal(&self, _: &ReadTx, rows: &mut [Model]) -> Result<(), MigrationError> {
        let keys = self.keys_of(rows).await?;
        for row in rows {
            if let Some(key) = key_of(&keys, subject(row))? {
                let profile = Accounts::plain(row)?;
                self.accounts.write(row, &profile, Mode::Both, key)?;
            } else {
                Self::unseal(row);
                self.accounts.stamp(row)?;
            }
        }
        Ok(())
    }

    async fn sound(&self, rows: &[Model]) -> Result<Vec<bool>, MigrationError> {
        let keys = self.keys_of(rows).await?;
        let sound = |row: &Model| {
            let Some(key) = key_of(&keys, subject(row))? else {
                return intact(self.accounts.check(row));
            };
            let sealed = match self.accounts.sealed(row, key) {
                Ok(sealed) => sealed,
                // From the text in the clear it can be made again.
                Err(StoreError::Corrupt { .. }) if !row.email.is_empty() => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            if !row.email.is_empty() {
                let plain = Accounts::plain(row)?;
                same(row, "sealed_email", sealed.email.expose(), plain.email.expose())?;
                same(row, "sealed_display_name", sealed.display_name.expose(), plain.display_name.expose())?;
            }
            Ok(true)
        };
        rows.iter().map(sound).collect()
    }

    fn unseal(row: &mut Model) {
        (row.sealed_email, row.sealed_display_name, row.row_digest) = (None, None, None);
    }

    async fn finish(&self, rows: &mut [Model]) -> Result<(), MigrationError> {
        let keys = self.keys_of(rows).await?;
        let index = self.emails.column_keys().await?;
        for row in rows {
            let email = match key_of(&keys, subject(row))? {
                Some(key) => {
                    let profile = self.accounts.sealed(row, key)?;
                    self.emails.with(&index, &profile.email).written(Mode::New)
                }
                None => {
                    (row.sealed_email, row.sealed_display_name) = (None, None);
                    KeyedIndex::of_nobody(row.id)
                }
            };
            self.accounts.clear(row, email)?;
        }
        Ok(())
    }
}

fn same(row: &Model, column: &'static str, one: &str, other: &str) -> Result<(), MigrationError> {
    let mismatch = || MigrationError::Mismatch { table: "account", column, row: row.id.to_string() };
    if one == other { Ok(()) } else { Err(mismatch()) }
}
