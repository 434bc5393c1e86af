//! What is known of accounts' e-mail addresses beside the addresses themselves. A table of its own: versions that don't know
//! it write the rows of accounts without it. The `Debug` of a row shows its id only: the rest is personal data.

use portal_core::Sensitive;
use portal_store::Sealed;
use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, DeriveEntityModel)]
#[sea_orm(table_name = "account_contact")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: Uuid,
    /// The person whose key the cell is sealed under.
    pub subject_id: Uuid,
    /// When the address of now was confirmed.
    pub verified_at: Option<i64>,
    /// The address that takes its place when it is confirmed.
    pub sealed_pending_email: Option<Sealed<Sensitive<String>>>,
    /// Counts changes.
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
        Row { id: self.account_id.into_bytes(), version: self.revision.unsigned_abs() }
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
        f.debug_struct("Model").field("account_id", &self.account_id).finish_non_exhaustive()
    }
}
