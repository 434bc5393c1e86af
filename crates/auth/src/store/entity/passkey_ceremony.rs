//! Ceremonies with passkeys that have begun. A row is written once and removed by its use: its version is always the same.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

/// A row.
#[derive(Clone, DeriveEntityModel)]
#[sea_orm(table_name = "passkey_ceremony")]
pub struct Model {
    /// Keyed hash of the handle.
    #[sea_orm(primary_key, auto_increment = false)]
    pub ceremony_hash: Vec<u8>,
    /// Whose answer it awaits: `anybody`, `nobody`, `owner` or `registration`.
    pub awaits: String,
    /// The account, if it is for one.
    pub account_id: Option<Uuid>,
    /// The challenge and what goes with it, sealed under a key of the service: it may be nobody's.
    pub sealed_state: Vec<u8>,
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
        Row::composite(&[&self.ceremony_hash], VERSION)
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
        f.debug_struct("Model").field("awaits", &self.awaits).finish_non_exhaustive()
    }
}
