//! The ledger's tables, created and dropped by the migrations of the service whose ledger it is.

use portal_store::columns;
use sea_orm_migration::sea_query::{ColumnDef, Index, Query, Table};
use sea_orm_migration::{DbErr, SchemaManager};

use crate::entity::{entry, head, pending, tile};

/// The id of the only row of the head table.
pub(crate) const HEAD: i64 = 1;

/// Creates the tables of an empty ledger.
///
/// # Errors
/// [`DbErr`], as migrations return it.
pub async fn create_tables(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut sequence = ColumnDef::new(pending::Column::Sequence);
    // SQLite must not give the number of a deleted row again: AUTOINCREMENT, which wants this very type.
    let sequence = match manager.get_database_backend() {
        sea_orm::DbBackend::Sqlite => sequence.integer(),
        _ => sequence.big_integer(),
    };
    let waiting = Table::create()
        .table(pending::Entity)
        .col(sequence.not_null().auto_increment().primary_key())
        .col(columns::integer(pending::Column::Kind))
        .col(columns::id(pending::Column::Reference))
        .col(columns::bytes(pending::Column::Commitment))
        .col(columns::timestamp(pending::Column::RecordedAt))
        .take();
    manager.create_table(waiting).await?;
    let entries = Table::create()
        .table(entry::Entity)
        .col(columns::integer(entry::Column::Position).primary_key())
        .col(columns::integer(entry::Column::Kind))
        .col(columns::id(entry::Column::Reference))
        .col(columns::bytes(entry::Column::Commitment))
        .col(columns::integer(entry::Column::Lookup))
        .col(columns::timestamp(entry::Column::RecordedAt))
        .take();
    manager.create_table(entries).await?;
    let by_reference = Index::create()
        .name("ledger_entry_reference_kind")
        .table(entry::Entity)
        .col(entry::Column::Reference)
        .col(entry::Column::Kind)
        .unique()
        .take();
    manager.create_index(by_reference).await?;
    let by_hash =
        Index::create().name("ledger_entry_lookup").table(entry::Entity).col(entry::Column::Lookup).take();
    manager.create_index(by_hash).await?;
    let tiles = Table::create()
        .table(tile::Entity)
        .col(columns::integer(tile::Column::Level))
        .col(columns::integer(tile::Column::Tile))
        .col(columns::bytes(tile::Column::Hashes))
        .primary_key(Index::create().col(tile::Column::Level).col(tile::Column::Tile))
        .take();
    manager.create_table(tiles).await?;
    create_head(manager).await
}

async fn create_head(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let heads = Table::create()
        .table(head::Entity)
        .col(columns::integer(head::Column::Id).primary_key())
        .col(columns::integer(head::Column::Size))
        .col(columns::integer(head::Column::SignedSize))
        .col(columns::text(head::Column::Checkpoint).null())
        .take();
    manager.create_table(heads).await?;
    let empty = Query::insert()
        .into_table(head::Entity)
        .columns([head::Column::Id, head::Column::Size, head::Column::SignedSize])
        .values_panic([HEAD.into(), 0_i64.into(), 0_i64.into()])
        .take();
    manager.execute(empty).await
}

/// Drops the tables: [`create_tables`] taken back.
///
/// # Errors
/// [`DbErr`], as migrations return it.
pub async fn drop_tables(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager.drop_table(Table::drop().table(head::Entity).take()).await?;
    manager.drop_table(Table::drop().table(tile::Entity).take()).await?;
    manager.drop_table(Table::drop().table(entry::Entity).take()).await?;
    manager.drop_table(Table::drop().table(pending::Entity).take()).await
}
