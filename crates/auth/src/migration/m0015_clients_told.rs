//! The tables by which clients are told that somebody is signed out; what is registered of clients beside their settings; the keys
//! that their tokens are bound to.

use portal_store::columns;
use sea_orm_migration::prelude::*;

use crate::store::{account, client, client_option, client_sign_in, logout_notice, token_binding};

/// The migration.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        options(manager).await?;
        sign_ins(manager).await?;
        notices(manager).await?;
        bindings(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(token_binding::Entity).take()).await?;
        manager.drop_table(Table::drop().table(logout_notice::Entity).take()).await?;
        manager.drop_table(Table::drop().table(client_sign_in::Entity).take()).await?;
        manager.drop_table(Table::drop().table(client_option::Entity).take()).await
    }
}

async fn options(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use client_option::{Column, Entity};
    let table = Table::create()
        .table(Entity)
        .col(columns::id(Column::ClientId).primary_key())
        .col(columns::text(Column::Options))
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(&mut of_client("client_option_client", Entity, Column::ClientId))
        .take();
    manager.create_table(table).await
}

/// No key leads to `session`: of the two that a row names either may be gone before the other.
async fn sign_ins(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use client_sign_in::{Column, Entity};
    let table = Table::create()
        .table(Entity)
        .col(columns::id(Column::SessionId).primary_key())
        .col(columns::id(Column::OriginSessionId))
        .col(columns::id(Column::AccountId))
        .col(columns::id(Column::ClientId))
        .col(columns::text(Column::Issuer))
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(&mut of_client("client_sign_in_client", Entity, Column::ClientId))
        .foreign_key(
            ForeignKey::create()
                .name("client_sign_in_account")
                .from(Entity, Column::AccountId)
                .to(account::Entity, account::Column::Id)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .take();
    manager.create_table(table).await?;
    index(manager, "client_sign_in_origin", Entity, &[Column::OriginSessionId, Column::ClientId]).await?;
    index(manager, "client_sign_in_account_id", Entity, &[Column::AccountId]).await?;
    index(manager, "client_sign_in_client_id", Entity, &[Column::ClientId]).await
}

async fn notices(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use logout_notice::{Column, Entity};
    let table = Table::create()
        .table(Entity)
        .col(columns::id(Column::Id).primary_key())
        .col(columns::id(Column::ClientId))
        .col(columns::id(Column::AccountId))
        .col(columns::id(Column::SessionId))
        .col(columns::text(Column::Issuer))
        .col(columns::integer(Column::Failures))
        .col(columns::timestamp(Column::NextAt))
        .col(columns::timestamp(Column::ExpiresAt))
        .col(columns::integer(Column::Revision))
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(&mut of_client("logout_notice_client", Entity, Column::ClientId))
        .take();
    manager.create_table(table).await?;
    index(manager, "logout_notice_next_at", Entity, &[Column::NextAt]).await?;
    index(manager, "logout_notice_client_next_at", Entity, &[Column::ClientId, Column::NextAt]).await
}

async fn bindings(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use token_binding::{Column, Entity};
    let table = Table::create()
        .table(Entity)
        .col(columns::bytes(Column::TokenHash).primary_key())
        .col(columns::bytes(Column::Jkt))
        .col(columns::timestamp(Column::ExpiresAt))
        .col(columns::bytes(Column::RowDigest))
        .take();
    manager.create_table(table).await?;
    index(manager, "token_binding_expires_at", Entity, &[Column::ExpiresAt]).await
}

fn of_client(name: &str, table: impl IntoTableRef, column: impl IntoIden) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(name)
        .from(table, column)
        .to(client::Entity, client::Column::Id)
        .on_delete(ForeignKeyAction::Cascade)
        .take()
}

async fn index<C: IntoIndexColumn + Copy>(
    manager: &SchemaManager<'_>,
    name: &str,
    table: impl IntoTableRef,
    columns: &[C],
) -> Result<(), DbErr> {
    let mut index = Index::create().name(name).table(table).take();
    for column in columns {
        index.col(*column);
    }
    manager.create_index(index).await
}
