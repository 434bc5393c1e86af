//! What devices without a browser ask for.

use portal_store::columns;
use sea_orm_migration::prelude::*;

use crate::store::device_authorization::{Column, Entity};
use crate::store::{account, client};

/// The migration.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table(Entity)
            .col(columns::bytes(Column::DeviceHash).primary_key())
            .col(columns::bytes(Column::UserHash).unique_key())
            .col(columns::id(Column::ClientId))
            .col(columns::text(Column::Terms))
            .col(columns::text(Column::State))
            .col(columns::id(Column::AccountId).null())
            .col(columns::id(Column::SessionId).null())
            .col(columns::text(Column::Acr).null())
            .col(columns::timestamp(Column::AuthenticatedAt).null())
            .col(columns::integer(Column::IntervalSeconds))
            .col(columns::timestamp(Column::PolledAt).null())
            .col(columns::timestamp(Column::ExpiresAt))
            .col(columns::integer(Column::Revision))
            .col(columns::bytes(Column::RowDigest))
            .foreign_key(
                ForeignKey::create()
                    .name("device_authorization_client")
                    .from(Entity, Column::ClientId)
                    .to(client::Entity, client::Column::Id)
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .foreign_key(
                ForeignKey::create()
                    .name("device_authorization_account")
                    .from(Entity, Column::AccountId)
                    .to(account::Entity, account::Column::Id)
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .take();
        manager.create_table(table).await?;
        for (name, column) in [
            ("device_authorization_client_id", Column::ClientId),
            ("device_authorization_account_id", Column::AccountId),
            ("device_authorization_expires_at", Column::ExpiresAt),
        ] {
            manager.create_index(Index::create().name(name).table(Entity).col(column).take()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Entity).take()).await
    }
}
