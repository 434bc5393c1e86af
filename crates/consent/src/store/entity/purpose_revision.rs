//! One row per revision of a purpose; never changed once published. Lists are JSON arrays, durations microseconds.

use portal_store::sealed::Row;
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "purpose_revision")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub purpose_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub revision: i64,
    pub published_at: Option<i64>,
    pub display_name: String,
    pub description: String,
    pub dpv_purposes: String,
    pub legal_basis: String,
    pub personal_data: String,
    pub special_category: bool,
    pub recipients: String,
    pub retention: Option<i64>,
    pub validity: Option<i64>,
    pub jurisdiction: String,
    /// JSON; none in revisions of before there was one.
    pub record: Option<String>,
    pub material_change: Option<bool>,
    pub row_digest: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

digested!(|model| Row::composite(&[model.purpose_id.as_bytes(), &model.revision.to_be_bytes()], VERSION));
