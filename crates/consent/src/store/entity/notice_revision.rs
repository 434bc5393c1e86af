//! One row per revision of a notice; never changed once published. Bodies are a JSON object, purposes a JSON array.

use portal_store::sealed::Row;
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "notice_revision")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub notice_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub revision: i64,
    pub published_at: Option<i64>,
    pub title: String,
    pub bodies: String,
    pub purposes: String,
    pub material_change: bool,
    pub content_hash: Option<Vec<u8>>,
    pub row_digest: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

digested!(|model| Row::composite(&[model.notice_id.as_bytes(), &model.revision.to_be_bytes()], VERSION));
