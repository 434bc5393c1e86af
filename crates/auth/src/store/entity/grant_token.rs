//! Tokens that clients hold for people, by their keyed hashes. Spent ones are kept until they expire, to know a replay.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

/// A row.
#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "grant_token")]
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
    /// The digest of all other columns.
    pub row_digest: Option<Vec<u8>>,
}

/// None: rows are joined by hand.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl DigestedRow for Model {
    const DIGEST: &'static str = "row_digest";

    fn row(&self) -> Row {
        Row::composite(&[&self.refresh_hash], VERSION)
    }

    fn digest(&self) -> Option<&[u8]> {
        self.row_digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.row_digest = Some(digest.to_vec());
    }
}
