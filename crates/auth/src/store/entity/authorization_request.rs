//! Authorization requests that wait for somebody to decide. A row never changes. Nothing here is personal: nobody has been
//! asked yet.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

/// A row.
#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "authorization_request")]
pub struct Model {
    /// Keyed hash of the reference.
    #[sea_orm(primary_key, auto_increment = false)]
    pub request_hash: Vec<u8>,
    /// The client that asks.
    pub client_id: Uuid,
    /// What it asks for, as JSON.
    pub terms: String,
    /// When it began.
    pub started_at: i64,
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
        Row::composite(&[&self.request_hash], VERSION)
    }

    fn digest(&self) -> Option<&[u8]> {
        self.row_digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.row_digest = Some(digest.to_vec());
    }
}
