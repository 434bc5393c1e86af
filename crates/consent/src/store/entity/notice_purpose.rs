//! Which purposes a revision of a notice explains: an index for the filter of lists.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "notice_purpose")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub notice_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub revision: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub purpose_id: Uuid,
}

#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
