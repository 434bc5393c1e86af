//! The tables of passkeys, and of the ceremonies in which they are made and used.

use portal_store::columns;
use sea_orm_migration::prelude::*;

use crate::store::{account, passkey, passkey_ceremony};

/// The migration.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        passkeys(manager).await?;
        ceremonies(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(passkey_ceremony::Entity).take()).await?;
        manager.drop_table(Table::drop().table(passkey::Entity).take()).await
    }
}

async fn passkeys(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use passkey::Column;
    let table = Table::create()
        .table(passkey::Entity)
        .col(columns::id(Column::Id).primary_key())
        .col(columns::id(Column::AccountId))
        .col(columns::id(Column::SubjectId))
        .col(columns::bytes(Column::CredentialHash).unique_key())
        .col(columns::bytes(Column::SealedCredentialId))
        .col(columns::bytes(Column::SealedDisplayName).null())
        .col(columns::bytes(Column::SealedCredential))
        .col(columns::timestamp(Column::ConfirmedAt))
        .col(columns::timestamp(Column::LastUsedAt).null())
        .col(columns::integer(Column::Revision))
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(&mut of_account("passkey_account", passkey::Entity, Column::AccountId))
        .take();
    manager.create_table(table).await?;
    index(manager, "passkey_account_id", passkey::Entity, Column::AccountId).await
}

async fn ceremonies(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use passkey_ceremony::Column;
    let entity = passkey_ceremony::Entity;
    let table = Table::create()
        .table(entity)
        .col(columns::bytes(Column::CeremonyHash).primary_key())
        .col(columns::text(Column::Awaits))
        .col(columns::id(Column::AccountId).null())
        .col(columns::bytes(Column::SealedState))
        .col(columns::timestamp(Column::ExpiresAt))
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(&mut of_account("passkey_ceremony_account", entity, Column::AccountId))
        .take();
    manager.create_table(table).await?;
    index(manager, "passkey_ceremony_account_id", entity, Column::AccountId).await?;
    index(manager, "passkey_ceremony_expires_at", entity, Column::ExpiresAt).await
}

fn of_account(name: &str, table: impl IntoTableRef, column: impl IntoIden) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(name)
        .from(table, column)
        .to(account::Entity, account::Column::Id)
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
