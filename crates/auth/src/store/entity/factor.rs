//! Second factors. The `Debug` of a row shows its id only: the rest is secret.
//!
//! The digest of a row covers every column, and its version is `revision`: each change seals the cells anew, so that a secret
//! or a list of codes of before does not open in the row of now.

use portal_core::Sensitive;
use portal_store::Sealed;
use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, DeriveEntityModel)]
#[sea_orm(table_name = "factor")]
pub struct Model {
    /// Factor id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// The person whose key the cells are sealed under.
    pub subject_id: Uuid,
    /// `totp` or `recovery_codes`.
    pub kind: String,
    /// What the person calls it; NULL if it has no name.
    pub sealed_display_name: Option<Sealed<Sensitive<String>>>,
    /// The shared secret; the hashes of the codes that are left.
    pub sealed_secret: Sealed<Sensitive<Vec<u8>>>,
    /// Since when it counts.
    pub confirmed_at: Option<i64>,
    /// Until when it waits for its first code.
    pub pending_until: Option<i64>,
    /// When it last proved something.
    pub last_used_at: Option<i64>,
    /// The last step of an authenticator whose code was used.
    pub last_step: Option<i64>,
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
        Row { id: self.id.into_bytes(), version: self.revision.unsigned_abs() }
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
        f.debug_struct("Model").field("id", &self.id).finish_non_exhaustive()
    }
}
