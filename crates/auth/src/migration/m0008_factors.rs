//! The tables of second factors, of sign-ins that wait for one, and of how people of sessions proved who they are.

use portal_store::columns;
use sea_orm_migration::prelude::*;

use crate::store::{account, factor, mfa_challenge, session, session_context};

/// The migration.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        factors(manager).await?;
        challenges(manager).await?;
        contexts(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(session_context::Entity).take()).await?;
        manager.drop_table(Table::drop().table(mfa_challenge::Entity).take()).await?;
        manager.drop_table(Table::drop().table(factor::Entity).take()).await
    }
}

async fn factors(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use factor::Column;
    let table = Table::create()
        .table(factor::Entity)
        .col(columns::id(Column::Id).primary_key())
        .col(columns::id(Column::AccountId))
        .col(columns::id(Column::SubjectId))
        .col(columns::text(Column::Kind))
        .col(columns::bytes(Column::SealedDisplayName).null())
        .col(columns::bytes(Column::SealedSecret))
        .col(columns::timestamp(Column::ConfirmedAt).null())
        .col(columns::timestamp(Column::PendingUntil).null())
        .col(columns::timestamp(Column::LastUsedAt).null())
        .col(columns::integer(Column::LastStep).null())
        .col(columns::integer(Column::Revision))
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(&mut of_account("factor_account", factor::Entity, Column::AccountId))
        .take();
    manager.create_table(table).await?;
    index(manager, "factor_account_id", factor::Entity, Column::AccountId).await?;
    index(manager, "factor_pending_until", factor::Entity, Column::PendingUntil).await
}

async fn challenges(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use mfa_challenge::Column;
    let table = Table::create()
        .table(mfa_challenge::Entity)
        .col(columns::bytes(Column::ChallengeHash).primary_key())
        .col(columns::id(Column::AccountId))
        .col(columns::integer(Column::AccountRevision))
        .col(columns::id(Column::SubjectId))
        .col(columns::boolean(Column::RememberMe))
        .col(columns::bytes(Column::SealedDeviceName).null())
        .col(columns::timestamp(Column::ExpiresAt))
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(&mut of_account("mfa_challenge_account", mfa_challenge::Entity, Column::AccountId))
        .take();
    manager.create_table(table).await?;
    index(manager, "mfa_challenge_account_id", mfa_challenge::Entity, Column::AccountId).await?;
    index(manager, "mfa_challenge_expires_at", mfa_challenge::Entity, Column::ExpiresAt).await
}

async fn contexts(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use session_context::Column;
    let table = Table::create()
        .table(session_context::Entity)
        .col(columns::id(Column::SessionId).primary_key())
        .col(columns::id(Column::SubjectId))
        .col(columns::text(Column::Acr))
        .col(columns::timestamp(Column::AuthenticatedAt))
        .col(columns::bytes(Column::SealedLastNetwork).null())
        .col(columns::integer(Column::Revision))
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(
            ForeignKey::create()
                .name("session_context_session")
                .from(session_context::Entity, Column::SessionId)
                .to(session::Entity, session::Column::Id)
                .on_delete(ForeignKeyAction::Cascade),
        )
        .take();
    manager.create_table(table).await
}

fn of_account(name: &str, table: impl IntoTableRef, column: impl IntoIden) -> ForeignKeyCreateStatement {
    let account = (account::Entity, account::Column::Id);
    ForeignKey::create()
        .name(name)
        .from(table, column)
        .to(account.0, account.1)
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
