//! A migration that gives rows of earlier versions their new form: what is personal in sealed cells, and a digest.
//!
//! A service says what is particular to each table ([`SealedTable`]); [`Rows`] moves its rows, compares both forms, puts
//! rows back, and drops the old form.
//!
//! A row with the new form beside the old one is sound if its digest is right and every cell opens to what stands in the
//! clear. An earlier version of the service that changes such a row leaves it unsound: it is then sealed again from what
//! stands in the clear, which is the truth until the commit. The commit looks once more before it drops anything. What is
//! about somebody who was erased can't be sealed any more: it goes with the commit.

use async_trait::async_trait;
use portal_store::{ReadTx, StoreError, Tx, bulk};
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ModelTrait, PaginatorTrait, QueryFilter, QuerySelect, Value,
};

use super::{Batch, MigrationError, Step, TableMigration};
use crate::page::{Page, key_of};

/// The model of a table.
pub type Model<T> = <<T as SealedTable>::Entity as EntityTrait>::Model;
/// A column of a table.
pub type Column<T> = <<T as SealedTable>::Entity as EntityTrait>::Column;

/// A table whose rows have an old form and a new one. One with nothing to seal has only digests to be made.
#[async_trait]
pub trait SealedTable: Send + Sync + Sized + 'static {
    /// The table.
    type Entity: EntityTrait<Model: Send + Sync, Column: Send + Sync>;

    /// The primary key, see [`Page::of`].
    const KEY: &'static [Column<Self>];
    /// The digests, NULL in rows without the new form.
    const DIGESTS: &'static [Column<Self>];
    /// What else the new form has, NULL in rows without it.
    const CELLS: &'static [Column<Self>] = &[];
    /// What the commit changes beside those.
    const CLEAR: &'static [Column<Self>] = &[];
    /// The most rows that are looked at together, so that they fit into memory.
    const MOST: u32 = u32::MAX;

    /// Rows that the migration is about.
    fn all() -> Condition {
        Condition::all()
    }

    /// Rows without the new form, or without all of it.
    fn lacking() -> Condition {
        Self::DIGESTS.iter().fold(Condition::any(), |any, digest| any.add(digest.is_null()))
    }

    /// Whether the row is one of those.
    fn lacks(row: &Model<Self>) -> bool {
        digests::<Self>(row).iter().any(|digest| *digest == digest.as_null())
    }

    /// Rows with something of the old form that goes with the commit; `None` if nothing does.
    fn old() -> Option<Condition> {
        None
    }

    /// Rows that the commit looks at beside those that lack the new form; `None` for every row, since one that an earlier
    /// version changed beneath its digest does not show it.
    fn perhaps_old() -> Option<Condition> {
        Self::old()
    }

    /// Gives a row its digests.
    ///
    /// # Errors
    /// [`StoreError`].
    fn stamp(&self, row: &mut Model<Self>) -> Result<(), StoreError>;

    /// Whether a row has the right digests.
    ///
    /// # Errors
    /// [`StoreError`].
    fn is_stamped(&self, row: &Model<Self>) -> Result<bool, StoreError>;

    /// Fills the [cells](Self::CELLS) of rows from what stands in the clear: nothing else of them is written. Their
    /// digests come afterwards.
    ///
    /// # Errors
    /// [`MigrationError`].
    async fn seal(&self, _: &ReadTx, _: &mut [Model<Self>]) -> Result<(), MigrationError> {
        Ok(())
    }

    /// Which of the rows, all of which have the right digests, have cells that open to what stands in the clear. The
    /// others are sealed again.
    ///
    /// # Errors
    /// [`MigrationError::Mismatch`] if one opens to something else; [`MigrationError`].
    async fn compare(&self, _: &ReadTx, rows: &[Model<Self>]) -> Result<Vec<bool>, MigrationError> {
        Ok(vec![true; rows.len()])
    }

    /// Takes what stands in the clear from rows that are sound. Their digests come afterwards.
    ///
    /// # Errors
    /// [`MigrationError`].
    async fn clear(&self, _: &mut [Model<Self>]) -> Result<(), MigrationError> {
        Ok(())
    }
}

/// The rows of a table, on their way to the new form and back.
pub struct Rows<T>(pub T);

impl<T: SealedTable> Rows<T> {
    /// The rows that `step` has to do.
    fn concerned(step: Step) -> Condition {
        match step {
            Step::Commit => Condition::any().add(T::lacking()).add_option(T::old()),
            Step::Move => T::lacking(),
            Step::Undo => {
                T::DIGESTS.iter().fold(Condition::any(), |any, digest| any.add(digest.is_not_null()))
            }
            Step::Verify => Condition::all(),
        }
    }

    /// The rows that `step` looks at.
    fn looked_at(step: Step) -> Condition {
        match (step, T::perhaps_old()) {
            (Step::Commit, None) => Condition::all(),
            (Step::Commit, old) => Condition::any().add(T::lacking()).add_option(old),
            (Step::Move | Step::Undo | Step::Verify, _) => Self::concerned(step),
        }
    }

    /// Gives rows the new form beside the old one, from the old one.
    async fn seal(&self, tx: &ReadTx, rows: &mut [Model<T>]) -> Result<(), MigrationError> {
        self.0.seal(tx, rows).await?;
        Ok(rows.iter_mut().try_for_each(|row| self.0.stamp(row))?)
    }

    /// Seals those of the rows again that are not sound: returns the sound ones, and those.
    async fn repair(&self, tx: &ReadTx, rows: Vec<Model<T>>) -> Result<[Vec<Model<T>>; 2], MigrationError> {
        let (mut stamped, mut unsound) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            if self.0.is_stamped(&row)? { stamped.push(row) } else { unsound.push(row) }
        }
        let mut sound = Vec::with_capacity(stamped.len());
        let same = self.0.compare(tx, &stamped).await?;
        for (row, same) in stamped.into_iter().zip(same) {
            if same { sound.push(row) } else { unsound.push(row) }
        }
        self.seal(tx, &mut unsound).await?;
        Ok([sound, unsound])
    }

    /// Takes the old form from the sound rows and from those that were sealed again, and returns what is to be written.
    async fn clear(&self, rows: [Vec<Model<T>>; 2]) -> Result<Vec<Model<T>>, MigrationError> {
        let [mut rows, repaired] = rows;
        let sound: Vec<_> = rows.iter().map(digests::<T>).collect();
        rows.extend(repaired);
        self.0.clear(&mut rows).await?;
        rows.iter_mut().try_for_each(|row| self.0.stamp(row))?;
        // A digest is one of all columns: where it is the same, so is the row, unless it was sealed again just now.
        let changed =
            rows.into_iter().enumerate().filter(|(at, row)| sound.get(*at) != Some(&digests::<T>(row)));
        Ok(changed.map(|(_, row)| row).collect())
    }

    /// Writes `columns` of rows, which have the values that `value` makes of theirs.
    async fn write(
        tx: &Tx,
        rows: Vec<Model<T>>,
        columns: &[&[Column<T>]],
        value: fn(Value) -> Value,
    ) -> Result<(), StoreError> {
        let columns = columns.concat();
        let values = |row: Model<T>| {
            let key = T::KEY.iter().map(|column| row.get(*column));
            key.chain(columns.iter().map(|column| value(row.get(*column)))).collect()
        };
        let (expected, rows) = (rows.len() as u64, rows.into_iter().map(values).collect());
        StoreError::check_rows(expected, bulk::update::<T::Entity>(tx, T::KEY, &columns, rows).await?)
    }
}

#[async_trait]
impl<T: SealedTable> TableMigration for Rows<T> {
    async fn count(&self, tx: &ReadTx, step: Step) -> Result<u64, MigrationError> {
        let rows = T::Entity::find().filter(T::all()).filter(Self::concerned(step));
        Ok(rows.count(tx.conn()).await.map_err(StoreError::from)?)
    }

    async fn batch(&self, tx: &Tx, step: Step, page: &Page) -> Result<Batch, MigrationError> {
        let page = page.at_most(T::MOST);
        let query = page.of(T::Entity::find().filter(T::all()).filter(Self::looked_at(step)), T::KEY);
        // Rows that somebody is changing are left to another pass. SQLite has one writer and no such locks.
        let query = query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        let mut rows = query.all(tx.conn()).await.map_err(StoreError::from)?;
        let mut batch = Batch::of(&page, rows.len(), rows.last().map(|row| key_of(row, T::KEY)));
        let new = &[T::CELLS, T::DIGESTS];
        match step {
            Step::Move => {
                self.seal(tx, &mut rows).await?;
                Self::write(tx, rows, new, |value| value).await?;
            }
            Step::Verify => {
                batch.moved = rows.iter().filter(|row| T::lacks(row)).count() as u64;
                let [_, repaired] = self.repair(tx, rows).await?;
                Self::write(tx, repaired, new, |value| value).await?;
            }
            Step::Undo => Self::write(tx, rows, new, |value| value.as_null()).await?,
            Step::Commit => {
                let rows = self.repair(tx, rows).await?;
                let changed = self.clear(rows).await?;
                Self::write(tx, changed, &[T::CLEAR, T::CELLS, T::DIGESTS], |value| value).await?;
            }
        }
        Ok(batch)
    }
}

fn digests<T: SealedTable>(row: &Model<T>) -> Vec<Value> {
    T::DIGESTS.iter().map(|digest| row.get(*digest)).collect()
}
