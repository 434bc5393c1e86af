//! By what audit events are looked up: the account they concern, who acted, what was done.

use sea_orm_migration::prelude::*;

const TABLE: &str = "audit_event";
const INDEXES: [(&str, &str); 3] = [
    ("audit_event_account_id", "account_id"),
    ("audit_event_actor", "actor"),
    ("audit_event_action", "action"),
];

/// The migration.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, column) in INDEXES {
            let index = Index::create()
                .name(name)
                .table(Alias::new(TABLE))
                .col(Alias::new(column))
                .col(Alias::new("event_id"))
                .take();
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, _) in INDEXES {
            let mut index = Index::drop();
            manager.drop_index(index.name(name).table(Alias::new(TABLE)).to_owned()).await?;
        }
        Ok(())
    }
}
