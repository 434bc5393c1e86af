//! What people approved for clients, so that they are not asked again.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "client_approval")]
pub struct Model {
    /// Who approved.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: Uuid,
    /// For which client.
    #[sea_orm(primary_key, auto_increment = false)]
    pub client_id: Uuid,
    /// What: scopes with a space between.
    pub scopes: String,
    /// Counts changes.
    pub revision: i64,
    /// When.
    pub approved_at: i64,
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
        Row::composite(&[self.account_id.as_bytes(), self.client_id.as_bytes()], self.revision.unsigned_abs())
    }

    fn digest(&self) -> Option<&[u8]> {
        self.row_digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.row_digest = Some(digest.to_vec());
    }
}
