//! The table, for the migrations of whoever has it.

use portal_store::columns;
use sea_orm_migration::sea_query::Table;
use sea_orm_migration::{DbErr, SchemaManager};

use super::entity::{Column, Entity};

/// Creates `legacy_record`.
///
/// # Errors
/// [`DbErr`], as migrations return it.
pub async fn create_table(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Entity)
        .col(columns::id(Column::RecordId).primary_key())
        .col(columns::id(Column::SubjectId))
        .col(columns::text(Column::SourceTable))
        .col(columns::text(Column::SourceField))
        .col(columns::bytes(Column::KemKeyId))
        .col(columns::bytes(Column::KemCiphertext))
        .col(columns::bytes(Column::Nonce))
        .col(columns::bytes(Column::Sealed))
        .col(columns::bytes(Column::SignerKeyId))
        .col(columns::bytes(Column::Signature))
        .take();
    manager.create_table(table).await
}

/// Drops it: [`create_table`] taken back.
///
/// # Errors
/// [`DbErr`], as migrations return it.
pub async fn drop_table(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager.drop_table(Table::drop().table(Entity).take()).await
}
