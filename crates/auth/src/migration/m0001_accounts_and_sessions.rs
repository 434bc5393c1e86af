//! Accounts, sessions, tokens, revocations, request ids.

use portal_store::{columns, idempotency};
use sea_orm_migration::prelude::*;

use crate::store::{account, revocation, revocation_head, session, token_pair};

/// The migration.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        accounts(manager).await?;
        sessions(manager).await?;
        token_pairs(manager).await?;
        revocations(manager).await?;
        idempotency::create_table(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        idempotency::drop_table(manager).await?;
        manager.drop_table(Table::drop().table(revocation::Entity).take()).await?;
        manager.drop_table(Table::drop().table(revocation_head::Entity).take()).await?;
        manager.drop_table(Table::drop().table(token_pair::Entity).take()).await?;
        manager.drop_table(Table::drop().table(session::Entity).take()).await?;
        manager.drop_table(Table::drop().table(account::Entity).take()).await
    }
}

async fn accounts(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use account::Column;
    let table = Table::create()
        .table(account::Entity)
        .col(columns::id(Column::Id).primary_key())
        .col(columns::id(Column::SubjectId).unique_key())
        .col(columns::bytes(Column::EmailIndex).unique_key())
        .col(columns::text(Column::Email))
        .col(columns::text(Column::DisplayName))
        .col(columns::text(Column::PasswordHash))
        .col(columns::integer(Column::Roles))
        .col(columns::timestamp(Column::LockedUntil).null())
        .col(columns::integer(Column::Revision))
        .col(columns::timestamp(Column::CreatedAt))
        .col(columns::timestamp(Column::UpdatedAt))
        .take();
    manager.create_table(table).await
}

async fn sessions(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use session::Column;
    let table = Table::create()
        .table(session::Entity)
        .col(columns::id(Column::Id).primary_key())
        .col(columns::id(Column::AccountId))
        .col(columns::text(Column::DeviceName))
        .col(ColumnDef::new(Column::RememberMe).boolean().not_null())
        .col(columns::timestamp(Column::CreatedAt))
        .col(columns::timestamp(Column::LastUsedAt))
        .col(columns::timestamp(Column::AccessExpiresAt))
        .col(columns::timestamp(Column::RefreshExpiresAt))
        .col(columns::timestamp(Column::RevokedAt).null())
        .foreign_key(
            ForeignKey::create()
                .name("session_account")
                .from(session::Entity, Column::AccountId)
                .to(account::Entity, account::Column::Id),
        )
        .take();
    manager.create_table(table).await?;
    let by_account = Index::create()
        .name("session_account_id_last_used_at")
        .table(session::Entity)
        .col(Column::AccountId)
        .col(Column::LastUsedAt)
        .take();
    manager.create_index(by_account).await?;
    index(manager, "session_refresh_expires_at", session::Entity, Column::RefreshExpiresAt).await
}

async fn token_pairs(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use token_pair::Column;
    let table = Table::create()
        .table(token_pair::Entity)
        .col(columns::bytes(Column::RefreshHash).primary_key())
        .col(columns::bytes(Column::AccessHash).unique_key())
        .col(columns::id(Column::SessionId))
        .col(columns::timestamp(Column::IssuedAt))
        .col(columns::timestamp(Column::AccessExpiresAt))
        .col(columns::timestamp(Column::RefreshExpiresAt))
        .col(columns::timestamp(Column::SpentAt).null())
        .foreign_key(
            ForeignKey::create()
                .name("token_pair_session")
                .from(token_pair::Entity, Column::SessionId)
                .to(session::Entity, session::Column::Id)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .take();
    manager.create_table(table).await?;
    index(manager, "token_pair_session_id", token_pair::Entity, Column::SessionId).await?;
    index(manager, "token_pair_refresh_expires_at", token_pair::Entity, Column::RefreshExpiresAt).await
}

async fn revocations(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use revocation::Column;
    let table = Table::create()
        .table(revocation::Entity)
        .col(columns::integer(Column::Position).primary_key())
        .col(columns::timestamp(Column::RevokedAt))
        .col(columns::text(Column::Kind))
        .col(columns::id(Column::TargetId))
        .take();
    manager.create_table(table).await?;
    let head = Table::create()
        .table(revocation_head::Entity)
        .col(columns::integer(revocation_head::Column::Id).primary_key())
        .col(columns::integer(revocation_head::Column::Position))
        .take();
    manager.create_table(head).await?;
    let first = Query::insert()
        .into_table(revocation_head::Entity)
        .columns([revocation_head::Column::Id, revocation_head::Column::Position])
        .values_panic([1.into(), 0.into()])
        .take();
    manager.execute(first).await
}

async fn index(
    manager: &SchemaManager<'_>,
    name: &str,
    table: impl IntoTableRef,
    column: impl IntoIndexColumn,
) -> Result<(), DbErr> {
    manager.create_index(Index::create().name(name).table(table).col(column).take()).await
}
