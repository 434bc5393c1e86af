//! One row per import: how far it is. The digest is there in whatever form other rows are.

use portal_store::sealed::Row;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "consent_import")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub import_id: Uuid,
    pub caller: String,
    pub next_record_index: i64,
    pub recorded: i64,
    pub refused: i64,
    /// Positions and statuses of the first refusals, without anything of the records.
    pub refusals: Vec<u8>,
    pub version: i64,
    pub created_at: i64,
    pub updated_at: i64,
    pub row_digest: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

digested!(|model| Row { id: model.import_id.into_bytes(), version: model.version.unsigned_abs() });
