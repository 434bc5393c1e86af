//! Receipts: what they say, fixed with the event they prove.

use std::collections::BTreeSet;
use std::sync::Arc;

use portal_core::id::{ConsentId, EventId, Id, SubjectId};
use portal_core::{PageSize, Sensitive, Timestamp};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_crypto::kdf::Label;
use portal_keys::ServiceColumn;
use portal_store::sealed::{DigestedRow, Row, SealedColumn};
use portal_store::{Corruption, Inserts, Sealed, StoreError};
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, QueryOrder, QuerySelect};

use crate::domain::consent::{Consent, Event};
use crate::store::entity::{consent_event, receipt};
use crate::store::events::Appended;
use crate::store::rows::integer;
use crate::store::{Page, Reading, Seals, Writing, add_all};

/// The texts of notices and purposes that are in it are public: its length tells nothing more.
pub(in crate::store) const PAYLOAD: SealedColumn<Sensitive<Vec<u8>>> =
    SealedColumn::new("receipt", "sealed_payload", Padding::To64);
/// What is sealed where the key of the subject can't be had.
pub(crate) const OF_SERVICE: ServiceColumn = ServiceColumn {
    key: Label::ReceiptSealing,
    label: b"portal/receipt/v1\0",
    table: "receipt",
    column: "service_payload",
};

/// Adds what the receipts of `events` say. Each is sealed under the key of its subject, or under the service's own.
pub(crate) fn append_many(
    tx: &Writing<'_>,
    inserts: &mut Inserts,
    events: &[Appended<'_>],
    payloads: Vec<Vec<u8>>,
) -> Result<(), StoreError> {
    let rows = events.iter().zip(payloads);
    let rows = rows.map(|(appended, payload)| model(tx, &appended.event, payload, appended.key));
    add_all(inserts, rows.collect::<Result<_, _>>()?)
}

fn model(
    tx: &Writing<'_>,
    event: &Event,
    payload: Vec<u8>,
    key: Option<&Arc<SubjectKey>>,
) -> Result<receipt::Model, StoreError> {
    let mut model = receipt::Model {
        event_id: event.id.uuid(),
        consent_id: event.consent.uuid(),
        subject_id: event.subject.uuid(),
        recorded_at: event.recorded_at.as_micros(),
        sealed_payload: None,
        service_payload: None,
        row_digest: None,
    };
    let seals = tx.seals();
    match key {
        Some(key) => {
            let payload = Sensitive::new(payload);
            model.sealed_payload = Some(PAYLOAD.seal(&seals.sealing, key, model.row(), &payload)?);
        }
        None => model.service_payload = Some(seals.receipts.seal(model.row(), &payload)?),
    }
    // Earlier versions don't know the table: whatever the form of other rows, these have digests.
    seals.stamp(&mut model)?;
    Ok(model)
}

/// Which receipts a list shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiptsOf {
    pub(crate) subject: SubjectId,
    /// Of this consent alone.
    pub(crate) consent: Option<ConsentId>,
}

/// A place in a list of receipts: after the one recorded at this time with this event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ReceiptPosition {
    pub(crate) recorded_at: Timestamp,
    pub(crate) id: EventId,
}

/// A receipt as it is stored, checked; what it says is still sealed.
pub(crate) struct StoredReceipt {
    pub(crate) subject: SubjectId,
    row: Row,
    payload: Kept,
}

/// Under whose key a payload is.
enum Kept {
    Service(Vec<u8>),
    Subject(Sealed<Sensitive<Vec<u8>>>),
}

impl StoredReceipt {
    /// Whether it is under the service's own key.
    pub(crate) const fn is_of_service(&self) -> bool {
        matches!(self.payload, Kept::Service(_))
    }

    /// What it says, if it is under the service's own key.
    pub(crate) fn open_of_service(&self, seals: &Seals) -> Result<Vec<u8>, StoreError> {
        match &self.payload {
            Kept::Service(cell) => seals.receipts.open(self.row, cell),
            Kept::Subject(_) => Err(self.without_key()),
        }
    }

    /// What it says, if it is under the key of its subject.
    pub(crate) fn open(&self, seals: &Seals, key: &SubjectKey) -> Result<Vec<u8>, StoreError> {
        match &self.payload {
            Kept::Service(cell) => seals.receipts.open(self.row, cell),
            Kept::Subject(cell) => Ok(PAYLOAD.open(&seals.sealing, key, self.row, cell)?.expose().clone()),
        }
    }

    /// What is told of a payload whose key is not there, though nobody destroyed it.
    pub(crate) fn without_key(&self) -> StoreError {
        corrupt(self.row, Corruption::KeyMissing)
    }

    /// What is told of a payload that opens and is none.
    pub(crate) fn unreadable(&self) -> StoreError {
        corrupt(self.row, Corruption::ValueInvalid)
    }
}

pub(crate) async fn find(tx: &Reading<'_>, event: EventId) -> Result<Option<StoredReceipt>, StoreError> {
    let model = receipt::Entity::find_by_id(event.uuid()).one(tx.conn()).await?;
    model.map(|model| stored(tx, model)).transpose()
}

/// One page, newest first.
pub(crate) async fn page(
    tx: &Reading<'_>,
    of: ReceiptsOf,
    after: Option<ReceiptPosition>,
    size: PageSize,
) -> Result<Page<StoredReceipt, ReceiptPosition>, StoreError> {
    use receipt::Column::{ConsentId, EventId, RecordedAt, SubjectId};
    let mut condition = Condition::all()
        .add(SubjectId.eq(of.subject.uuid()))
        .add_option(of.consent.map(|consent| ConsentId.eq(consent.uuid())));
    if let Some(ReceiptPosition { recorded_at, id }) = after {
        let at = recorded_at.as_micros();
        let same = Condition::all().add(RecordedAt.eq(at)).add(EventId.lt(id.uuid()));
        condition = condition.add(Condition::any().add(RecordedAt.lt(at)).add(same));
    }
    let models = receipt::Entity::find()
        .filter(condition)
        .order_by_desc(RecordedAt)
        .order_by_desc(EventId)
        .limit(u64::from(size.get()) + 1)
        .all(tx.conn())
        .await?;
    let position = |model: &receipt::Model| ReceiptPosition {
        recorded_at: Timestamp::from_micros(model.recorded_at),
        id: portal_core::id::EventId::from_uuid(model.event_id),
    };
    Page::cut(models, size.get(), position, |model| stored(tx, model))
}

/// Digests are looked at whatever the form of other rows: these were never without.
fn stored(tx: &Reading<'_>, model: receipt::Model) -> Result<StoredReceipt, StoreError> {
    tx.seals().verify(&model)?;
    unchecked(model)
}

/// The receipt in `model`, whose digest is looked at elsewhere.
pub(in crate::store) fn unchecked(mut model: receipt::Model) -> Result<StoredReceipt, StoreError> {
    let row = model.row();
    let payload = match (model.sealed_payload.take(), model.service_payload.take()) {
        (Some(cell), None) => Kept::Subject(cell),
        (None, Some(cell)) => Kept::Service(cell),
        (None, None) | (Some(_), Some(_)) => {
            return Err(corrupt(row, Corruption::ValueInvalid));
        }
    };
    Ok(StoredReceipt { subject: SubjectId::from_uuid(model.subject_id), row, payload })
}

fn corrupt(row: Row, cause: Corruption) -> StoreError {
    StoreError::Corrupt { table: PAYLOAD.table(), column: PAYLOAD.column(), row: row.to_string(), cause }
}

/// Of `events`, those that have a receipt.
pub(crate) async fn existing(tx: &Reading<'_>, events: &[Uuid]) -> Result<BTreeSet<Uuid>, StoreError> {
    if events.is_empty() {
        return Ok(BTreeSet::new());
    }
    let ids: Vec<Uuid> = receipt::Entity::find()
        .select_only()
        .column(receipt::Column::EventId)
        .filter(receipt::Column::EventId.is_in(events.iter().copied()))
        .into_tuple()
        .all(tx.conn())
        .await?;
    Ok(ids.into_iter().collect())
}

/// The event that brought `consent` to its state, if that has a receipt.
pub(crate) async fn of_state(tx: &Reading<'_>, consent: &Consent) -> Result<Option<EventId>, StoreError> {
    let facts = consent.facts();
    let event = consent_event::Entity::find()
        .filter(consent_event::Column::ConsentId.eq(facts.id.uuid()))
        .filter(consent_event::Column::Sequence.eq(integer(facts.version)))
        .one(tx.conn())
        .await?;
    let Some(event) = event else { return Ok(None) };
    tx.check(&event)?;
    let receipt = receipt::Entity::find_by_id(event.event_id).one(tx.conn()).await?;
    Ok(receipt.map(|receipt| EventId::from_uuid(receipt.event_id)))
}
