//! The ledger's tables, created and dropped by the migrations of the service whose ledger it is.

use portal_store::columns;
use sea_orm_migration::sea_query::{Query, Table};
use sea_orm_migration::{DbErr, SchemaManager};

use crate::entity::{entry, head};
use crate::log::HEAD;

/// Creates the tables of an empty ledger.
///
/// # Errors
/// [`DbErr`], as migrations return it.
pub async fn create_tables(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let entries = Table::create()
        .table(entry::Entity)
        .col(columns::integer(entry::Column::Position).primary_key())
        .col(columns::bytes(entry::Column::Commitment))
        .col(columns::bytes(entry::Column::Salt).null())
        .col(columns::timestamp(entry::Column::RecordedAt))
        .take();
    manager.create_table(entries).await?;
    let heads = Table::create()
        .table(head::Entity)
        .col(columns::integer(head::Column::Id).primary_key())
        .col(columns::integer(head::Column::Size))
        .col(columns::bytes(head::Column::Peaks))
        .take();
    manager.create_table(heads).await?;
    let empty = Query::insert()
        .into_table(head::Entity)
        .columns([head::Column::Id, head::Column::Size, head::Column::Peaks])
        .values_panic([HEAD.into(), 0_i64.into(), Vec::<u8>::new().into()])
        .take();
    manager.execute(empty).await
}

/// Drops the tables: [`create_tables`] taken back.
///
/// # Errors
/// [`DbErr`], as migrations return it.
pub async fn drop_tables(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager.drop_table(Table::drop().table(head::Entity).take()).await?;
    manager.drop_table(Table::drop().table(entry::Entity).take()).await
}
