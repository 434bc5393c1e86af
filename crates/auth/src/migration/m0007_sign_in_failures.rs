//! The table of sign-ins that failed.

use portal_store::columns;
use sea_orm_migration::prelude::*;

use crate::store::sign_in_failure::{Column, Entity};

/// The migration.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table(Entity)
            .col(columns::bytes(Column::AddressHash).primary_key())
            .col(columns::integer(Column::Count))
            .col(columns::timestamp(Column::LastAt))
            .col(columns::timestamp(Column::LockedUntil).null())
            .col(columns::bytes(Column::RowDigest))
            .take();
        manager.create_table(table).await?;
        let by_age = Index::create().name("sign_in_failure_last_at").table(Entity).col(Column::LastAt).take();
        manager.create_index(by_age).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Entity).take()).await
    }
}
