//! Authorization codes: who approved what. Used ones are kept until they end, to know a replay.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "authorization_code")]
pub struct Model {
    /// Keyed hash of the code.
    #[sea_orm(primary_key, auto_increment = false)]
    pub code_hash: Vec<u8>,
    /// The client that may use it.
    pub client_id: Uuid,
    /// Who approved.
    pub account_id: Uuid,
    /// What was approved, and what the code takes, as JSON.
    pub terms: String,
    /// How the person proved who they are.
    pub acr: String,
    /// When.
    pub authenticated_at: i64,
    /// When it ends.
    pub expires_at: i64,
    /// The session that it was used for; NULL before.
    pub session_id: Option<Uuid>,
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
        Row::composite(&[&self.code_hash], 1 + u64::from(self.session_id.is_some()))
    }

    fn digest(&self) -> Option<&[u8]> {
        self.row_digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.row_digest = Some(digest.to_vec());
    }
}
