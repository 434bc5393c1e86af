//! How far imports are; and an index by which consents are found that have ended. Nothing that is there changes, so the
//! version before this one goes on working.

use portal_store::columns::{bytes, id, integer, text, timestamp};
use sea_orm_migration::prelude::*;

pub(super) struct Migration;

/// By which ended consents are found.
const INDEX: &str = "consent_status_expires_at_consent_id";

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0005_imports"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(import()).await?;
        let ended = Index::create()
            .name(INDEX)
            .table("consent")
            .col("status")
            .col("expires_at")
            .col("consent_id")
            .take();
        manager.create_index(ended).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_index(Index::drop().name(INDEX).table("consent").to_owned()).await?;
        manager.drop_table(Table::drop().table("consent_import").take()).await
    }
}

fn import() -> TableCreateStatement {
    Table::create()
        .table("consent_import")
        .col(id("import_id").primary_key())
        .col(text("caller"))
        .col(integer("next_record_index"))
        .col(integer("recorded"))
        .col(integer("refused"))
        .col(bytes("refusals"))
        .col(integer("version"))
        .col(timestamp("created_at"))
        .col(timestamp("updated_at"))
        .col(bytes("row_digest").null())
        .take()
}
