//! One row per notice: where it is in its life.

use portal_store::sealed::Row;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "notice")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub notice_id: Uuid,
    pub newest_revision: i64,
    pub published_revision: Option<i64>,
    pub archived_at: Option<i64>,
    pub version: i64,
    pub created_at: i64,
    pub updated_at: i64,
    pub row_digest: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

digested!(|model| Row { id: model.notice_id.into_bytes(), version: model.version.unsigned_abs() });
