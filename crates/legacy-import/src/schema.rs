//! The schema of the import's database, which is its own: the database of a service is refused, since its migrations
//! are not known here.

use async_trait::async_trait;
use portal_store::columns;
use sea_orm_migration::sea_query::Table;
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

use crate::{imported, refusal, store};

/// The migrations, oldest first.
pub struct Migrations;

impl MigratorTrait for Migrations {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First), Box::new(portal_upkeep::schema::RowsUnchecked)]
    }
}

struct First;

impl MigrationName for First {
    fn name(&self) -> &'static str {
        "m0001_legacy_import"
    }
}

#[async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        portal_upkeep::schema::create_tables(manager).await?;
        store::schema::create_table(manager).await?;
        create_imported(manager).await?;
        create_refusals(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(refusal::entity::Entity).take()).await?;
        manager.drop_table(Table::drop().table(imported::entity::Entity).take()).await?;
        store::schema::drop_table(manager).await?;
        portal_upkeep::schema::drop_tables(manager).await
    }
}

async fn create_imported(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use imported::entity::{Column, Entity};
    let table = Table::create()
        .table(Entity)
        .col(columns::id(Column::RecordId).primary_key())
        .col(columns::id(Column::SubjectId))
        .col(columns::text(Column::SourceTable))
        .col(columns::text(Column::SourceField))
        .col(columns::bytes(Column::Value))
        .col(columns::integer(Column::Version))
        .col(columns::timestamp(Column::ImportedAt))
        .col(columns::timestamp(Column::VerifiedAt).null())
        .col(columns::bytes(Column::RowDigest))
        .take();
    manager.create_table(table).await
}

async fn create_refusals(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use refusal::entity::{Column, Entity};
    let table = Table::create()
        .table(Entity)
        .col(columns::id(Column::RecordId).primary_key())
        .col(columns::text(Column::Cause))
        .col(columns::timestamp(Column::RefusedAt))
        .take();
    manager.create_table(table).await
}
