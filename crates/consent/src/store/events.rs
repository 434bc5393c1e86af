//! Events and their evidence: appended with the consent's new state, and listed.

use std::sync::Arc;

use portal_core::id::{ConsentId, EventId, Id, SubjectId};
use portal_core::{PageSize, Sensitive, Timestamp};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_store::sealed::{DigestedRow, SealedColumn};
use portal_store::{Corruption, Sealed, StoreError};
use portal_upkeep::migration::Mode;
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, QueryOrder, QuerySelect};

use crate::domain::consent::{Event, Evidence};
use crate::store::entity::{consent_event, evidence};
use crate::store::rows::{self, RowName, integer};
use crate::store::{EventPosition, Page, Reading, Seals, Writing};

/// How long a reason is, is telling: it is padded to the next 64 bytes.
pub(in crate::store) const REASON: SealedColumn<Sensitive<String>> =
    SealedColumn::new("consent_event", "sealed_reason", Padding::To64);
/// Files: their sizes are in ranges anyway.
pub(in crate::store) const CONTENT: SealedColumn<Sensitive<Vec<u8>>> =
    SealedColumn::new("evidence", "sealed_content", Padding::To256);

/// Whose events a list shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EventsOf {
    Consent(ConsentId),
    Subject(SubjectId),
}

/// An event as it is stored, checked; its reason may still be sealed.
pub(crate) struct StoredEvent {
    event: Event,
    sealed: Option<SealedReason>,
}

struct SealedReason {
    row: portal_store::sealed::Row,
    reason: Sealed<Sensitive<String>>,
}

impl StoredEvent {
    /// Whose key it takes to open it, if it takes one.
    pub(crate) fn sealed_for(&self) -> Option<SubjectId> {
        self.sealed.as_ref().map(|_| self.event.subject)
    }

    /// The event with its reason.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the reason does not open.
    pub(crate) fn open(self, seals: &Seals, key: &SubjectKey) -> Result<Event, StoreError> {
        let Some(SealedReason { row, reason }) = self.sealed else { return Ok(self.event) };
        let reason = REASON.open(&seals.sealing, key, row, &reason)?;
        Ok(Event { reason: Some(reason), ..self.event })
    }

    /// The event without the reason, unless that is in the clear.
    pub(crate) fn unopened(self) -> Event {
        self.event
    }

    /// What is told of a reason whose key is not there, though nobody destroyed it.
    pub(crate) fn without_key(&self) -> StoreError {
        let name = RowName { table: REASON.table(), row: self.event.id.uuid() };
        name.corrupt_by(REASON.column(), Corruption::KeyMissing)
    }
}

/// One page of history, newest first.
pub(crate) async fn page(
    tx: &Reading<'_>,
    of: EventsOf,
    after: Option<EventPosition>,
    size: PageSize,
) -> Result<Page<StoredEvent, EventPosition>, StoreError> {
    use consent_event::Column::{ConsentId, EventId, RecordedAt, Sequence, SubjectId};
    let mut condition = Condition::all().add(match of {
        EventsOf::Consent(id) => ConsentId.eq(id.uuid()),
        EventsOf::Subject(id) => SubjectId.eq(id.uuid()),
    });
    if let Some(EventPosition { recorded_at, sequence, id }) = after {
        let (at, sequence) = (recorded_at.as_micros(), integer(sequence));
        let same_time = Condition::all().add(RecordedAt.eq(at)).add(Sequence.lt(sequence));
        let same_number =
            Condition::all().add(RecordedAt.eq(at)).add(Sequence.eq(sequence)).add(EventId.lt(id.uuid()));
        condition = condition.add(Condition::any().add(RecordedAt.lt(at)).add(same_time).add(same_number));
    }
    let models = consent_event::Entity::find()
        .filter(condition)
        .order_by_desc(RecordedAt)
        .order_by_desc(Sequence)
        .order_by_desc(EventId)
        .limit(u64::from(size.get()) + 1)
        .all(tx.conn())
        .await?;
    Page::cut(models, size.get(), position, |model| stored(tx.checked(model)?))
}

fn position(model: &consent_event::Model) -> EventPosition {
    EventPosition {
        recorded_at: Timestamp::from_micros(model.recorded_at),
        sequence: model.sequence.unsigned_abs(),
        id: EventId::from_uuid(model.event_id),
    }
}

/// The event in `model`: what is in the clear is the truth where there is both.
pub(in crate::store) fn stored(mut model: consent_event::Model) -> Result<StoredEvent, StoreError> {
    let row = model.row();
    let sealed = model.sealed_reason.take().filter(|_| model.reason.is_none());
    let event = rows::event(model)?;
    Ok(StoredEvent { event, sealed: sealed.map(|reason| SealedReason { row, reason }) })
}

/// Appends an event and its evidence. `key` is its subject's: needed if there is a reason or evidence.
pub(in crate::store) async fn append(
    tx: &Writing<'_>,
    event: &Event,
    evidence: &[Evidence],
    key: Option<&Arc<SubjectKey>>,
) -> Result<(), StoreError> {
    let mut model = rows::event_model(event);
    write_reason(tx, &mut model, key)?;
    let row: consent_event::ActiveModel = tx.stamped(model)?;
    consent_event::Entity::insert(row).exec_without_returning(tx.conn()).await?;
    if evidence.is_empty() {
        return Ok(());
    }
    let rows = (0..).zip(evidence).map(|(position, evidence)| {
        let mut model = rows::evidence_model(event.id, position, evidence);
        write_content(tx, &mut model, key)?;
        tx.stamped::<_, evidence::ActiveModel>(model)
    });
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    evidence::Entity::insert_many(rows).exec_without_returning(tx.conn()).await?;
    Ok(())
}

/// Brings a reason in the clear into the form that is written now.
fn write_reason(
    tx: &Writing<'_>,
    model: &mut consent_event::Model,
    key: Option<&Arc<SubjectKey>>,
) -> Result<(), StoreError> {
    if tx.mode() != Mode::Old && model.reason.is_some() {
        let name = RowName { table: REASON.table(), row: model.event_id };
        let key = key.ok_or_else(|| name.corrupt_by(REASON.column(), Corruption::KeyMissing))?;
        seal_reason(tx.seals(), model, key)?;
        if tx.mode() == Mode::New {
            model.reason = None;
        }
    }
    Ok(())
}

/// Brings a content in the clear into the form that is written now.
fn write_content(
    tx: &Writing<'_>,
    model: &mut evidence::Model,
    key: Option<&Arc<SubjectKey>>,
) -> Result<(), StoreError> {
    if tx.mode() != Mode::Old {
        let name = RowName { table: CONTENT.table(), row: model.event_id };
        let key = key.ok_or_else(|| name.corrupt_by(CONTENT.column(), Corruption::KeyMissing))?;
        seal_content(tx.seals(), model, key)?;
        if tx.mode() == Mode::New {
            model.content.clear();
            model.content_hash.clear();
        }
    }
    Ok(())
}

/// Seals the reason beside the one in the clear, if there is one.
pub(in crate::store) fn seal_reason(
    seals: &Seals,
    model: &mut consent_event::Model,
    key: &SubjectKey,
) -> Result<(), StoreError> {
    if let Some(reason) = model.reason.clone().map(Sensitive::new) {
        model.sealed_reason = Some(REASON.seal(&seals.sealing, key, model.row(), &reason)?);
    }
    Ok(())
}

/// Seals the content beside the one in the clear, if there is one.
pub(in crate::store) fn seal_content(
    seals: &Seals,
    model: &mut evidence::Model,
    key: &SubjectKey,
) -> Result<(), StoreError> {
    if !model.content.is_empty() {
        let content = Sensitive::new(model.content.clone());
        model.sealed_content = Some(CONTENT.seal(&seals.sealing, key, model.row(), &content)?);
    }
    Ok(())
}
