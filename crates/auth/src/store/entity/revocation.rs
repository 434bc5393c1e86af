//! The feed of revocations.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "revocation")]
pub struct Model {
    /// Place in the feed.
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    /// When.
    pub revoked_at: i64,
    /// `account` or `session`.
    pub kind: String,
    /// Id of the account or session.
    pub target_id: Uuid,
}

/// None: rows are joined by hand.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
