//! Sessions. The `Debug` of a row shows its id only: the rest is personal data.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, DeriveEntityModel)]
#[sea_orm(table_name = "session")]
pub struct Model {
    /// Session id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Who is signed in.
    pub account_id: Uuid,
    /// What the device calls itself.
    pub device_name: String,
    /// Whether it lives 30 days instead of 7.
    pub remember_me: bool,
    /// When the person signed in.
    pub created_at: i64,
    /// When it last gave tokens.
    pub last_used_at: i64,
    /// When its newest access token ends.
    pub access_expires_at: i64,
    /// When its newest refresh token ends.
    pub refresh_expires_at: i64,
    /// When it was ended before its time.
    pub revoked_at: Option<i64>,
}

/// None: rows are joined by hand.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("id", &self.id).finish_non_exhaustive()
    }
}
