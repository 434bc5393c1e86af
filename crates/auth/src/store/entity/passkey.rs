//! Passkeys. The `Debug` of a row shows its id only.
//!
//! The digest of a row covers every column, and its version is `revision`: each change seals the cells anew, so that a signature
//! counter of before does not open in the row of now.

use portal_core::Sensitive;
use portal_store::Sealed;
use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, DeriveEntityModel)]
#[sea_orm(table_name = "passkey")]
pub struct Model {
    /// Factor id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// The person whose key the cells are sealed under.
    pub subject_id: Uuid,
    /// Keyed hash of what the authenticator calls it.
    pub credential_hash: Vec<u8>,
    /// The same, sealed under a key of the service: it is told before anybody has proven anything.
    pub sealed_credential_id: Vec<u8>,
    /// What the person calls it; NULL if it has no name.
    pub sealed_display_name: Option<Sealed<Sensitive<String>>>,
    /// Public key, signature counter, whether it is backed up.
    pub sealed_credential: Sealed<Sensitive<Vec<u8>>>,
    /// Since when it counts.
    pub confirmed_at: i64,
    /// When it last proved something.
    pub last_used_at: Option<i64>,
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
