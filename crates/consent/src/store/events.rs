//! Events and their evidence: appended with the consent's new state, and listed.

use std::collections::BTreeMap;
use std::sync::Arc;

use portal_core::id::{ConsentId, EventId, Id, SubjectId};
use portal_core::{PageSize, Sensitive, Timestamp};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_store::sealed::{DigestedRow, SealedColumn};
use portal_store::{Corruption, Inserts, Sealed, StoreError};
use portal_upkeep::migration::Mode;
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, QueryOrder, QuerySelect};

use crate::domain::consent::{Event, Evidence};
use crate::domain::delegation::Delegation;
use crate::domain::language::Language;
use crate::store::entity::{consent_event, evidence};
use crate::store::rows::{self, RowName, integer};
use crate::store::{EventPosition, Page, Reading, Seals, Writing, add_all, documents, sound};

/// How long a reason is, is telling: it is padded to the next 64 bytes.
pub(in crate::store) const REASON: SealedColumn<Sensitive<String>> =
    SealedColumn::new("consent_event", "sealed_reason", Padding::To64);
/// Who decided for a subject: padded as reasons are.
pub(in crate::store) const DELEGATION: SealedColumn<Sensitive<String>> =
    SealedColumn::new("consent_event", "sealed_delegation", Padding::To64);
/// Files: their sizes are in ranges anyway.
pub(in crate::store) const CONTENT: SealedColumn<Sensitive<Vec<u8>>> =
    SealedColumn::new("evidence", "sealed_content", Padding::To256);

/// Whose events a list shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EventsOf {
    Consent(ConsentId),
    Subject(SubjectId),
}

/// An event as it is stored, checked; its reason, and who decided for the subject, may still be sealed.
pub(crate) struct StoredEvent {
    event: Event,
    sealed: Option<SealedWords>,
}

struct SealedWords {
    row: portal_store::sealed::Row,
    reason: Option<Sealed<Sensitive<String>>>,
    delegation: Option<Sealed<Sensitive<String>>>,
}

impl StoredEvent {
    pub(crate) fn id(&self) -> EventId {
        self.event.id
    }

    /// Whose key it takes to open it, if it takes one.
    pub(crate) fn sealed_for(&self) -> Option<SubjectId> {
        self.sealed.as_ref().map(|_| self.event.subject)
    }

    /// The event with its reason and who decided.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if one of them does not open.
    pub(crate) fn open(self, seals: &Seals, key: &SubjectKey) -> Result<Event, StoreError> {
        let Some(SealedWords { row, reason, delegation }) = self.sealed else { return Ok(self.event) };
        let sealed = REASON.open_option(&seals.sealing, key, row, reason.as_ref())?;
        let delegation = delegation.map(|sealed| open_delegation(seals, key, row, &sealed)).transpose()?;
        Ok(Event { reason: sealed.or(self.event.reason), delegation, ..self.event })
    }

    /// The event without what is sealed.
    pub(crate) fn unopened(self) -> Event {
        self.event
    }

    /// What is told of a reason whose key is not there, though nobody destroyed it.
    pub(crate) fn without_key(&self) -> StoreError {
        let name = RowName { table: REASON.table(), row: self.event.id.uuid() };
        name.corrupt_by(REASON.column(), Corruption::KeyMissing)
    }
}

/// In which language notices were shown at these events: of those that had one and are what was written.
pub(crate) async fn languages(
    tx: &Reading<'_>,
    events: &[(ConsentId, u64)],
) -> Result<BTreeMap<ConsentId, Language>, StoreError> {
    use consent_event::Column::{ConsentId as Of, Sequence};
    let keys = events.iter().map(|(id, number)| vec![id.uuid().into(), integer(*number).into()]);
    let mut languages = BTreeMap::new();
    for model in tx.find::<consent_event::Entity>(&[Of, Sequence], keys.collect()).await? {
        let event = sound(tx.checked(model).and_then(rows::event))?;
        languages.extend(event.and_then(|event| Some((event.consent, event.language?))));
    }
    Ok(languages)
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
    let reason = model.sealed_reason.take().filter(|_| model.reason.is_none());
    let delegation = model.sealed_delegation.take();
    let event = rows::event(model)?;
    let is_sealed = reason.is_some() || delegation.is_some();
    Ok(StoredEvent { event, sealed: is_sealed.then_some(SealedWords { row, reason, delegation }) })
}

/// Who decided for the subject, as it is sealed in `row`.
pub(in crate::store) fn open_delegation(
    seals: &Seals,
    key: &SubjectKey,
    row: portal_store::sealed::Row,
    sealed: &Sealed<Sensitive<String>>,
) -> Result<Delegation, StoreError> {
    let json = DELEGATION.open(&seals.sealing, key, row, sealed)?;
    documents::read_delegation(json.expose()).ok_or_else(|| {
        let row = Uuid::from_bytes(row.id).to_string();
        let (table, column) = (DELEGATION.table(), DELEGATION.column());
        StoreError::Corrupt { table, column, row, cause: Corruption::ValueInvalid }
    })
}

/// An event that is to be appended with others.
pub(crate) struct Appended<'a> {
    pub(crate) event: Event,
    pub(crate) evidence: &'a [Evidence],
    /// Its subject's: needed if there is a reason or evidence.
    pub(crate) key: Option<&'a Arc<SubjectKey>>,
}

/// Adds events and their evidence.
pub(in crate::store) fn append_many(
    tx: &Writing<'_>,
    inserts: &mut Inserts,
    events: &[Appended<'_>],
) -> Result<(), StoreError> {
    let (mut rows, mut documents) = (Vec::with_capacity(events.len()), Vec::new());
    for Appended { event, evidence, key } in events {
        let mut model = rows::event_model(event);
        write_reason(tx, &mut model, *key)?;
        write_delegation(tx, &mut model, event, *key)?;
        rows.push(tx.with_digest(model)?);
        for (position, evidence) in (0..).zip(*evidence) {
            let mut model = rows::evidence_model(event.id, position, evidence);
            write_content(tx, &mut model, *key)?;
            documents.push(tx.with_digest(model)?);
        }
    }
    add_all(inserts, rows)?;
    add_all(inserts, documents)
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

/// Seals who decided for the subject: in whatever form other columns are written, it never stands in the clear.
fn write_delegation(
    tx: &Writing<'_>,
    model: &mut consent_event::Model,
    event: &Event,
    key: Option<&Arc<SubjectKey>>,
) -> Result<(), StoreError> {
    if let Some(delegation) = &event.delegation {
        let name = RowName { table: DELEGATION.table(), row: model.event_id };
        let key = key.ok_or_else(|| name.corrupt_by(DELEGATION.column(), Corruption::KeyMissing))?;
        let sealed = documents::delegation(delegation);
        model.sealed_delegation = Some(DELEGATION.seal(&tx.seals().sealing, key, model.row(), &sealed)?);
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
