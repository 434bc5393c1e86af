//! Mails that wait to be sent. The `Debug` of a row shows its id only: the rest is personal or secret.
//!
//! Its cells are sealed once, so the version of a row is 1 however often it was tried.

use portal_core::Sensitive;
use portal_store::Sealed;
use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, DeriveEntityModel)]
#[sea_orm(table_name = "mail")]
pub struct Model {
    /// Its id, which its Message-ID tells too.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose account it is about.
    pub account_id: Uuid,
    /// The person whose key the cells are sealed under.
    pub subject_id: Uuid,
    /// To whom.
    pub sealed_recipient: Sealed<Sensitive<String>>,
    /// The subject, in the first line, and the body.
    pub sealed_content: Sealed<Sensitive<String>>,
    /// How often it could not be sent.
    pub failures: i64,
    /// When it is tried next.
    pub next_at: i64,
    /// When it is of no more use.
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
        Row { id: self.id.into_bytes(), version: 1 }
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
