//! Data migrations of auth: rows that were written in the clear get sealed cells and digests.
//!
//! A row with the new form beside the old one is sound if its digest is right and every cell opens to the text in the
//! clear. An earlier version of the service that changes such a row leaves it unsound: it is then moved again from the
//! text in the clear, which is the truth until the commit. The commit looks once more before it drops any text. What is
//! about somebody who was erased can't be sealed any more: it goes with the commit.

mod accounts;
mod reindex;
mod sessions;
mod token_pairs;

use std::sync::Arc;

use async_trait::async_trait;
use portal_core::id::SubjectId;
use portal_crypto::envelope::SubjectKey;
use portal_keys::{Keys, KeysError, SubjectKeys};
use portal_store::sealed::DigestedRow;
use portal_store::{ReadTx, StoreError, Tx, bulk};
use portal_upkeep::Page;
use portal_upkeep::migration::{Batch, DataMigration, MigrationError, Step, TableMigration, Tables};
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ModelTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    Value,
};

use crate::store::Seals;
use crate::store::accounts::Accounts;
use crate::store::email_index::EmailIndexer;
use crate::store::sessions::Sessions;
use crate::store::token_pairs::TokenPairs;

pub use reindex::REINDEX;

/// The name of the migration that seals what is personal.
pub const SEAL: &str = "d0001_seal_personal_data";
const DESCRIPTION: &str =
    "Seals e-mail addresses, names of accounts and names of devices, and gives the rows digests";

/// All of them, in the order in which they apply.
#[must_use]
pub fn migrations(keys: &Keys, seals: &Seals, emails: &EmailIndexer) -> Vec<Arc<dyn DataMigration>> {
    let accounts = accounts::SealAccounts {
        accounts: Accounts::new(seals.clone()),
        emails: emails.clone(),
        keys: keys.clone(),
    };
    let sessions = sessions::SealSessions { sessions: Sessions::new(seals.clone()), keys: keys.clone() };
    let pairs = token_pairs::StampTokenPairs { pairs: TokenPairs::new(seals.clone()) };
    let parts: Vec<Box<dyn TableMigration>> =
        vec![Box::new(Rows(accounts)), Box::new(Rows(sessions)), Box::new(Rows(pairs))];
    let reindex = reindex::Reindex {
        accounts: Accounts::new(seals.clone()),
        emails: emails.clone(),
        keys: keys.clone(),
    };
    vec![Arc::new(Tables::new(SEAL, DESCRIPTION, parts)), Arc::new(reindex)]
}

/// The model of a table.
type Model<T> = <<T as Table>::Entity as EntityTrait>::Model;
/// A column of a table.
type Column<T> = <<T as Table>::Entity as EntityTrait>::Column;

/// A table whose rows get a new form.
#[async_trait]
trait Table: Send + Sync + Sized + 'static {
    /// The table.
    type Entity: EntityTrait<Model: DigestedRow + Send + Sync, Column: Send + Sync>;

    /// The primary key.
    fn key() -> Column<Self>;

    /// The column of the digest: a row has the new form if it is there.
    fn digest() -> Column<Self>;

    /// The other columns that change.
    fn columns() -> Vec<Column<Self>>;

    /// Rows with something of the old form that goes with the commit.
    fn old() -> Condition;

    /// Rows that the commit looks at: those, and the ones that an earlier version may have changed last.
    fn perhaps_old() -> Condition;

    /// The value of a key whose bytes the engine has kept.
    fn key_value(bytes: &[u8]) -> Value;

    /// Gives rows the new form beside the old one, from the old one.
    async fn seal(&self, tx: &ReadTx, rows: &mut [Model<Self>]) -> Result<(), MigrationError>;

    /// Which of the rows are sound.
    ///
    /// # Errors
    /// [`MigrationError::Mismatch`] if one has the right digest, and its forms differ all the same.
    async fn sound(&self, rows: &[Model<Self>]) -> Result<Vec<bool>, MigrationError>;

    /// Takes the new form from a row.
    fn unseal(row: &mut Model<Self>);

    /// Takes the old form from rows that are sound, and stamps them.
    async fn finish(&self, rows: &mut [Model<Self>]) -> Result<(), MigrationError>;
}

/// The rows of a table, on their way to the new form and back.
struct Rows<T>(T);

impl<T: Table> Rows<T> {
    /// The rows of a page, in the order of their keys.
    async fn page(tx: &ReadTx, of: Condition, page: &Page) -> Result<Vec<Model<T>>, StoreError> {
        let mut query = T::Entity::find().filter(of);
        if let Some(after) = &page.after {
            query = query.filter(T::key().gt(T::key_value(after)));
        }
        // Rows that somebody is changing are left to another pass. SQLite has one writer and no such locks.
        let query = query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        Ok(query.order_by_asc(T::key()).limit(u64::from(page.limit)).all(tx.conn()).await?)
    }

    /// What the engine is told about `rows`, all of which are done.
    fn of(page: &Page, rows: &[Model<T>]) -> Batch {
        let last = rows.last().and_then(|row| match row.get(T::key()) {
            Value::Bytes(Some(bytes)) => Some(bytes),
            Value::Uuid(Some(id)) => Some(id.as_bytes().to_vec()),
            _ => None,
        });
        Batch::of(page, rows.len(), last)
    }

    async fn write(tx: &Tx, rows: Vec<Model<T>>) -> Result<(), StoreError> {
        let columns: Vec<_> = T::columns().into_iter().chain([T::digest()]).collect();
        let values = |row: Model<T>| {
            std::iter::once(T::key()).chain(columns.iter().copied()).map(|column| row.get(column)).collect()
        };
        let (expected, rows) = (rows.len() as u64, rows.into_iter().map(values).collect());
        let written = bulk::update::<T::Entity>(tx, &[T::key()], &columns, rows).await?;
        StoreError::check_rows(expected, written)
    }

    /// Seals those of the rows again that are not sound, and says which those were.
    async fn repair(
        &self,
        tx: &Tx,
        rows: Vec<Model<T>>,
    ) -> Result<(Vec<Model<T>>, Vec<Model<T>>), MigrationError> {
        let sound = self.0.sound(&rows).await?;
        let (sound, unsound): (Vec<_>, Vec<_>) = rows.into_iter().zip(sound).partition(|(_, sound)| *sound);
        let rows = |rows: Vec<(Model<T>, bool)>| rows.into_iter().map(|(row, _)| row).collect::<Vec<_>>();
        let mut repaired = rows(unsound);
        self.0.seal(tx, &mut repaired).await?;
        Ok((rows(sound), repaired))
    }
}

#[async_trait]
impl<T: Table> TableMigration for Rows<T> {
    async fn count(&self, tx: &ReadTx, step: Step) -> Result<u64, MigrationError> {
        Ok(T::Entity::find().filter(concerned::<T>(step)).count(tx.conn()).await.map_err(StoreError::from)?)
    }

    async fn batch(&self, tx: &Tx, step: Step, page: &Page) -> Result<Batch, MigrationError> {
        let of = match step {
            Step::Commit => T::perhaps_old().add(T::digest().is_null()),
            Step::Move | Step::Undo | Step::Verify => concerned::<T>(step),
        };
        let mut rows = Self::page(tx, of, page).await?;
        let mut batch = Self::of(page, &rows);
        let written = match step {
            Step::Move => {
                self.0.seal(tx, &mut rows).await?;
                rows
            }
            Step::Verify => {
                let lacking = rows.iter().filter(|row| row.digest().is_none());
                batch.moved = u64::try_from(lacking.count()).unwrap_or(u64::MAX);
                self.repair(tx, rows).await?.1
            }
            Step::Undo => {
                rows.iter_mut().for_each(T::unseal);
                rows
            }
            Step::Commit => {
                let (mut rows, mut repaired) = self.repair(tx, rows).await?;
                let before: Vec<_> = rows.iter().map(|row| row.digest().map(<[u8]>::to_vec)).collect();
                self.0.finish(&mut rows).await?;
                // A digest is one of all columns: where it is the same, so is the row.
                let changed =
                    rows.into_iter().zip(before).filter(|(row, was)| row.digest() != was.as_deref());
                let mut changed: Vec<_> = changed.map(|(row, _)| row).collect();
                self.0.finish(&mut repaired).await?;
                changed.extend(repaired);
                changed
            }
        };
        Self::write(tx, written).await?;
        Ok(batch)
    }
}

/// The rows that a step has something to do with.
fn concerned<T: Table>(step: Step) -> Condition {
    match step {
        Step::Commit => Condition::any().add(T::old()).add(T::digest().is_null()),
        Step::Move => Condition::all().add(T::digest().is_null()),
        Step::Undo => Condition::all().add(T::digest().is_not_null()),
        Step::Verify => Condition::all(),
    }
}

/// The key of `subject`; `None` if they were erased, and nothing can be sealed or opened any more.
fn key_of(keys: &SubjectKeys, subject: SubjectId) -> Result<Option<&Arc<SubjectKey>>, KeysError> {
    match keys.get(subject) {
        Ok(key) => Ok(Some(key)),
        Err(KeysError::Erased(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a row is what was written, as its digest says.
fn intact(checked: Result<(), StoreError>) -> Result<bool, MigrationError> {
    match checked {
        Ok(()) => Ok(true),
        Err(StoreError::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
