//! How the person of a session proved who they are, and from where it was used last; nothing for one by password alone from
//! nobody knows where. A table of its own: versions that don't know it change rows of `session`. `Debug` does not show the
//! rest: it is personal data.

use portal_core::Sensitive;
use portal_store::Sealed;
use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, DeriveEntityModel)]
#[sea_orm(table_name = "session_context")]
pub struct Model {
    /// Session id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: Uuid,
    /// The person whose key the cell is sealed under.
    pub subject_id: Uuid,
    /// How they proved who they are.
    pub acr: String,
    /// When.
    pub authenticated_at: i64,
    /// From which network it was used last; NULL if that is not known.
    pub sealed_last_network: Option<Sealed<Sensitive<String>>>,
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
        Row { id: self.session_id.into_bytes(), version: self.revision.unsigned_abs() }
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
        f.debug_struct("Model").field("session_id", &self.session_id).finish_non_exhaustive()
    }
}
