//! Accounts are indexed anew when their index has got another key. Until then they are found by the older keys.
//!
//! Both forms are the same to whoever looks up, so nothing changes with a commit and there is nothing to put back.

use async_trait::async_trait;
use portal_core::id::{Id, SubjectId};
use portal_keys::{IndexKeys, Keys, KeysError, SubjectKeys};
use portal_store::{Corruption, ReadTx, StoreError, Tx};
use portal_upkeep::migration::{Batch, DataMigration, MigrationError, Mode, Step};
use portal_upkeep::page::{Page, key_of};
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{ColumnTrait, Condition, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect};

use crate::store::account::{Column, Entity, Model};
use crate::store::accounts::Accounts;
use crate::store::email_index::{EmailIndex, EmailIndexer, KeyedIndex};

/// The name of the migration.
pub const REINDEX: &str = "d0002_reindex_accounts";

/// The migration.
pub struct Reindex {
    /// Reads and writes rows.
    pub accounts: Accounts,
    /// Indexes e-mail addresses.
    pub emails: EmailIndexer,
    /// The keys of persons.
    pub keys: Keys,
}

impl Reindex {
    /// Rows whose index is of another key than the active one. Those of before there were several get it when they are
    /// sealed.
    async fn concerned(&self, step: Step) -> Result<Condition, MigrationError> {
        let active = i64::from(self.emails.column_keys().await?.active().generation());
        let sealed = Condition::all().add(KeyedIndex::has_generation());
        Ok(match step {
            Step::Move => sealed.add(Column::EmailIndexGeneration.ne(active)),
            Step::Verify => sealed,
            // There is no row that is null and is not.
            Step::Commit | Step::Undo => sealed.add(Column::EmailIndexGeneration.is_null()),
        })
    }

    /// The rows of a page, each with the one that it becomes. One that can't be read stays as it is, and does not keep the
    /// others: it is found by its old key as long as there is one.
    async fn indexed(&self, rows: Vec<Model>) -> Result<Vec<(Model, Model)>, MigrationError> {
        let subjects: Vec<_> = rows.iter().map(|row| SubjectId::from_uuid(row.subject_id)).collect();
        let keys = self.keys.subjects(&subjects).await?;
        let column_keys = self.emails.column_keys().await?;
        let mut indexed = Vec::with_capacity(rows.len());
        let mut left = Vec::new();
        for row in rows {
            match self.index_of(&row, &keys, &column_keys) {
                Ok(index) => {
                    let mut new = row.clone();
                    Accounts::index(&mut new, index);
                    self.accounts.seals.digests.stamp(&mut new)?;
                    indexed.push((row, new));
                }
                Err(
                    error @ (MigrationError::Keys(KeysError::EpochDisabled(_))
                    | MigrationError::Store(StoreError::Corrupt { .. })),
                ) => left.push(error),
                Err(error) => return Err(error),
            }
        }
        if let Some(first) = left.first() {
            tracing::error!(accounts = left.len(), %first, "accounts were not indexed anew");
        }
        Ok(indexed)
    }

    /// The index of `row` under the active key; that of nobody if its person was erased.
    fn index_of(
        &self,
        row: &Model,
        keys: &SubjectKeys,
        column_keys: &IndexKeys,
    ) -> Result<KeyedIndex, MigrationError> {
        match keys.get(SubjectId::from_uuid(row.subject_id)) {
            Ok(key) => {
                let profile = self.accounts.sealed(row, key)?;
                Ok(self.emails.with(column_keys, &profile.email).written(Mode::New))
            }
            Err(KeysError::Erased(_)) => {
                self.accounts.seals.digests.check(row)?;
                Ok(KeyedIndex::of_nobody(row.id))
            }
            Err(KeysError::Corrupt { .. } | KeysError::Missing(_)) => {
                let (table, column, cause) = ("account", "sealed_email", Corruption::KeyMissing);
                Err(StoreError::Corrupt { table, column, row: row.id.to_string(), cause }.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn page(&self, tx: &ReadTx, step: Step, page: &Page) -> Result<Vec<Model>, MigrationError> {
        let query = page.of(Entity::find().filter(self.concerned(step).await?), &[Column::Id]);
        // Rows that somebody is changing are left to another pass. SQLite has one writer and no such locks.
        let query = query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        Ok(query.all(tx.conn()).await.map_err(StoreError::from)?)
    }
}

/// What the engine is told about `rows`, all of which were looked at.
fn batch(page: &Page, rows: &[Model]) -> Batch {
    Batch::of(page, rows.len(), rows.last().map(|row| key_of(row, &[Column::Id])))
}

const DONE: Batch = Batch { rows: 0, moved: 0, next: None };

#[async_trait]
impl DataMigration for Reindex {
    fn name(&self) -> &'static str {
        REINDEX
    }

    fn description(&self) -> &'static str {
        "Indexes e-mail addresses of accounts under the active key of their index"
    }

    fn repeats(&self) -> bool {
        true
    }

    async fn ready(&self) -> Result<(), MigrationError> {
        Ok(self.keys.ready().await?)
    }

    async fn count(&self, tx: &ReadTx, step: Step) -> Result<u64, MigrationError> {
        let rows = Entity::find().filter(self.concerned(step).await?);
        Ok(rows.count(tx.conn()).await.map_err(StoreError::from)?)
    }

    async fn move_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        let rows = self.page(tx, Step::Move, page).await?;
        let batch = batch(page, &rows);
        let new = self.indexed(rows).await?.into_iter().map(|(_, new)| new);
        Ok(Batch { rows: EmailIndex::write(tx, new.collect()).await?, ..batch })
    }

    async fn verify_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        let rows = self.page(tx, Step::Verify, page).await?;
        let batch = batch(page, &rows);
        let (same, late): (Vec<_>, Vec<_>) = self
            .indexed(rows)
            .await?
            .into_iter()
            .partition(|(row, new)| row.email_index_generation == new.email_index_generation);
        if let Some((row, _)) = same.iter().find(|(row, new)| row.email_index != new.email_index) {
            let (table, column, row) = ("account", "email_index", row.id.to_string());
            return Err(MigrationError::Mismatch { table, column, row });
        }
        // Written by a process that did not know of the key yet.
        let moved = EmailIndex::write(tx, late.into_iter().map(|(_, new)| new).collect()).await?;
        Ok(Batch { moved, ..batch })
    }

    async fn undo_batch(&self, _: &Tx, _: &Page) -> Result<Batch, MigrationError> {
        Ok(DONE)
    }

    async fn commit_batch(&self, _: &Tx, _: &Page) -> Result<Batch, MigrationError> {
        Ok(DONE)
    }
}

#[cfg(test)]
mod tests;
