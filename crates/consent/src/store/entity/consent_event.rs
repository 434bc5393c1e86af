//! One row per change of a consent; appended, never changed.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "consent_event")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: Uuid,
    pub consent_id: Uuid,
    pub sequence: i64,
    pub subject_id: Uuid,
    pub purpose_id: Uuid,
    pub purpose_revision: i64,
    pub notice_id: Uuid,
    pub notice_revision: i64,
    pub language: Option<String>,
    pub previous_status: String,
    pub status: String,
    pub method: Option<String>,
    pub reason: Option<String>,
    pub actor: String,
    pub event_at: i64,
    pub recorded_at: i64,
    pub expires_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
