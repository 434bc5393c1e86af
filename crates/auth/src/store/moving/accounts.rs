//! Accounts: e-mail address and name. With the commit they are found by the keys of the index alone.

use async_trait::async_trait;
use portal_core::id::{Id, SubjectId};
use portal_keys::{Keys, SubjectKeys};
use portal_store::{ReadTx, StoreError};
use portal_upkeep::migration::sealing::SealedTable;
use portal_upkeep::migration::{MigrationError, Mode};
use sea_orm::{ColumnTrait, Condition};

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
    /// The keys of rows that are to be sealed.
    async fn keys_for(&self, rows: &[Model]) -> Result<SubjectKeys, MigrationError> {
        let subjects: Vec<_> = rows.iter().map(subject).collect();
        Ok(self.keys.subjects_or_new(&subjects).await?)
    }

    /// The keys of rows that are sealed. One that is missing was lost, and is not to be made anew: what it has sealed would
    /// never open again, not even after the key database was put back.
    async fn keys_of(&self, rows: &[Model]) -> Result<SubjectKeys, MigrationError> {
        let subjects: Vec<_> = rows.iter().map(subject).collect();
        Ok(self.keys.subjects(&subjects).await?)
    }
}

fn subject(row: &Model) -> SubjectId {
    SubjectId::from_uuid(row.subject_id)
}

#[async_trait]
impl SealedTable for SealAccounts {
    type Entity = Entity;

    const KEY: &'static [Column] = &[Column::Id];
    const DIGESTS: &'static [Column] = &[Column::RowDigest];
    const CELLS: &'static [Column] =
        &[Column::SealedEmail, Column::SealedDisplayName, Column::SealedRevision];
    const CLEAR: &'static [Column] =
        &[Column::Email, Column::DisplayName, Column::EmailIndex, Column::EmailIndexGeneration];

    fn old() -> Option<Condition> {
        // One that was changed after the commit began is in the new form but for its index.
        let index = Column::EmailIndexGeneration.is_null();
        Some(Condition::any().add(Column::Email.ne("")).add(Column::DisplayName.ne("")).add(index))
    }

    fn stamp(&self, row: &mut Model) -> Result<(), StoreError> {
        self.accounts.seals.digests.stamp(row)
    }

    fn is_stamped(&self, row: &Model) -> Result<bool, StoreError> {
        self.accounts.seals.digests.is_stamped(row)
    }

    async fn seal(&self, _: &ReadTx, rows: &mut [Model]) -> Result<(), MigrationError> {
        let keys = self.keys_for(rows).await?;
        for row in rows {
            match keys.unless_erased(subject(row))? {
                Some(key) => self.accounts.seal(row, &Accounts::plain(row)?, key)?,
                None => (row.sealed_email, row.sealed_display_name) = (None, None),
            }
        }
        Ok(())
    }

    async fn compare(&self, _: &ReadTx, rows: &[Model]) -> Result<Vec<bool>, MigrationError> {
        let keys = self.keys_of(rows).await?;
        let compare = |row: &Model| {
            let Some(key) = keys.unless_erased(subject(row))? else { return Ok(true) };
            let sealed = match self.accounts.cells(row, key) {
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
        rows.iter().map(compare).collect()
    }

    async fn clear(&self, rows: &mut [Model]) -> Result<(), MigrationError> {
        let keys = self.keys_of(rows).await?;
        let index = self.emails.column_keys().await?;
        for row in rows {
            let email = match keys.unless_erased(subject(row))? {
                Some(key) => {
                    let profile = self.accounts.cells(row, key)?;
                    self.emails.with(&index, &profile.email).written(Mode::New)
                }
                None => {
                    (row.sealed_email, row.sealed_display_name) = (None, None);
                    KeyedIndex::of_nobody(row.id)
                }
            };
            (row.email, row.display_name) = (String::new(), String::new());
            Accounts::index(row, email);
        }
        Ok(())
    }
}

fn same(row: &Model, column: &'static str, one: &str, other: &str) -> Result<(), MigrationError> {
    let mismatch = || MigrationError::Mismatch { table: "account", column, row: row.id.to_string() };
    if one == other { Ok(()) } else { Err(mismatch()) }
}
