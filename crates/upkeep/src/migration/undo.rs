//! The log of old forms, for migrations that overwrite them: what a row was before it was moved, byte for byte.
//!
//! A migration [`remember`]s the old bytes of each row in the batch that moves it, [`recall`]s them to undo it, and
//! [`forget`]s them when they were put back or the migration is committed. The old bytes are kept as they are: what was
//! sealed stays sealed, what was plain stays plain.

use portal_store::{ReadTx, StoreError, Tx, bulk, columns};
use sea_orm::entity::prelude::*;
use sea_orm::{PaginatorTrait, QueryOrder, QuerySelect};
use sea_orm_migration::SchemaManager;
use sea_orm_migration::sea_query::{Index, Table};

use crate::Page;

mod entity {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel)]
    #[sea_orm(table_name = "migration_undo")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub migration: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub row_key: Vec<u8>,
        pub old: Vec<u8>,
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
use entity::{Column, Entity};

/// A row as it was.
#[derive(Clone, Eq, PartialEq)]
pub struct Old {
    /// Its key.
    pub key: Vec<u8>,
    /// What it held; in the form that its migration understands.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Old {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Old({} bytes)", self.bytes.len())
    }
}

/// Keeps what the rows held.
///
/// # Errors
/// [`StoreError::Duplicate`] if one of them was moved already: it would be moved twice.
pub async fn remember(tx: &Tx, migration: &str, rows: Vec<Old>) -> Result<(), StoreError> {
    let values = rows.into_iter().map(|old| vec![migration.into(), old.key.into(), old.bytes.into()]);
    bulk::insert::<Entity>(tx, &[Column::Migration, Column::RowKey, Column::Old], values.collect()).await
}

/// Keeps what rows hold in the old form, instead of what was kept of them before: for the service, which writes both forms
/// while the migration runs.
///
/// # Errors
/// [`StoreError`].
pub async fn replace(tx: &Tx, migration: &str, rows: Vec<Old>) -> Result<(), StoreError> {
    forget(tx, migration, rows.iter().map(|old| old.key.clone()).collect()).await?;
    remember(tx, migration, rows).await
}

/// What was kept of the rows of `page`, in the order of their keys.
///
/// # Errors
/// [`StoreError`].
pub async fn recall(tx: &ReadTx, migration: &str, page: &Page) -> Result<Vec<Old>, StoreError> {
    let mut query = Entity::find().filter(Column::Migration.eq(migration));
    if let Some(after) = &page.after {
        query = query.filter(Column::RowKey.gt(after.clone()));
    }
    let rows = query.order_by_asc(Column::RowKey).limit(u64::from(page.limit)).all(tx.conn()).await?;
    Ok(rows.into_iter().map(|row| Old { key: row.row_key, bytes: row.old }).collect())
}

/// How many rows are kept.
///
/// # Errors
/// [`StoreError`].
pub async fn count(tx: &ReadTx, migration: &str) -> Result<u64, StoreError> {
    Ok(Entity::find().filter(Column::Migration.eq(migration)).count(tx.conn()).await?)
}

/// Forgets what the rows with these keys held, and says how many there were.
///
/// # Errors
/// [`StoreError`].
pub async fn forget(tx: &Tx, migration: &str, keys: Vec<Vec<u8>>) -> Result<u64, StoreError> {
    let keys = keys.into_iter().map(|key| vec![migration.into(), key.into()]).collect();
    bulk::delete::<Entity>(tx, &[Column::Migration, Column::RowKey], keys).await
}

/// Creates the table.
pub(crate) async fn create(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Entity)
        .col(columns::text(Column::Migration))
        .col(columns::bytes(Column::RowKey))
        .col(columns::bytes(Column::Old))
        .primary_key(Index::create().col(Column::Migration).col(Column::RowKey))
        .take();
    manager.create_table(table).await
}

/// Drops the table.
pub(crate) async fn drop(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager.drop_table(Table::drop().table(Entity).take()).await
}
