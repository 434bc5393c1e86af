//! Accounts are indexed anew when their index has got another key. Until then they are found by the older keys.
//!
//! Both forms are the same to whoever looks up, so nothing changes with a commit and there is nothing to put back.

use async_trait::async_trait;
use portal_core::id::{Id, SubjectId};
use portal_keys::Keys;
use portal_store::{ReadTx, StoreError, Tx, bulk};
use portal_upkeep::migration::{Batch, DataMigration, MigrationError, Mode, Step};
use portal_upkeep::page::{Page, key_of};
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{ColumnTrait, Condition, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect};

use crate::store::account::{Column, Entity, Model};
use crate::store::accounts::Accounts;
use crate::store::email_index::{EmailIndexer, KeyedIndex};

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

    /// The rows of a page, each with the one that it becomes: with its e-mail address indexed under the active key, or
    /// with no index if its person was erased. One that is corrupt stays as it is, and does not keep the others.
    async fn indexed(&self, rows: Vec<Model>) -> Result<Vec<(Model, Model)>, MigrationError> {
        let subjects: Vec<_> = rows.iter().map(|row| SubjectId::from_uuid(row.subject_id)).collect();
        let keys = self.keys.subjects(&subjects).await?;
        let column_keys = self.emails.column_keys().await?;
        let mut indexed = Vec::with_capacity(rows.len());
        for row in rows {
            let index = match keys.unless_erased(SubjectId::from_uuid(row.subject_id))? {
                Some(key) => self
                    .accounts
                    .sealed(&row, key)
                    .map(|profile| self.emails.with(&column_keys, &profile.email).written(Mode::New)),
                None => self.accounts.seals.digests.check(&row).map(|()| KeyedIndex::of_nobody(row.id)),
            };
            let index = match index {
                Ok(index) => index,
                Err(error @ StoreError::Corrupt { .. }) => {
                    tracing::error!(%error, "an account was not indexed anew");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let mut new = row.clone();
            Accounts::index(&mut new, index);
            self.accounts.seals.digests.stamp(&mut new)?;
            indexed.push((row, new));
        }
        Ok(indexed)
    }

    async fn page(&self, tx: &ReadTx, step: Step, page: &Page) -> Result<Vec<Model>, MigrationError> {
        let query = page.of(Entity::find().filter(self.concerned(step).await?), &[Column::Id]);
        // Rows that somebody is changing are left to another pass. SQLite has one writer and no such locks.
        let query = query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        Ok(query.all(tx.conn()).await.map_err(StoreError::from)?)
    }
}

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

    async fn count(&self, tx: &ReadTx, step: Step) -> Result<u64, MigrationError> {
        let rows = Entity::find().filter(self.concerned(step).await?);
        Ok(rows.count(tx.conn()).await.map_err(StoreError::from)?)
    }

    async fn move_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        let rows = self.page(tx, Step::Move, page).await?;
        let batch = batch(page, &rows);
        let values = |(_, new): (Model, Model)| {
            vec![
                new.id.into(),
                new.email_index.into(),
                new.email_index_generation.into(),
                new.row_digest.into(),
            ]
        };
        let values: Vec<_> = self.indexed(rows).await?.into_iter().map(values).collect();
        let columns = [Column::EmailIndex, Column::EmailIndexGeneration, Column::RowDigest];
        let expected = values.len() as u64;
        StoreError::check_rows(expected, bulk::update::<Entity>(tx, &[Column::Id], &columns, values).await?)?;
        Ok(batch)
    }

    async fn verify_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        let rows = self.page(tx, Step::Verify, page).await?;
        let batch = batch(page, &rows);
        for (row, new) in self.indexed(rows).await? {
            // A key that was made since has its own turn.
            let same_key = row.email_index_generation == new.email_index_generation;
            if same_key && row.email_index != new.email_index {
                let (table, column, row) = ("account", "email_index", row.id.to_string());
                return Err(MigrationError::Mismatch { table, column, row });
            }
        }
        Ok(batch)
    }

    async fn undo_batch(&self, _: &Tx, _: &Page) -> Result<Batch, MigrationError> {
        Ok(DONE)
    }

    async fn commit_batch(&self, _: &Tx, _: &Page) -> Result<Batch, MigrationError> {
        Ok(DONE)
    }
}
