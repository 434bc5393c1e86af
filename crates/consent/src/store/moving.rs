//! The data migration that seals reasons and evidence and gives rows their digests: plaintext columns become sealed ones.
//!
//! One migration for all tables, one table after the other: its [name](NAME) decides for the whole service in which form
//! rows are written. Until it is committed what stands in the clear is the truth: a row whose new form does not follow
//! from it, because an earlier version of the service has changed it, is moved again. What somebody said who was erased
//! can't be sealed any more: it goes with the commit.
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
use portal_store::{ReadTx, StoreError, Tx, bulk};
use portal_upkeep::Page;
use portal_upkeep::migration::{Batch, MigrationError, Step, TableMigration, Tables};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{Condition, FromQueryResult, PaginatorTrait, QueryOrder, QuerySelect};

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
    /// The primary key: a UUID, perhaps followed by a number.
    const KEY: &'static [ColumnOf<Self>];
    /// The digest: a row has the new form if it is there.
    const DIGEST_COLUMN: ColumnOf<Self>;
    /// All columns that get a new form.
    const CHANGED: &'static [ColumnOf<Self>];
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

    /// Takes the new form away.
    fn unseal(&mut self);

    /// Whether every plain column holds what it promises.
    fn parse(&self) -> Result<(), StoreError>;
}

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

    /// The rows of a page, in the order of their keys, and what became of the page.
    pub(super) fn page(of: Condition, page: &Page) -> (Select<M::Entity>, Page) {
        let page = Page { after: page.after.clone(), limit: page.limit.min(M::MOST) };
        let mut query = M::Entity::find().filter(of);
        if let Some(after) = &page.after {
            query = query.filter(after_key::<M>(after));
        }
        for column in M::KEY {
            query = query.order_by_asc(*column);
        }
        (query.limit(u64::from(page.limit)), page)
    }

    /// What the engines keep of a row to go on after it.
    pub(super) fn key(row: &M) -> Vec<u8> {
        let part = |column: &ColumnOf<M>| match row.get(*column) {
            Value::Uuid(Some(id)) => id.as_bytes().to_vec(),
            Value::BigInt(Some(number)) => number.to_be_bytes().to_vec(),
            _ => Vec::new(),
        };
        M::KEY.iter().flat_map(part).collect()
    }

    /// Gives rows the new form, and keeps the old one.
    async fn seal(&self, tx: &ReadTx, rows: &mut [M]) -> Result<(), MigrationError> {
        let (owners, keys) = self.keys_of(tx, rows).await?;
        for (row, owner) in rows.iter_mut().zip(owners) {
            if let Some(key) = key_of(&keys, owner)? {
                row.seal(&self.seals, key)?;
            }
            self.seals.stamp(row)?;
        }
        Ok(())
    }

    /// Those of the rows whose new form is right, and those that are to be moved again.
    async fn sift(&self, tx: &ReadTx, rows: Vec<M>) -> Result<(Vec<M>, Vec<M>), MigrationError> {
        let (owners, keys) = self.keys_of(tx, &rows).await?;
        let (mut sound, mut unsound) = (Vec::with_capacity(rows.len()), Vec::new());
        for (row, owner) in rows.into_iter().zip(owners) {
            if row.digest().is_none() || self.seals.verify(&row).is_err() {
                unsound.push(row);
                continue;
            }
            if let Some(key) = key_of(&keys, owner)?
                && let Some(column) = row.compare(&self.seals, key)?
            {
                let table = M::Entity::default().table_name();
                return Err(MigrationError::Mismatch { table, column, row: row.row().to_string() });
            }
            sound.push(row);
        }
        Ok((sound, unsound))
    }

    /// All rows without what is in the clear, but for those that had nothing: a digest is one of all columns, so where it
    /// is the same the row is.
    fn cleared(&self, sound: Vec<M>, sealed_again: Vec<M>) -> Result<Vec<M>, StoreError> {
        let mut cleared = Vec::with_capacity(sound.len() + sealed_again.len());
        let rows = sound.into_iter().map(|row| (row, true));
        for (mut row, is_sound) in rows.chain(sealed_again.into_iter().map(|row| (row, false))) {
            let before = row.digest().map(<[u8]>::to_vec);
            row.clear();
            self.seals.stamp(&mut row)?;
            if !is_sound || row.digest() != before.as_deref() {
                cleared.push(row);
            }
        }
        Ok(cleared)
    }

    async fn keys_of(
        &self,
        tx: &ReadTx,
        rows: &[M],
    ) -> Result<(Vec<Option<SubjectId>>, SubjectKeys), MigrationError> {
        let owners = M::owners(tx, rows).await?;
        let subjects: Vec<SubjectId> = owners.iter().copied().flatten().collect();
        let keys = self.keys.subjects_or_new(&subjects).await?;
        Ok((owners, keys))
    }

    async fn write(tx: &Tx, rows: Vec<M>) -> Result<(), StoreError> {
        let values = |row: M| M::KEY.iter().chain(M::CHANGED).map(|column| row.get(*column)).collect();
        let (expected, rows) = (rows.len() as u64, rows.into_iter().map(values).collect());
        StoreError::check_rows(expected, bulk::update::<M::Entity>(tx, M::KEY, M::CHANGED, rows).await?)
    }
}

/// The rows that a step looks at: those that it has to do, and at the commit all of a table with nothing in the clear, in
/// which an earlier version may have changed a row beneath its digest since all were compared.
fn looked_at<M: Stored>(step: Step) -> Condition {
    match step {
        Step::Commit if M::in_the_clear().is_none() => Condition::all(),
        Step::Commit | Step::Move | Step::Undo | Step::Verify => rows_of::<M>(step),
    }
}

/// The rows that a step has to do.
fn rows_of<M: Stored>(step: Step) -> Condition {
    let moved = M::DIGEST_COLUMN;
    match step {
        Step::Commit => Condition::any().add(moved.is_null()).add_option(M::in_the_clear()),
        Step::Move => Condition::all().add(moved.is_null()),
        Step::Undo => Condition::all().add(moved.is_not_null()),
        Step::Verify => Condition::all(),
    }
}

#[async_trait]
impl<M: Stored> TableMigration for Table<M> {
    async fn count(&self, tx: &ReadTx, step: Step) -> Result<u64, MigrationError> {
        let count = M::Entity::find().filter(rows_of::<M>(step)).count(tx.conn()).await;
        Ok(count.map_err(StoreError::from)?)
    }

    async fn batch(&self, tx: &Tx, step: Step, page: &Page) -> Result<Batch, MigrationError> {
        let (query, page) = Self::page(looked_at::<M>(step), page);
        // Rows that somebody is changing are left to another pass. SQLite has one writer and no such locks.
        let query = query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        let mut rows: Vec<M> = query.all(tx.conn()).await.map_err(StoreError::from)?;
        let mut batch = Batch::of(&page, rows.len(), rows.last().map(Self::key));
        let changed = match step {
            Step::Move => {
                self.seal(tx, &mut rows).await?;
                rows
            }
            Step::Verify => {
                let (_, mut unsound) = self.sift(tx, rows).await?;
                let lacking = unsound.iter().filter(|row| row.digest().is_none());
                batch.moved = u64::try_from(lacking.count()).unwrap_or(u64::MAX);
                self.seal(tx, &mut unsound).await?;
                unsound
            }
            Step::Undo => {
                rows.iter_mut().for_each(M::unseal);
                rows
            }
            Step::Commit => {
                let (sound, mut unsound) = self.sift(tx, rows).await?;
                self.seal(tx, &mut unsound).await?;
                self.cleared(sound, unsound)?
            }
        };
        Self::write(tx, changed).await?;
        Ok(batch)
    }
}

/// The migration.
pub(crate) fn migration(seals: &Seals, keys: &Keys) -> Tables {
    fn table<M: Stored + 'static>(seals: &Seals, keys: &Keys) -> Box<dyn TableMigration> {
        Box::new(Table::<M>::new(seals, keys))
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
    Tables::new(NAME, DESCRIPTION, tables.map(|table| table(seals, keys)).into())
}

/// The key of `owner`; `None` if nothing is to be sealed, or if the owner was erased.
fn key_of(keys: &SubjectKeys, owner: Option<SubjectId>) -> Result<Option<&Arc<SubjectKey>>, KeysError> {
    match owner.map(|owner| keys.get(owner)).transpose() {
        Ok(key) => Ok(key),
        Err(KeysError::Erased(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Rows after the one with the key that these are the bytes of.
fn after_key<M: Stored>(bytes: &[u8]) -> Condition {
    let (id, number) = bytes.split_at_checked(16).unwrap_or((bytes, &[]));
    let id = Uuid::from_slice(id).unwrap_or_default();
    match M::KEY {
        [] => Condition::all(),
        [first] => Condition::all().add(first.gt(id)),
        [first, second, ..] => {
            let number = number.try_into().map_or(i64::MIN, i64::from_be_bytes);
            let same = Condition::all().add(first.eq(id)).add(second.gt(number));
            Condition::any().add(first.gt(id)).add(same)
        }
    }
}
