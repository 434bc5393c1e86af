//! What clients are still to be told: that somebody is signed out. It names ids alone, and no account has to be there any more.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "logout_notice")]
pub struct Model {
    /// Its id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Who is told.
    pub client_id: Uuid,
    /// Of whose account.
    pub account_id: Uuid,
    /// Of which `sid`.
    pub session_id: Uuid,
    /// The issuer that the client knows.
    pub issuer: String,
    /// How often it was tried in vain.
    pub failures: i64,
    /// When it is tried next; while it is tried, when another process would.
    pub next_at: i64,
    /// When it is given up.
    pub expires_at: i64,
    /// Counts its changes, from 1.
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
        Row { id: self.id.into_bytes(), version: self.revision.unsigned_abs() }
    }

    fn digest(&self) -> Option<&[u8]> {
        self.row_digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.row_digest = Some(digest.to_vec());
    }
}
