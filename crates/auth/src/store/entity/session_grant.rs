//! What makes a session a client's: which one it is, and what it may do. A row never changes. A table of its own, with tokens of its
//! own: a version that does not know it finds no token, and takes no client for the person.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

/// A row.
#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "session_grant")]
pub struct Model {
    /// Session id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: Uuid,
    /// The client.
    pub client_id: Uuid,
    /// The issuer that the client knows.
    pub issuer: String,
    /// What it may do: scopes with a space between.
    pub scopes: String,
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
        Row { id: self.session_id.into_bytes(), version: VERSION }
    }

    fn digest(&self) -> Option<&[u8]> {
        self.row_digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.row_digest = Some(digest.to_vec());
    }
}
