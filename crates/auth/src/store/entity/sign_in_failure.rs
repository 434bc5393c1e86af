//! Sign-ins that failed, by a keyed hash of the e-mail address that was given, whether there is an account or not.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "sign_in_failure")]
pub struct Model {
    /// Keyed hash of the address.
    #[sea_orm(primary_key, auto_increment = false)]
    pub address_hash: Vec<u8>,
    /// How many failed since the last success.
    pub count: i64,
    /// When the last one did.
    pub last_at: i64,
    /// Until when nobody may try.
    pub locked_until: Option<i64>,
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
        Row::composite(&[&self.address_hash], self.last_at.unsigned_abs())
    }

    fn digest(&self) -> Option<&[u8]> {
        self.row_digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.row_digest = Some(digest.to_vec());
    }
}
