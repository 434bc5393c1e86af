//! Where people are signed in by an ID token, until that client is told that they are not. A row never changes, and outlives
//! the session that is its grant: that ends with its tokens, and the client goes on.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

/// A row.
#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "client_sign_in")]
pub struct Model {
    /// The session that is the grant: the `sid` of its ID tokens.
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: Uuid,
    /// The session in which the person approved.
    pub origin_session_id: Uuid,
    /// The person's account.
    pub account_id: Uuid,
    /// The client.
    pub client_id: Uuid,
    /// The issuer that the client knows.
    pub issuer: String,
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
