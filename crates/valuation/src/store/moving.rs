//! The data migration that gives rows of earlier versions their new form: what is personal sealed, and a digest.
//!
//! A row with the new form beside the old one is sound if its digest is right and every cell opens to what stands in the
//! clear. An earlier version of the service that changes such a row leaves it unsound: it is then moved again from what
//! stands in the clear, which is the truth until the commit. The commit looks once more before it blanks anything.
//!
//! | module | holds |
//! |---|---|
//! | [`batches`] | the records of a batch |
//! | [`stamped`] | tables with nothing personal, which get digests |
//! | [`values`] | what records and people are worth |

mod batches;
mod stamped;
mod values;

use std::sync::Arc;

use async_trait::async_trait;
use portal_keys::{Keys, KeysError};
use portal_store::{ReadTx, StoreError, Tx, bulk};
use portal_upkeep::Page;
use portal_upkeep::migration::{Batch, DataMigration, MigrationError, Step, TableMigration, Tables};
use sea_orm::prelude::{Expr, Uuid};
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{
    Condition, EntityTrait, ExprTrait, ModelTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    Select, Value,
};

use super::{Reading, Seals};
pub(super) use batches::Batches;
pub(super) use stamped::{Appends, Datasets, Exclusions, Valuations};
pub(super) use values::{RecordValues, SubjectValues};

/// The name of the migration, by which every transaction asks in which form it finds and leaves rows.
pub const NAME: &str = "d0001_seal_records";
const DESCRIPTION: &str = "Seals the numbers of records and what they are worth, and gives the rows digests";

/// What rows are sealed with.
#[derive(Clone)]
pub struct Crypto {
    pub seals: Seals,
    pub keys: Keys,
}

/// All data migrations, in the order in which they apply.
pub fn migrations(crypto: &Crypto) -> Vec<Arc<dyn DataMigration>> {
    let crypto = || crypto.clone();
    let parts: Vec<Box<dyn TableMigration>> = vec![
        Box::new(Rows(Batches(crypto()))),
        Box::new(Rows(RecordValues(crypto()))),
        Box::new(Rows(SubjectValues(crypto()))),
        Box::new(Rows(Datasets(crypto()))),
        Box::new(Rows(Appends(crypto()))),
        Box::new(Rows(Valuations(crypto()))),
        Box::new(Rows(Exclusions(crypto()))),
    ];
    vec![Arc::new(Tables::new(NAME, DESCRIPTION, parts))]
}

/// The model of a table.
pub(super) type Model<T> = <<T as Table>::Entity as EntityTrait>::Model;
/// A column of a table.
pub(super) type Column<T> = <<T as Table>::Entity as EntityTrait>::Column;

/// A table whose rows have an old form and a new one.
#[async_trait]
pub(super) trait Table: Send + Sync + Sized + 'static {
    /// The table.
    type Entity: EntityTrait<Model: Send + Sync, Column: Send + Sync>;

    /// Its name in the schema.
    const NAME: &'static str;
    /// The most rows that are looked at together.
    const MOST: u32 = u32::MAX;

    /// The primary key: a UUID, and a number where it has two parts.
    fn key() -> (Column<Self>, Option<Column<Self>>);

    /// The columns that the migration changes.
    fn columns() -> Vec<Column<Self>>;

    /// Rows that the migration is about.
    fn all() -> Condition {
        Condition::all()
    }

    /// Rows without the new form, or without all of it.
    fn lacking() -> Condition;

    /// Whether the row is one of those.
    fn lacks(row: &Model<Self>) -> bool;

    /// Rows with the new form, or some of it.
    fn having() -> Condition;

    /// Rows with something of the old form that goes with the commit; `None` if nothing does.
    fn old() -> Option<Condition>;

    /// Gives rows the new form beside the old one, from the old one.
    async fn seal(&self, tx: &ReadTx, rows: &mut [Model<Self>]) -> Result<(), MigrationError>;

    /// Which of the rows are sound.
    ///
    /// # Errors
    /// [`MigrationError::Mismatch`] if one has the right digest, and its forms differ all the same.
    async fn sound(&self, tx: &ReadTx, rows: &[Model<Self>]) -> Result<Vec<bool>, MigrationError>;

    /// Takes the new form from a row.
    fn unseal(row: &mut Model<Self>);

    /// Takes the old form from a row that is sound, and stamps it.
    fn finish(&self, row: &mut Model<Self>) -> Result<(), StoreError>;

    /// What is wrong with each of the rows as they are read.
    async fn faults(
        &self,
        reading: &Reading<'_>,
        rows: Vec<Model<Self>>,
    ) -> Result<Vec<Result<(), StoreError>>, Unchecked>;
}

/// Why rows can't be checked now.
pub(super) enum Unchecked {
    Keys(KeysError),
    Store(StoreError),
}

impl From<KeysError> for Unchecked {
    fn from(error: KeysError) -> Self {
        Self::Keys(error)
    }
}

impl From<StoreError> for Unchecked {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The rows of a page, in the order of their keys.
pub(super) async fn page<T: Table>(tx: &ReadTx, page: &Page) -> Result<Vec<Model<T>>, StoreError> {
    Ok(of_page::<T>(Condition::all(), page).all(tx.conn()).await?)
}

fn of_page<T: Table>(of: Condition, page: &Page) -> Select<T::Entity> {
    let (id, number) = T::key();
    let mut query = T::Entity::find().filter(T::all()).filter(of).order_by_asc(id);
    if let Some(number) = number {
        query = query.order_by_asc(number);
    }
    if let Some((after_id, after_number)) = page.after.as_deref().and_then(parse_key) {
        query = query.filter(match number.zip(after_number) {
            None => Expr::col(id).gt(after_id),
            Some((number, after)) => Expr::tuple([Expr::col(id), Expr::col(number)])
                .gt(Expr::tuple([Expr::val(after_id), Expr::val(after)])),
        });
    }
    query.limit(u64::from(page.limit))
}

/// The key of a row in bytes, in the order of the keys: numbers in keys are not negative.
pub(super) fn key_of<T: Table>(row: &Model<T>) -> Option<Vec<u8>> {
    let (id, number) = T::key();
    let Value::Uuid(Some(id)) = row.get(id) else { return None };
    let number = match number.map(|number| row.get(number)) {
        None => Vec::new(),
        Some(Value::BigInt(Some(number))) => number.to_be_bytes().to_vec(),
        Some(_) => return None,
    };
    Some([id.as_bytes().as_slice(), &number].concat())
}

fn parse_key(bytes: &[u8]) -> Option<(Uuid, Option<i64>)> {
    let (id, rest) = bytes.split_first_chunk()?;
    let number = <[u8; 8]>::try_from(rest).ok().map(i64::from_be_bytes);
    Some((Uuid::from_bytes(*id), number))
}

/// The rows of a table, on their way to the new form and back.
struct Rows<T>(T);

impl<T: Table> Rows<T> {
    /// What `step` counts.
    fn counted(step: Step) -> Condition {
        match step {
            Step::Move => T::lacking(),
            Step::Verify => Condition::all(),
            Step::Undo => T::having(),
            Step::Commit => {
                T::old().map_or_else(T::lacking, |old| Condition::any().add(T::lacking()).add(old))
            }
        }
    }

    /// What `step` looks at: a commit of digests alone at every row, since one that an earlier version changed beneath
    /// its digest does not show it.
    fn concerned(step: Step) -> Condition {
        match (step, T::old()) {
            (Step::Commit, None) => Condition::all(),
            _ => Self::counted(step),
        }
    }

    async fn write(tx: &Tx, rows: Vec<Model<T>>) -> Result<(), StoreError> {
        let (id, number) = T::key();
        let (key, columns): (Vec<_>, _) = (std::iter::once(id).chain(number).collect(), T::columns());
        let values = |row: Model<T>| key.iter().chain(&columns).map(|column| row.get(*column)).collect();
        let (expected, rows) = (rows.len() as u64, rows.into_iter().map(values).collect());
        let written = bulk::update::<T::Entity>(tx, &key, &columns, rows).await?;
        StoreError::check_rows(expected, written)
    }

    /// Seals those of the rows again that are not sound: returns the sound ones, and those.
    async fn repair(
        &self,
        tx: &Tx,
        rows: Vec<Model<T>>,
    ) -> Result<(Vec<Model<T>>, Vec<Model<T>>), MigrationError> {
        let sound = self.0.sound(tx, &rows).await?;
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
        let counted = T::Entity::find().filter(T::all()).filter(Self::counted(step));
        Ok(counted.count(tx.conn()).await.map_err(StoreError::from)?)
    }

    async fn batch(&self, tx: &Tx, step: Step, of: &Page) -> Result<Batch, MigrationError> {
        let of = &Page { after: of.after.clone(), limit: Ord::min(of.limit, T::MOST) };
        // Rows that somebody is changing are left to another pass. SQLite has one writer and no such locks.
        let query = of_page::<T>(Self::concerned(step), of);
        let query = query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        let mut rows = query.all(tx.conn()).await.map_err(StoreError::from)?;
        let mut batch = Batch::of(of, rows.len(), rows.last().and_then(key_of::<T>));
        let rows = match step {
            Step::Move => {
                self.0.seal(tx, &mut rows).await?;
                rows
            }
            Step::Verify => {
                batch.moved = rows.iter().filter(|row| T::lacks(row)).count() as u64;
                self.repair(tx, rows).await?.1
            }
            Step::Undo => {
                rows.iter_mut().for_each(T::unseal);
                rows
            }
            Step::Commit => {
                let (mut rows, repaired) = self.repair(tx, rows).await?;
                rows.extend(repaired);
                rows.iter_mut().try_for_each(|row| self.0.finish(row))?;
                rows
            }
        };
        Self::write(tx, rows).await?;
        Ok(batch)
    }
}
