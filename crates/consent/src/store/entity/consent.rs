//! One row per subject and purpose: what stands now.

use portal_store::sealed::Row;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "consent")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub consent_id: Uuid,
    pub subject_id: Uuid,
    pub purpose_id: Uuid,
    pub purpose_revision: i64,
    pub notice_id: Uuid,
    pub notice_revision: i64,
    pub status: String,
    pub event_at: i64,
    pub recorded_at: i64,
    pub expires_at: Option<i64>,
    pub version: i64,
    pub row_digest: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

digested!(|model| Row { id: model.consent_id.into_bytes(), version: model.version.unsigned_abs() });
