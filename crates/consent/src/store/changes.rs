//! Changes as those hear of them who watch, and what they acknowledged.
//!
//! Earlier versions don't know the table of acknowledgements: whatever the form of other rows, these have digests.

use std::collections::HashMap;

use portal_core::id::{AckId, EventId, Id};
use portal_core::{PageSize, Timestamp};
use portal_ledger::Salt;
use portal_store::StoreError;
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, IntoActiveModel, QueryOrder, QuerySelect};

use crate::domain::consent::Event;
use crate::store::entity::{change_ack, consent_event};
use crate::store::rows::{self, RowName, integer};
use crate::store::{Page, Reading, Writing, sound};

/// A recipient took note of all changes up to a place in the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Ack {
    pub(crate) id: AckId,
    /// Who made the call.
    pub(crate) caller: String,
    pub(crate) recipient: String,
    /// The place of the last change.
    pub(crate) position: u64,
    pub(crate) recorded_at: Timestamp,
}

/// A place in a list of acknowledgements.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct AckPosition {
    pub(crate) recorded_at: Timestamp,
    pub(crate) id: AckId,
}

/// Those of `events` that are there and sound, without the reasons that are sealed.
pub(crate) async fn events(
    tx: &Reading<'_>,
    events: &[EventId],
) -> Result<HashMap<EventId, Event>, StoreError> {
    let ids = events.iter().map(|event| event.uuid());
    let models = tx.find_ids::<consent_event::Entity>(consent_event::Column::EventId, ids.collect()).await?;
    let mut found = HashMap::with_capacity(models.len());
    for model in models {
        if let Some(event) = sound(tx.checked(model).and_then(rows::event))? {
            found.insert(event.id, event);
        }
    }
    Ok(found)
}

/// The acknowledgement of a recipient that reaches furthest.
pub(crate) async fn furthest(
    tx: &Reading<'_>,
    caller: &str,
    recipient: &str,
) -> Result<Option<Ack>, StoreError> {
    let model = change_ack::Entity::find()
        .filter(change_ack::Column::Caller.eq(caller))
        .filter(change_ack::Column::Recipient.eq(recipient))
        .order_by_desc(change_ack::Column::Position)
        .order_by_asc(change_ack::Column::AckId)
        .limit(1)
        .one(tx.conn())
        .await?;
    model.map(|model| read(tx, model)).transpose()
}

/// Records an acknowledgement.
pub(crate) async fn append(tx: &Writing<'_>, ack: &Ack, salt: &Salt) -> Result<(), StoreError> {
    let mut model = change_ack::Model {
        ack_id: ack.id.uuid(),
        caller: ack.caller.clone(),
        recipient: ack.recipient.clone(),
        position: integer(ack.position),
        recorded_at: ack.recorded_at.as_micros(),
        salt: salt.expose().to_vec(),
        row_digest: None,
    };
    tx.seals().stamp(&mut model)?;
    let row: change_ack::ActiveModel = model.into_active_model().reset_all();
    change_ack::Entity::insert(row).exec_without_returning(tx.conn()).await?;
    Ok(())
}

/// One page of acknowledgements, the latest first.
pub(crate) async fn page(
    tx: &Reading<'_>,
    recipient: Option<&str>,
    after: Option<AckPosition>,
    size: PageSize,
) -> Result<Page<Ack, AckPosition>, StoreError> {
    use change_ack::Column;
    let mut condition = Condition::all().add_option(recipient.map(|name| Column::Recipient.eq(name)));
    if let Some(AckPosition { recorded_at, id }) = after {
        let at = recorded_at.as_micros();
        let same = Condition::all().add(Column::RecordedAt.eq(at)).add(Column::AckId.lt(id.uuid()));
        condition = condition.add(Condition::any().add(Column::RecordedAt.lt(at)).add(same));
    }
    let models = change_ack::Entity::find()
        .filter(condition)
        .order_by_desc(Column::RecordedAt)
        .order_by_desc(Column::AckId)
        .limit(u64::from(size.get()) + 1)
        .all(tx.conn())
        .await?;
    let position = |model: &change_ack::Model| AckPosition {
        recorded_at: Timestamp::from_micros(model.recorded_at),
        id: AckId::from_uuid(model.ack_id),
    };
    Page::cut(models, size.get(), position, |model| read(tx, model))
}

fn read(tx: &Reading<'_>, model: change_ack::Model) -> Result<Ack, StoreError> {
    tx.seals().verify(&model)?;
    Ok(Ack {
        id: AckId::from_uuid(model.ack_id),
        position: parse(&model)?,
        caller: model.caller,
        recipient: model.recipient,
        recorded_at: Timestamp::from_micros(model.recorded_at),
    })
}

/// The place that is acknowledged.
pub(in crate::store) fn parse(model: &change_ack::Model) -> Result<u64, StoreError> {
    let name = RowName { table: "change_ack", row: model.ack_id };
    u64::try_from(model.position).map_err(|_| name.corrupt("position"))
}
