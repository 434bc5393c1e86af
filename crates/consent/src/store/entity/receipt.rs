//! One row per receipt, beside the event it proves; appended, never changed. What the receipt says is sealed under the key
//! of its subject, or in `service_payload` under the service's own where that could not be had.

use portal_core::Sensitive;
use portal_store::Sealed;
use portal_store::sealed::Row;
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "receipt")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: Uuid,
    pub consent_id: Uuid,
    pub subject_id: Uuid,
    pub recorded_at: i64,
    pub sealed_payload: Option<Sealed<Sensitive<Vec<u8>>>>,
    pub service_payload: Option<Vec<u8>>,
    pub row_digest: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

digested!(|model| Row { id: model.event_id.into_bytes(), version: VERSION });
