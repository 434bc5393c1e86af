//! Tokens of sessions, by their keyed hashes. Spent ones are kept until they expire, to know a replay.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "token_pair")]
pub struct Model {
    /// Keyed hash of the refresh handle.
    #[sea_orm(primary_key, auto_increment = false)]
    pub refresh_hash: Vec<u8>,
    /// Keyed hash of the access handle; unique.
    pub access_hash: Vec<u8>,
    /// The session they belong to.
    pub session_id: Uuid,
    /// When they were issued.
    pub issued_at: i64,
    /// When the access token ends.
    pub access_expires_at: i64,
    /// When the refresh token ends.
    pub refresh_expires_at: i64,
    /// When the refresh token was spent.
    pub spent_at: Option<i64>,
}

/// None: rows are joined by hand.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
