//! OAuth clients. Nothing here is personal: a client is an application; of its secrets there are keyed hashes.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "client")]
pub struct Model {
    /// Client id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whether it keeps a secret.
    pub kind: String,
    /// What is registered of it, as JSON.
    pub settings: String,
    /// Keyed hash of its secret; NULL for a public one.
    pub secret_hash: Option<Vec<u8>>,
    /// Keyed hash of the secret before; NULL if there is none.
    pub previous_secret_hash: Option<Vec<u8>>,
    /// When that one ends.
    pub previous_secret_expires_at: Option<i64>,
    /// Counts changes.
    pub revision: i64,
    /// When it was registered.
    pub created_at: i64,
    /// When it last changed.
    pub updated_at: i64,
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
        Row { id: self.id.into_bytes(), version: self.revision.unsigned_abs() }
    }

    fn digest(&self) -> Option<&[u8]> {
        self.row_digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.row_digest = Some(digest.to_vec());
    }
}
