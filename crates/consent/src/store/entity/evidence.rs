//! One row per document kept with an event; appended, never changed. The content is sealed under the key of the event's
//! subject; `content` holds it in the clear until that is committed, and is empty from then on; so is its hash,
//! by which a guess at the content could be checked.

use portal_core::Sensitive;
use portal_store::Sealed;
use portal_store::sealed::Row;
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "evidence")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    pub kind: String,
    pub media_type: String,
    pub content: Vec<u8>,
    pub content_hash: Vec<u8>,
    pub sealed_content: Option<Sealed<Sensitive<Vec<u8>>>>,
    pub row_digest: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

digested!(|model| Row::composite(&[model.event_id.as_bytes(), &model.position.to_be_bytes()], VERSION));
