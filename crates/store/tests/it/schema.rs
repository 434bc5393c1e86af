//! A schema for these tests: a named counter, and idempotency keys.

use async_trait::async_trait;
use portal_store::{Database, ReadTx, StoreError, Tx, columns, idempotency, migrate};
use sea_orm::entity::prelude::*;
use sea_orm::{ActiveValue::Set, sea_query::Expr};
use sea_orm_migration::sea_query::{Index, Table};
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

pub mod counter {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
    #[sea_orm(table_name = "counter")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub name: String,
        pub value: i64,
        pub touched_at: i64,
        pub extra: Vec<u8>,
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
use counter::Column;

pub struct First;

impl MigrationName for First {
    fn name(&self) -> &'static str {
        "m0001_first"
    }
}

#[async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        idempotency::create_table(manager).await?;
        let table = Table::create()
            .table(counter::Entity)
            .col(columns::id(Column::Id).primary_key())
            .col(columns::text(Column::Name))
            .col(columns::integer(Column::Value))
            .col(columns::timestamp(Column::TouchedAt))
            .col(columns::bytes(Column::Extra))
            .take();
        manager.create_table(table).await?;
        let index =
            Index::create().name("counter_name").table(counter::Entity).col(Column::Name).unique().take();
        manager.create_index(index).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(counter::Entity).take()).await?;
        idempotency::drop_table(manager).await
    }
}

pub struct Migrations;

#[async_trait]
impl MigratorTrait for Migrations {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First)]
    }
}

pub async fn migrated(database: &portal_testkit::TestDatabase) -> Database {
    let database = database.connect().await;
    migrate::up::<Migrations>(&database).await.unwrap();
    database
}

pub fn row(id: u128, name: &str) -> counter::Model {
    let id = Uuid::from_u128(id);
    counter::Model { id, name: name.to_owned(), value: 0, touched_at: i64::MAX, extra: vec![0, 255] }
}

pub async fn insert(tx: &Tx, row: counter::Model) -> Result<(), StoreError> {
    let row = counter::ActiveModel {
        id: Set(row.id),
        name: Set(row.name),
        value: Set(row.value),
        touched_at: Set(row.touched_at),
        extra: Set(row.extra),
    };
    counter::Entity::insert(row).exec(tx.conn()).await?;
    Ok(())
}

pub async fn find(tx: &ReadTx, name: &str) -> Result<Option<counter::Model>, StoreError> {
    Ok(counter::Entity::find().filter(Column::Name.eq(name)).one(tx.conn()).await?)
}

/// Reads, then writes what it read plus one: loses updates unless transactions are serialisable.
pub async fn increment(tx: &Tx, name: &str) -> Result<i64, StoreError> {
    let value = find(tx, name).await?.unwrap().value + 1;
    let update = counter::Entity::update_many().col_expr(Column::Value, Expr::value(value));
    let result = update.filter(Column::Name.eq(name)).exec(tx.conn()).await?;
    StoreError::check_rows(1, result.rows_affected)?;
    Ok(value)
}

pub async fn value(database: &Database, name: &str) -> Option<i64> {
    let read = database.read("value", |tx| async move { find(&tx, name).await });
    read.await.unwrap().map(|row| row.value)
}
