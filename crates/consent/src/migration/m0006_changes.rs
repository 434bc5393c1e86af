//! Acknowledgements of changes by those who were told. Nothing that is there changes.

use portal_store::columns::{bytes, id, integer, text, timestamp};
use sea_orm_migration::prelude::*;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0006_changes"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("change_ack")
            .col(id("ack_id").primary_key())
            .col(text("caller"))
            .col(text("recipient"))
            .col(integer("position"))
            .col(timestamp("recorded_at"))
            .col(bytes("salt"))
            .col(bytes("row_digest").null())
            .take();
        manager.create_table(table).await?;
        for columns in [["caller", "recipient", "position"].as_slice(), &["recorded_at", "ack_id"]] {
            let mut index = Index::create();
            index.name(format!("change_ack_{}", columns.join("_"))).table("change_ack");
            for column in columns {
                index.col(*column);
            }
            manager.create_index(index.take()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("change_ack").take()).await
    }
}
