//! Epoch keys, subject keys, keys of the service, the shred ledger and what happened to them.

use portal_store::columns::{bytes, id, integer, text, timestamp};
use portal_store::leases;
use sea_orm::entity::prelude::*;
use sea_orm_migration::sea_query::{ColumnDef, ConditionalStatement as _, ExprTrait as _, Index, Table};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::store::entity::{epoch, event, head, secret, shred, subject};
use crate::store::state::KeyState;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0001_keys"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        heads(manager).await?;
        epochs(manager).await?;
        subjects(manager).await?;
        secrets(manager).await?;
        shreds(manager).await?;
        events(manager).await?;
        leases::create_table(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        leases::drop_table(manager).await?;
        manager.drop_table(Table::drop().table(event::Entity).take()).await?;
        manager.drop_table(Table::drop().table(shred::Entity).take()).await?;
        manager.drop_table(Table::drop().table(secret::Entity).take()).await?;
        manager.drop_table(Table::drop().table(subject::Entity).take()).await?;
        manager.drop_table(Table::drop().table(epoch::Entity).take()).await?;
        manager.drop_table(Table::drop().table(head::Entity).take()).await
    }
}

async fn heads(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(head::Entity)
        .col(id(head::Column::TenantId).primary_key())
        .col(text(head::Column::Service))
        .col(integer(head::Column::Revision))
        .col(ColumnDef::new(head::Column::RewrapWanted).boolean().not_null())
        .col(integer(head::Column::ShredPosition))
        .col(bytes(head::Column::ShredLink))
        .take();
    manager.create_table(table).await
}

async fn epochs(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(epoch::Entity)
        .col(id(epoch::Column::TenantId))
        .col(id(epoch::Column::EpochId))
        .col(integer(epoch::Column::State))
        .col(id(epoch::Column::RootId))
        .col(bytes(epoch::Column::Record).null())
        .col(timestamp(epoch::Column::CreatedAt))
        .col(timestamp(epoch::Column::RetiredAt).null())
        .col(timestamp(epoch::Column::DestroyedAt).null())
        .primary_key(Index::create().col(epoch::Column::TenantId).col(epoch::Column::EpochId))
        .take();
    manager.create_table(table).await?;
    // At most one epoch seals: of two processes that make the first one at once, one is refused.
    let one_active = Index::create()
        .name("epoch_key_active")
        .table(epoch::Entity)
        .col(epoch::Column::TenantId)
        .unique()
        .and_where(Expr::col(epoch::Column::State).eq(KeyState::Active.id()))
        .take();
    manager.create_index(one_active).await
}

async fn subjects(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let key = Index::create()
        .col(subject::Column::TenantId)
        .col(subject::Column::SubjectId)
        .col(subject::Column::Generation)
        .take();
    let table = Table::create()
        .table(subject::Entity)
        .col(id(subject::Column::TenantId))
        .col(id(subject::Column::SubjectId))
        .col(integer(subject::Column::Generation))
        .col(id(subject::Column::EpochId))
        .col(bytes(subject::Column::Record))
        .col(integer(subject::Column::Seals))
        .col(timestamp(subject::Column::CreatedAt))
        .primary_key(&mut key.clone())
        .take();
    manager.create_table(table).await?;
    // What is still wrapped under an epoch: rewrapping walks it, and it must be empty before the epoch is destroyed.
    let by_epoch = Index::create()
        .name("subject_key_epoch")
        .table(subject::Entity)
        .col(subject::Column::TenantId)
        .col(subject::Column::EpochId)
        .col(subject::Column::SubjectId)
        .col(subject::Column::Generation)
        .take();
    manager.create_index(by_epoch).await
}

async fn secrets(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let key = Index::create()
        .col(secret::Column::TenantId)
        .col(secret::Column::Purpose)
        .col(secret::Column::Scope)
        .col(secret::Column::Generation)
        .take();
    let table = Table::create()
        .table(secret::Entity)
        .col(id(secret::Column::TenantId))
        .col(integer(secret::Column::Purpose))
        .col(text(secret::Column::Scope))
        .col(integer(secret::Column::Generation))
        .col(integer(secret::Column::State))
        .col(id(secret::Column::RootId))
        .col(bytes(secret::Column::Record).null())
        .col(timestamp(secret::Column::CreatedAt))
        .col(timestamp(secret::Column::RetiredAt).null())
        .col(timestamp(secret::Column::DestroyedAt).null())
        .primary_key(&mut key.clone())
        .take();
    manager.create_table(table).await
}

async fn shreds(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(shred::Entity)
        .col(id(shred::Column::TenantId))
        .col(integer(shred::Column::Position))
        .col(bytes(shred::Column::SubjectTag))
        .col(integer(shred::Column::Keys))
        .col(timestamp(shred::Column::ShreddedAt))
        .col(bytes(shred::Column::Link))
        .primary_key(Index::create().col(shred::Column::TenantId).col(shred::Column::Position))
        .take();
    manager.create_table(table).await?;
    let once = Index::create()
        .name("shred_subject_tag")
        .table(shred::Entity)
        .col(shred::Column::TenantId)
        .col(shred::Column::SubjectTag)
        .unique()
        .take();
    manager.create_index(once).await
}

async fn events(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(event::Entity)
        .col(id(event::Column::EventId).primary_key())
        .col(id(event::Column::TenantId))
        .col(integer(event::Column::Kind))
        .col(text(event::Column::Key))
        .col(integer(event::Column::Count))
        .col(timestamp(event::Column::At))
        .take();
    manager.create_table(table).await
}
