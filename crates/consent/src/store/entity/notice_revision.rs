//! One row per revision of a notice; never changed once published. Bodies are a JSON object, purposes a JSON array.

use sea_orm::entity::prelude::*;

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
}

#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
