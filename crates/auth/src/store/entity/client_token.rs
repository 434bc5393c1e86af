//! Access tokens that clients hold for themselves, by their keyed hashes. A row never changes.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

/// A row.
#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "client_token")]
pub struct Model {
    /// Keyed hash of the access handle.
    #[sea_orm(primary_key, auto_increment = false)]
    pub access_hash: Vec<u8>,
    /// The client.
    pub client_id: Uuid,
    /// What it may do: scopes with a space between.
    pub scopes: String,
    /// When it was issued.
    pub issued_at: i64,
    /// When it ends.
    pub expires_at: i64,
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
        Row::composite(&[&self.access_hash], VERSION)
    }

    fn digest(&self) -> Option<&[u8]> {
        self.row_digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.row_digest = Some(digest.to_vec());
    }
}
