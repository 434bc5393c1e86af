//! One row per acknowledgement of changes; appended, never changed. The salt is that of its entry in the ledger: with it
//! anybody can be shown that the entry is of this acknowledgement.

use portal_store::sealed::Row;
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "change_ack")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub ack_id: Uuid,
    pub caller: String,
    pub recipient: String,
    pub position: i64,
    pub recorded_at: i64,
    pub salt: Vec<u8>,
    pub row_digest: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

digested!(|model| Row { id: model.ack_id.into_bytes(), version: VERSION });
