//! Sealed columns beside those in the clear, digests of rows, sealed replies, and the tables of data migrations and
//! integrity scans.
//!
//! Nothing that is there changes and every new column may be NULL, so the version before this one goes on working. The
//! columns in the clear stay until every installation has sealed them; a later migration drops them. Taking this one
//! back is for the time before that is committed: what is sealed only goes with its column.

use portal_store::columns::bytes;
use portal_store::idempotency;
use portal_upkeep::schema;
use sea_orm_migration::prelude::*;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0002_sealed_columns"
    }
}

/// Table, column: all of bytes.
const COLUMNS: [(&str, &str); 9] = [
    ("consent_event", "sealed_reason"),
    ("evidence", "sealed_content"),
    ("consent", "row_digest"),
    ("consent_event", "row_digest"),
    ("evidence", "row_digest"),
    ("notice", "row_digest"),
    ("notice_revision", "row_digest"),
    ("purpose", "row_digest"),
    ("purpose_revision", "row_digest"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        idempotency::add_sealed_replies(manager).await?;
        schema::create_tables(manager).await?;
        for (table, column) in COLUMNS {
            let alter = Table::alter().table(table).add_column(bytes(column).null().take()).take();
            manager.alter_table(alter).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in COLUMNS.into_iter().rev() {
            manager.alter_table(Table::alter().table(table).drop_column(column).take()).await?;
        }
        schema::drop_tables(manager).await?;
        idempotency::drop_sealed_replies(manager).await
    }
}
