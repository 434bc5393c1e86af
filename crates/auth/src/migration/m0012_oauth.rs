//! The tables of OAuth clients: who they are, what they ask for and what they were given.

use portal_store::columns;
use sea_orm_migration::prelude::*;

use crate::store::{
    account, authorization_code, authorization_request, client, client_approval, client_token, grant_token,
    session, session_grant,
};

/// The migration.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        clients(manager).await?;
        requests(manager).await?;
        codes(manager).await?;
        grants(manager).await?;
        grant_tokens(manager).await?;
        client_tokens(manager).await?;
        approvals(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(client_approval::Entity).take()).await?;
        manager.drop_table(Table::drop().table(client_token::Entity).take()).await?;
        manager.drop_table(Table::drop().table(grant_token::Entity).take()).await?;
        manager.drop_table(Table::drop().table(session_grant::Entity).take()).await?;
        manager.drop_table(Table::drop().table(authorization_code::Entity).take()).await?;
        manager.drop_table(Table::drop().table(authorization_request::Entity).take()).await?;
        manager.drop_table(Table::drop().table(client::Entity).take()).await
    }
}

async fn clients(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use client::Column;
    let table = Table::create()
        .table(client::Entity)
        .col(columns::id(Column::Id).primary_key())
        .col(columns::text(Column::Kind))
        .col(columns::text(Column::Settings))
        .col(columns::bytes(Column::SecretHash).null())
        .col(columns::bytes(Column::PreviousSecretHash).null())
        .col(columns::timestamp(Column::PreviousSecretExpiresAt).null())
        .col(columns::integer(Column::Revision))
        .col(columns::timestamp(Column::CreatedAt))
        .col(columns::timestamp(Column::UpdatedAt))
        .col(columns::bytes(Column::RowDigest))
        .take();
    manager.create_table(table).await
}

async fn requests(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use authorization_request::Column;
    let table = Table::create()
        .table(authorization_request::Entity)
        .col(columns::bytes(Column::RequestHash).primary_key())
        .col(columns::id(Column::ClientId))
        .col(columns::text(Column::Terms))
        .col(columns::timestamp(Column::StartedAt))
        .col(columns::timestamp(Column::ExpiresAt))
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(&mut of_client(
            "authorization_request_client",
            authorization_request::Entity,
            Column::ClientId,
        ))
        .take();
    manager.create_table(table).await?;
    let (table, column) = (authorization_request::Entity, Column::ExpiresAt);
    index(manager, "authorization_request_expires_at", table, column).await?;
    index(manager, "authorization_request_client_id", table, Column::ClientId).await
}

async fn codes(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use authorization_code::Column;
    let entity = authorization_code::Entity;
    let table = Table::create()
        .table(entity)
        .col(columns::bytes(Column::CodeHash).primary_key())
        .col(columns::id(Column::ClientId))
        .col(columns::id(Column::AccountId))
        .col(columns::text(Column::Terms))
        .col(columns::text(Column::Acr))
        .col(columns::timestamp(Column::AuthenticatedAt))
        .col(columns::timestamp(Column::ExpiresAt))
        .col(columns::id(Column::SessionId).null())
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(&mut of_client("authorization_code_client", entity, Column::ClientId))
        .foreign_key(&mut of_account("authorization_code_account", entity, Column::AccountId))
        .take();
    manager.create_table(table).await?;
    index(manager, "authorization_code_expires_at", entity, Column::ExpiresAt).await?;
    index(manager, "authorization_code_client_id", entity, Column::ClientId).await?;
    index(manager, "authorization_code_account_id", entity, Column::AccountId).await
}

async fn grants(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use session_grant::Column;
    let table = Table::create()
        .table(session_grant::Entity)
        .col(columns::id(Column::SessionId).primary_key())
        .col(columns::id(Column::ClientId))
        .col(columns::text(Column::Issuer))
        .col(columns::text(Column::Scopes))
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(&mut of_session("session_grant_session", session_grant::Entity, Column::SessionId))
        .foreign_key(&mut of_client("session_grant_client", session_grant::Entity, Column::ClientId))
        .take();
    manager.create_table(table).await?;
    index(manager, "session_grant_client_id", session_grant::Entity, Column::ClientId).await
}

async fn grant_tokens(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use grant_token::Column;
    let entity = grant_token::Entity;
    let table = Table::create()
        .table(entity)
        .col(columns::bytes(Column::RefreshHash).primary_key())
        .col(columns::bytes(Column::AccessHash).unique_key())
        .col(columns::id(Column::SessionId))
        .col(columns::timestamp(Column::IssuedAt))
        .col(columns::timestamp(Column::AccessExpiresAt))
        .col(columns::timestamp(Column::RefreshExpiresAt))
        .col(columns::timestamp(Column::SpentAt).null())
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(&mut of_session("grant_token_session", entity, Column::SessionId))
        .take();
    manager.create_table(table).await?;
    index(manager, "grant_token_session_id", entity, Column::SessionId).await?;
    index(manager, "grant_token_refresh_expires_at", entity, Column::RefreshExpiresAt).await
}

async fn client_tokens(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use client_token::Column;
    let entity = client_token::Entity;
    let table = Table::create()
        .table(entity)
        .col(columns::bytes(Column::AccessHash).primary_key())
        .col(columns::id(Column::ClientId))
        .col(columns::text(Column::Scopes))
        .col(columns::timestamp(Column::IssuedAt))
        .col(columns::timestamp(Column::ExpiresAt))
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(&mut of_client("client_token_client", entity, Column::ClientId))
        .take();
    manager.create_table(table).await?;
    index(manager, "client_token_client_id", entity, Column::ClientId).await?;
    index(manager, "client_token_expires_at", entity, Column::ExpiresAt).await
}

async fn approvals(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use client_approval::Column;
    let entity = client_approval::Entity;
    let table = Table::create()
        .table(entity)
        .col(columns::id(Column::AccountId))
        .col(columns::id(Column::ClientId))
        .col(columns::text(Column::Scopes))
        .col(columns::integer(Column::Revision))
        .col(columns::timestamp(Column::ApprovedAt))
        .col(columns::bytes(Column::RowDigest))
        .primary_key(Index::create().col(Column::AccountId).col(Column::ClientId))
        .foreign_key(&mut of_client("client_approval_client", entity, Column::ClientId))
        .foreign_key(&mut of_account("client_approval_account", entity, Column::AccountId))
        .take();
    manager.create_table(table).await?;
    index(manager, "client_approval_client_id", entity, Column::ClientId).await
}

fn of_client(name: &str, table: impl IntoTableRef, column: impl IntoIden) -> ForeignKeyCreateStatement {
    cascading(name, (table, column), (client::Entity, client::Column::Id))
}

fn of_account(name: &str, table: impl IntoTableRef, column: impl IntoIden) -> ForeignKeyCreateStatement {
    cascading(name, (table, column), (account::Entity, account::Column::Id))
}

fn of_session(name: &str, table: impl IntoTableRef, column: impl IntoIden) -> ForeignKeyCreateStatement {
    cascading(name, (table, column), (session::Entity, session::Column::Id))
}

fn cascading(
    name: &str,
    (table, column): (impl IntoTableRef, impl IntoIden),
    (to, key): (impl IntoTableRef, impl IntoIden),
) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(name)
        .from(table, column)
        .to(to, key)
        .on_delete(ForeignKeyAction::Cascade)
        .take()
}

async fn index(
    manager: &SchemaManager<'_>,
    name: &str,
    table: impl IntoTableRef,
    column: impl IntoIndexColumn,
) -> Result<(), DbErr> {
    manager.create_index(Index::create().name(name).table(table).col(column).take()).await
}
