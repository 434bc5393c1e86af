//! The table of the keys that sign tokens.

use portal_store::columns;
use sea_orm_migration::prelude::*;

use crate::store::signing_key::{Column, Entity};

/// The migration.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table(Entity)
            .col(columns::text(Column::KeyId).primary_key())
            .col(columns::text(Column::Algorithm))
            .col(columns::bytes(Column::SealedSeed).null())
            .col(columns::timestamp(Column::CreatedAt))
            .col(columns::timestamp(Column::NotBefore))
            .col(columns::timestamp(Column::SignUntil).null())
            .col(columns::timestamp(Column::VerifyUntil).null())
            .col(columns::timestamp(Column::EndedAt).null())
            .col(columns::integer(Column::Revision))
            .col(columns::bytes(Column::RowDigest))
            .take();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Entity).take()).await
    }
}
