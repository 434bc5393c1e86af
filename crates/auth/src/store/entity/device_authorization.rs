//! What devices without a browser ask for. Rows are kept for a while after their end, so that a device is told of it.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "device_authorization")]
pub struct Model {
    /// Keyed hash of the code that the device holds.
    #[sea_orm(primary_key, auto_increment = false)]
    pub device_hash: Vec<u8>,
    /// Keyed hash of the code that it shows.
    #[sea_orm(unique)]
    pub user_hash: Vec<u8>,
    /// The client that asks.
    pub client_id: Uuid,
    /// What it asks for, as JSON.
    pub terms: String,
    /// What has become of it.
    pub state: String,
    /// Who approved; NULL before.
    pub account_id: Option<Uuid>,
    /// In which session.
    pub session_id: Option<Uuid>,
    /// How they had proven who they are.
    pub acr: Option<String>,
    /// When.
    pub authenticated_at: Option<i64>,
    /// Seconds that the device waits before it asks again.
    pub interval_seconds: i64,
    /// When it asked last; NULL before.
    pub polled_at: Option<i64>,
    /// When the codes end.
    pub expires_at: i64,
    /// Counts its changes, from 1.
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
        Row::composite(&[&self.device_hash], u64::try_from(self.revision).unwrap_or_default())
    }

    fn digest(&self) -> Option<&[u8]> {
        self.row_digest.as_deref()
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.row_digest = Some(digest.to_vec());
    }
}
