//! The feed of revocations. A row never changes; its digest covers every column.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

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
        Row::composite(&[&self.position.to_be_bytes()], VERSION)
    }

    fn digest(&self) -> Option<&[u8]> {
        self.row_digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.row_digest = Some(digest.to_vec());
    }
}
