//! Accounts. The `Debug` of a row shows its id only: the rest is personal data.
//!
//! A row has its personal values twice while they are being sealed: in the clear, for versions that know nothing else,
//! and sealed. Its digest covers every column, and its version is `revision`: each change seals the cells anew, unless the
//! key of the person can't be had, or is gone.

use portal_core::Sensitive;
use portal_store::Sealed;
use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, DeriveEntityModel)]
#[sea_orm(table_name = "account")]
pub struct Model {
    /// Account id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Subject id; unique.
    pub subject_id: Uuid,
    /// Keyed hash of the e-mail address; unique.
    pub email_index: Vec<u8>,
    /// The e-mail address in the clear; empty once it is sealed only.
    pub email: String,
    /// The name shown to people in the clear; empty once it is sealed only.
    pub display_name: String,
    /// PHC string.
    pub password_hash: String,
    /// One bit per role, see `rows.rs`.
    pub roles: i64,
    /// When a lock ends; the greatest number for one without end.
    pub locked_until: Option<i64>,
    /// Counts changes.
    pub revision: i64,
    /// When it was created.
    pub created_at: i64,
    /// When it last changed.
    pub updated_at: i64,
    /// The e-mail address.
    pub sealed_email: Option<Sealed<Sensitive<String>>>,
    /// The name shown to people.
    pub sealed_display_name: Option<Sealed<Sensitive<String>>>,
    /// Under which key `email_index` was made; NULL for the one of before there were several.
    pub email_index_generation: Option<i64>,
    /// The revision that the cells were sealed for, if the row was changed since without the key of its person.
    pub sealed_revision: Option<i64>,
    /// The digest of all other columns.
    pub row_digest: Option<Vec<u8>>,
}

/// None: rows are joined by hand.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The state of the row that its cells are bound to.
    pub fn row_of_cells(&self) -> Row {
        let version = self.sealed_revision.unwrap_or(self.revision).unsigned_abs();
        Row { version, ..self.row() }
    }
}

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
