//! A column for the revision that cells were sealed for, and one for digests of revocations.
//!
//! Both may be NULL: the version before goes on working. Where rows without a digest are taken for corrupt already, the
//! revocations of the last hour go: whoever follows the feed is told that some are gone, and begins anew.

use portal_store::columns;
use sea_orm_migration::prelude::*;

use crate::store::{account, revocation};

const FORGET: &str = "DELETE FROM revocation WHERE EXISTS \
    (SELECT 1 FROM data_migration WHERE name = 'd0001_seal_personal_data' AND committed)";

/// The migration.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let revision = columns::integer(account::Column::SealedRevision).null().take();
        let alter = Table::alter().table(account::Entity).add_column(revision).take();
        manager.alter_table(alter).await?;
        let digest = columns::bytes(revocation::Column::RowDigest).null().take();
        manager.alter_table(Table::alter().table(revocation::Entity).add_column(digest).take()).await?;
        manager.get_connection().execute_unprepared(FORGET).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let digest = revocation::Column::RowDigest;
        manager.alter_table(Table::alter().table(revocation::Entity).drop_column(digest).take()).await?;
        let revision = account::Column::SealedRevision;
        manager.alter_table(Table::alter().table(account::Entity).drop_column(revision).take()).await
    }
}
