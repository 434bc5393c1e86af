//! Sign-ins that wait for a second factor. A row never changes; its digest covers every column. `Debug` does not show the rest:
//! it is personal data.

use portal_core::Sensitive;
use portal_store::Sealed;
use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

/// A row.
#[derive(Clone, DeriveEntityModel)]
#[sea_orm(table_name = "mfa_challenge")]
pub struct Model {
    /// Keyed hash of the handle.
    #[sea_orm(primary_key, auto_increment = false)]
    pub challenge_hash: Vec<u8>,
    /// Who wants to sign in.
    pub account_id: Uuid,
    /// The account as it was when the password was right.
    pub account_revision: i64,
    /// The person whose key the cell is sealed under.
    pub subject_id: Uuid,
    /// Whether the session is to live 30 days instead of 7.
    pub remember_me: bool,
    /// What the device calls itself; NULL if it has no name.
    pub sealed_device_name: Option<Sealed<Sensitive<String>>>,
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
        Row::composite(&[&self.challenge_hash], VERSION)
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
