//! One row per registered subject; written once. All that is known of the person is sealed under their key, and they are
//! found by a keyed hash of the controller's reference.

use portal_core::Sensitive;
use portal_store::Sealed;
use portal_store::sealed::Row;
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "subject")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject_id: Uuid,
    pub reference_index: Vec<u8>,
    pub reference_generation: i64,
    pub sealed_details: Sealed<Sensitive<String>>,
    pub created_at: i64,
    pub row_digest: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

digested!(|model| Row { id: model.subject_id.into_bytes(), version: VERSION });
