//! Sealed columns beside those in the clear, digests of rows, sealed replies, and the tables of data migrations and
//! integrity scans.
//!
//! Nothing that is there changes and every new column may be NULL, so the version before this one goes on working. The
//! columns in the clear stay until every installation has sealed them; a later migration drops them. Taking this one
//! back is for the time before that is committed: what is sealed only goes with its column.

use portal_store::columns::bytes;
use portal_store::idempotency;
use portal_upkeep::schema;
use sea_orm_migration::sea_query::Table;
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager};

pub(super) struct SealedRecords;

impl MigrationName for SealedRecords {
    fn name(&self) -> &'static str {
        "m0002_sealed_records"
    }
}

/// Table, column: all of bytes.
const COLUMNS: [(&str, &str); 11] = [
    ("batch", "sealed"),
    ("record_value", "measure"),
    ("subject_value", "measure"),
    ("append", "row_digest"),
    ("batch", "row_digest"),
    ("dataset", "row_digest"),
    ("exclusion", "row_digest"),
    ("record_value", "row_digest"),
    ("subject_value", "row_digest"),
    ("valuation", "row_digest"),
    ("valuation", "result_digest"),
];

#[async_trait::async_trait]
impl MigrationTrait for SealedRecords {
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
