//! The keys that sign tokens. The seed is sealed under a key of the service's own.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, DeriveEntityModel)]
#[sea_orm(table_name = "signing_key")]
pub struct Model {
    /// The thumbprint of the key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: String,
    /// As headers of tokens name it.
    pub algorithm: String,
    /// The seed; NULL once the key was ended.
    pub sealed_seed: Option<Vec<u8>>,
    /// When it was made.
    pub created_at: i64,
    /// From when it signs.
    pub not_before: i64,
    /// Until when.
    pub sign_until: Option<i64>,
    /// Until when it verifies.
    pub verify_until: Option<i64>,
    /// When an operator ended it.
    pub ended_at: Option<i64>,
    /// Counts the changes.
    pub revision: i64,
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
        Row::composite(&[self.key_id.as_bytes()], self.revision.unsigned_abs())
    }

    fn digest(&self) -> Option<&[u8]> {
        self.row_digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.row_digest = Some(digest.to_vec());
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}
