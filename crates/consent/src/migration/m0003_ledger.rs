//! The ledger, and what receipts are made of. Nothing that is there changes, so the version before this one goes on working;
//! what it records meanwhile has neither entry nor receipt.

use portal_ledger::schema;
use portal_store::columns::{bytes, id, timestamp};
use sea_orm_migration::prelude::*;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0003_ledger"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        schema::create_tables(manager).await?;
        manager.create_table(receipt()).await?;
        let by_subject = Index::create()
            .name("receipt_subject_id_recorded_at_event_id")
            .table("receipt")
            .col("subject_id")
            .col("recorded_at")
            .col("event_id")
            .take();
        manager.create_index(by_subject).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("receipt").take()).await?;
        schema::drop_tables(manager).await
    }
}

fn receipt() -> TableCreateStatement {
    Table::create()
        .table("receipt")
        .col(id("event_id").primary_key())
        .col(id("consent_id"))
        .col(id("subject_id"))
        .col(timestamp("recorded_at"))
        .col(bytes("sealed_payload").null())
        .col(bytes("service_payload").null())
        .col(bytes("row_digest").null())
        .take()
}
