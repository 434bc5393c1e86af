//! What happened to keys. Rows are only added.

use portal_core::id::{EventId, Id, TenantId};
use portal_core::{Entropy, Timestamp};
use portal_store::{StoreError, Tx};
use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;

use super::entity::event::{ActiveModel, Entity};
use super::signed;
use super::state::KeyEvent;

/// An event, made before the transaction that it is noted in.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    id: EventId,
    kind: KeyEvent,
    key: String,
    at: Timestamp,
}

impl Event {
    /// `key` names a key; it is no subject.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "ids are passed as they are: a reference would say nothing"
    )]
    pub(crate) fn new(kind: KeyEvent, key: impl ToString, now: Timestamp, entropy: &dyn Entropy) -> Self {
        Self { id: EventId::generate(now, entropy), kind, key: key.to_string(), at: now }
    }

    /// The same event of another key.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "ids are passed as they are: a reference would say nothing"
    )]
    pub(crate) fn about(&self, key: impl ToString) -> Self {
        Self { key: key.to_string(), ..self.clone() }
    }
}

/// Notes the event; `count` says how many keys it was about.
pub(crate) async fn add(tx: &Tx, tenant: TenantId, event: &Event, count: u64) -> Result<(), StoreError> {
    let row = ActiveModel {
        event_id: Set(event.id.uuid()),
        tenant_id: Set(tenant.uuid()),
        kind: Set(event.kind.id()),
        key: Set(event.key.clone()),
        count: Set(signed(count)),
        at: Set(event.at.as_micros()),
    };
    Entity::insert(row).exec_without_returning(tx.conn()).await?;
    Ok(())
}
