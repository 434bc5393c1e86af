//! The tables of mail and what it is about: confirmed addresses, mailed tokens, mails that wait, recoveries that were asked
//! for; and of what is left of deleted accounts.

use portal_store::columns;
use sea_orm_migration::prelude::*;

use crate::store::{account, account_contact, account_tombstone, mail, mail_token, recovery_request};

/// The migration.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        contacts(manager).await?;
        tokens(manager).await?;
        mails(manager).await?;
        requests(manager).await?;
        tombstones(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(account_tombstone::Entity).take()).await?;
        manager.drop_table(Table::drop().table(recovery_request::Entity).take()).await?;
        manager.drop_table(Table::drop().table(mail::Entity).take()).await?;
        manager.drop_table(Table::drop().table(mail_token::Entity).take()).await?;
        manager.drop_table(Table::drop().table(account_contact::Entity).take()).await
    }
}

async fn contacts(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use account_contact::Column;
    let table = Table::create()
        .table(account_contact::Entity)
        .col(columns::id(Column::AccountId).primary_key())
        .col(columns::id(Column::SubjectId))
        .col(columns::timestamp(Column::VerifiedAt).null())
        .col(columns::bytes(Column::SealedPendingEmail).null())
        .col(columns::integer(Column::Revision))
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(&mut of_account("account_contact_account", account_contact::Entity, Column::AccountId))
        .take();
    manager.create_table(table).await
}

async fn tokens(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use mail_token::Column;
    let table = Table::create()
        .table(mail_token::Entity)
        .col(columns::bytes(Column::TokenHash).primary_key())
        .col(columns::id(Column::AccountId))
        .col(columns::id(Column::SubjectId))
        .col(columns::text(Column::Purpose))
        .col(columns::bytes(Column::SealedEmail))
        .col(columns::timestamp(Column::ExpiresAt))
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(&mut of_account("mail_token_account", mail_token::Entity, Column::AccountId))
        .take();
    manager.create_table(table).await?;
    index(manager, "mail_token_account_id", mail_token::Entity, Column::AccountId).await?;
    index(manager, "mail_token_expires_at", mail_token::Entity, Column::ExpiresAt).await
}

async fn mails(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use mail::Column;
    let table = Table::create()
        .table(mail::Entity)
        .col(columns::id(Column::Id).primary_key())
        .col(columns::id(Column::AccountId))
        .col(columns::id(Column::SubjectId))
        .col(columns::bytes(Column::SealedRecipient))
        .col(columns::bytes(Column::SealedContent))
        .col(columns::integer(Column::Failures))
        .col(columns::timestamp(Column::NextAt))
        .col(columns::timestamp(Column::ExpiresAt))
        .col(columns::bytes(Column::RowDigest))
        .foreign_key(&mut of_account("mail_account", mail::Entity, Column::AccountId))
        .take();
    manager.create_table(table).await?;
    index(manager, "mail_account_id", mail::Entity, Column::AccountId).await?;
    index(manager, "mail_next_at", mail::Entity, Column::NextAt).await
}

async fn requests(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use recovery_request::Column;
    let table = Table::create()
        .table(recovery_request::Entity)
        .col(columns::id(Column::Id).primary_key())
        .col(columns::bytes(Column::SealedEmail))
        .col(columns::timestamp(Column::RequestedAt))
        .col(columns::bytes(Column::RowDigest))
        .take();
    manager.create_table(table).await
}

async fn tombstones(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use account_tombstone::Column;
    let table = Table::create()
        .table(account_tombstone::Entity)
        .col(columns::id(Column::AccountId).primary_key())
        .col(columns::id(Column::SubjectId).unique_key())
        .col(columns::timestamp(Column::CreatedAt))
        .col(columns::timestamp(Column::DeletedAt))
        .col(columns::timestamp(Column::ErasedAt).null())
        .col(columns::bytes(Column::RowDigest))
        .take();
    manager.create_table(table).await?;
    index(manager, "account_tombstone_erased_at", account_tombstone::Entity, Column::ErasedAt).await
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
