//! What is left of accounts that were deleted: nothing personal.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "account_tombstone")]
pub struct Model {
    /// The id of the account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: Uuid,
    /// The person it belonged to; unique.
    pub subject_id: Uuid,
    /// When the account was created.
    pub created_at: i64,
    /// When it was deleted.
    pub deleted_at: i64,
    /// When the keys of its person were destroyed; NULL while that is to be done.
    pub erased_at: Option<i64>,
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
        Row { id: self.account_id.into_bytes(), version: u64::from(self.erased_at.is_some()) }
    }

    fn digest(&self) -> Option<&[u8]> {
        self.row_digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.row_digest = Some(digest.to_vec());
    }
}
