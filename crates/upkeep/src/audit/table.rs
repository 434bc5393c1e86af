//! The table of what happened. Rows are appended, never changed.

use portal_store::columns;
use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;
use sea_orm_migration::sea_query::Table;
use sea_orm_migration::{DbErr, SchemaManager};

/// The version of every row.
const VERSION: u64 = 1;

/// Something that happened. Ids are in the clear, by which it is found; what else is told of it is sealed, with the salt of
/// its entry in the ledger.
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "audit_event")]
pub(super) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: Uuid,
    pub recorded_at: i64,
    pub action: String,
    pub actor: String,
    pub account_id: Option<Uuid>,
    pub target_id: Option<Uuid>,
    pub sealed_details: Vec<u8>,
    pub row_digest: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub(super) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl DigestedRow for Model {
    const DIGEST: &'static str = "row_digest";

    fn row(&self) -> Row {
        Row { id: self.event_id.into_bytes(), version: VERSION }
    }

    fn digest(&self) -> Option<&[u8]> {
        self.row_digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.row_digest = Some(digest.to_vec());
    }
}

pub(crate) async fn create(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Entity)
        .col(columns::id(Column::EventId).primary_key())
        .col(columns::timestamp(Column::RecordedAt))
        .col(columns::text(Column::Action))
        .col(columns::text(Column::Actor))
        .col(columns::id(Column::AccountId).null())
        .col(columns::id(Column::TargetId).null())
        .col(columns::bytes(Column::SealedDetails))
        .col(columns::bytes(Column::RowDigest).null())
        .take();
    manager.create_table(table).await
}

pub(crate) async fn drop(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager.drop_table(Table::drop().table(Entity).take()).await
}
