//! What a complete record says of a purpose, who decided for a subject, and subjects.
//!
//! Every new column may be NULL and the table is new, so the version before this one goes on working.

use portal_store::columns::{bytes, id, integer, text, timestamp};
use sea_orm_migration::prelude::*;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0004_record"
    }
}

fn columns() -> [(&'static str, ColumnDef); 3] {
    [
        ("purpose_revision", text("record").null().take()),
        ("purpose_revision", ColumnDef::new("material_change").boolean().null().take()),
        ("consent_event", bytes("sealed_delegation").null().take()),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in columns() {
            manager.alter_table(Table::alter().table(table).add_column(column).take()).await?;
        }
        manager.create_table(subject()).await?;
        let mut index = Index::create();
        index.name("subject_reference_index").table("subject").col("reference_index").unique();
        manager.create_index(index).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("subject").take()).await?;
        for (table, column) in columns().into_iter().rev() {
            let name = column.get_column_name();
            manager.alter_table(Table::alter().table(table).drop_column(name).take()).await?;
        }
        Ok(())
    }
}

fn subject() -> TableCreateStatement {
    Table::create()
        .table("subject")
        .col(id("subject_id").primary_key())
        .col(bytes("reference_index"))
        .col(integer("reference_generation"))
        .col(bytes("sealed_details"))
        .col(timestamp("created_at"))
        .col(bytes("row_digest").null())
        .take()
}
