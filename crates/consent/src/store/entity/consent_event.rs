//! One row per change of a consent; appended, never changed. The reason, in the subject's words, is sealed; `reason` holds
//! it in the clear until that is committed. So is who decided for the subject, which never stood in the clear.

use portal_core::Sensitive;
use portal_store::Sealed;
use portal_store::sealed::Row;
use sea_orm::entity::prelude::*;

/// The version of every row.
const VERSION: u64 = 1;

#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "consent_event")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: Uuid,
    pub consent_id: Uuid,
    pub sequence: i64,
    pub subject_id: Uuid,
    pub purpose_id: Uuid,
    pub purpose_revision: i64,
    pub notice_id: Uuid,
    pub notice_revision: i64,
    pub language: Option<String>,
    pub previous_status: String,
    pub status: String,
    pub method: Option<String>,
    pub reason: Option<String>,
    pub actor: String,
    pub event_at: i64,
    pub recorded_at: i64,
    pub expires_at: Option<i64>,
    pub sealed_reason: Option<Sealed<Sensitive<String>>>,
    pub sealed_delegation: Option<Sealed<Sensitive<String>>>,
    pub row_digest: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

digested!(|model| Row { id: model.event_id.into_bytes(), version: VERSION });
