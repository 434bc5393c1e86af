//! Sessions. The `Debug` of a row shows its id only: the rest is personal data.
//!
//! The digest of a row covers every column, the times too: whoever changes a row stamps it. The one sealed cell never
//! changes, so all states of a row have the same version, and the cell stays as it was sealed.

use portal_core::Sensitive;
use portal_store::Sealed;
use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

/// A row.
#[derive(Clone, DeriveEntityModel)]
#[sea_orm(table_name = "session")]
pub struct Model {
    /// Session id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Who is signed in.
    pub account_id: Uuid,
    /// What the device calls itself in the clear; empty once it is sealed only.
    pub device_name: String,
    /// Whether it lives 30 days instead of 7.
    pub remember_me: bool,
    /// When the person signed in.
    pub created_at: i64,
    /// When it last gave tokens.
    pub last_used_at: i64,
    /// When its newest access token ends.
    pub access_expires_at: i64,
    /// When its newest refresh token ends.
    pub refresh_expires_at: i64,
    /// When it was ended before its time.
    pub revoked_at: Option<i64>,
    /// The person who is signed in: whose key the name of the device is sealed under. NULL in rows of before.
    pub subject_id: Option<Uuid>,
    /// What the device calls itself; NULL if it has no name.
    pub sealed_device_name: Option<Sealed<Sensitive<String>>>,
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
        Row { id: self.id.into_bytes(), version: VERSION }
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
