//! Columns for what is sealed, digests of rows, and the tables of data migrations and integrity scans.
//!
//! Everything that is new may be NULL, and nothing old goes: the version before goes on working.

use portal_store::{columns, idempotency};
use sea_orm_migration::prelude::*;

use crate::store::{account, session, token_pair};

/// The migration.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in account_columns() {
            add(manager, account::Entity, column).await?;
        }
        for column in session_columns() {
            add(manager, session::Entity, column).await?;
        }
        add(manager, token_pair::Entity, columns::bytes(token_pair::Column::RowDigest)).await?;
        idempotency::add_sealed_replies(manager).await?;
        portal_upkeep::schema::create_tables(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        portal_upkeep::schema::drop_tables(manager).await?;
        idempotency::drop_sealed_replies(manager).await?;
        remove(manager, token_pair::Entity, &columns::bytes(token_pair::Column::RowDigest)).await?;
        for column in session_columns().iter().rev() {
            remove(manager, session::Entity, column).await?;
        }
        for column in account_columns().iter().rev() {
            remove(manager, account::Entity, column).await?;
        }
        Ok(())
    }
}

fn account_columns() -> [ColumnDef; 4] {
    use account::Column;
    [
        columns::bytes(Column::SealedEmail),
        columns::bytes(Column::SealedDisplayName),
        columns::integer(Column::EmailIndexGeneration),
        columns::bytes(Column::RowDigest),
    ]
}

fn session_columns() -> [ColumnDef; 3] {
    use session::Column;
    [
        columns::id(Column::SubjectId),
        columns::bytes(Column::SealedDeviceName),
        columns::bytes(Column::RowDigest),
    ]
}

/// One statement per column: SQLite takes no more.
async fn add(
    manager: &SchemaManager<'_>,
    table: impl IntoTableRef,
    mut column: ColumnDef,
) -> Result<(), DbErr> {
    manager.alter_table(Table::alter().table(table).add_column(column.null().take()).take()).await
}

async fn remove(
    manager: &SchemaManager<'_>,
    table: impl IntoTableRef,
    column: &ColumnDef,
) -> Result<(), DbErr> {
    let name = Alias::new(column.get_column_name());
    manager.alter_table(Table::alter().table(table).drop_column(name).take()).await
}
