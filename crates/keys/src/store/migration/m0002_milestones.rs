//! What has happened for good to the data whose keys are here.

use portal_store::columns::{id, text, timestamp};
use sea_orm::entity::prelude::*;
use sea_orm_migration::sea_query::{Index, Table};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::store::entity::milestone::{Column, Entity};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0002_milestones"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table(Entity)
            .col(id(Column::TenantId))
            .col(text(Column::Name))
            .col(timestamp(Column::ReachedAt))
            .primary_key(Index::create().col(Column::TenantId).col(Column::Name))
            .take();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Entity).take()).await
    }
}
