//! Consents, their events and evidence.

use portal_core::id::{ConsentId, Id, PurposeId, SubjectId};
use portal_core::{PageSize, Timestamp};
use portal_store::{ReadTx, StoreError, Tx};
use sea_orm::entity::prelude::*;
use sea_orm::{ActiveValue::Set, Condition, IntoActiveModel, QueryOrder, QuerySelect};

use crate::domain::consent::{Consent, Event, Evidence, Facts};
use crate::domain::status::Status;
use crate::store::entity::{consent, consent_event, evidence};
use crate::store::rows::{self, integer};
use crate::store::{ConsentPosition, EventPosition, Page};

/// Which consents a list shows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) subject: Option<SubjectId>,
    pub(crate) purpose: Option<PurposeId>,
    /// As it is at the time of the query.
    pub(crate) status: Option<Status>,
}

/// Whose events a list shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EventsOf {
    Consent(ConsentId),
    Subject(SubjectId),
}

pub(crate) async fn find(tx: &ReadTx, id: ConsentId) -> Result<Option<Consent>, StoreError> {
    let model = consent::Entity::find_by_id(id.uuid()).one(tx.conn()).await?;
    model.as_ref().map(rows::consent).transpose()
}

/// The consent of `subject` to `purpose`.
pub(crate) async fn of(
    tx: &ReadTx,
    subject: SubjectId,
    purpose: PurposeId,
) -> Result<Option<Consent>, StoreError> {
    let model = consent::Entity::find()
        .filter(consent::Column::SubjectId.eq(subject.uuid()))
        .filter(consent::Column::PurposeId.eq(purpose.uuid()))
        .one(tx.conn())
        .await?;
    model.as_ref().map(rows::consent).transpose()
}

/// The consents of `subject` that are in force at `now`, oldest change first.
pub(crate) async fn in_force(
    tx: &ReadTx,
    subject: SubjectId,
    now: Timestamp,
) -> Result<Vec<Consent>, StoreError> {
    let permitting = Status::ALL.into_iter().filter(|status| status.permits()).map(Status::name);
    let models = consent::Entity::find()
        .filter(consent::Column::SubjectId.eq(subject.uuid()))
        .filter(consent::Column::Status.is_in(permitting))
        .filter(not_past(now))
        .order_by_asc(consent::Column::RecordedAt)
        .order_by_asc(consent::Column::ConsentId)
        .all(tx.conn())
        .await?;
    models.iter().map(rows::consent).collect()
}

/// One page, the latest change first.
pub(crate) async fn page(
    tx: &ReadTx,
    filter: Filter,
    after: Option<ConsentPosition>,
    size: PageSize,
    now: Timestamp,
) -> Result<Page<Consent, ConsentPosition>, StoreError> {
    use consent::Column::{ConsentId, PurposeId, RecordedAt, SubjectId};
    let mut condition = Condition::all()
        .add_option(filter.subject.map(|subject| SubjectId.eq(subject.uuid())))
        .add_option(filter.purpose.map(|purpose| PurposeId.eq(purpose.uuid())))
        .add_option(filter.status.map(|status| has_status(status, now)));
    if let Some(ConsentPosition { recorded_at, id }) = after {
        let at = recorded_at.as_micros();
        let same = Condition::all().add(RecordedAt.eq(at)).add(ConsentId.lt(id.uuid()));
        condition = condition.add(Condition::any().add(RecordedAt.lt(at)).add(same));
    }
    let models = consent::Entity::find()
        .filter(condition)
        .order_by_desc(RecordedAt)
        .order_by_desc(ConsentId)
        .limit(u64::from(size.get()) + 1)
        .all(tx.conn())
        .await?;
    let consents = models.iter().map(rows::consent).collect::<Result<_, _>>()?;
    Ok(Page::cut(consents, size.get(), |consent: &Consent| ConsentPosition {
        recorded_at: consent.facts().recorded_at,
        id: consent.facts().id,
    }))
}

fn not_past(now: Timestamp) -> Condition {
    let end = consent::Column::ExpiresAt;
    Condition::any().add(end.is_null()).add(end.gt(now.as_micros()))
}

/// Whether a row's status at `now` is `status`.
fn has_status(status: Status, now: Timestamp) -> Condition {
    let recorded = Condition::all().add(consent::Column::Status.eq(status.name()));
    if status == Status::Expired {
        let past = Condition::all().add(consent::Column::ExpiresAt.lte(now.as_micros()));
        return Condition::any().add(recorded).add(past);
    }
    recorded.add(not_past(now))
}

/// One page of history, newest first.
pub(crate) async fn events(
    tx: &ReadTx,
    of: EventsOf,
    after: Option<EventPosition>,
    size: PageSize,
) -> Result<Page<Event, EventPosition>, StoreError> {
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
    let events = models.into_iter().map(rows::event).collect::<Result<_, _>>()?;
    Ok(Page::cut(events, size.get(), |event: &Event| EventPosition {
        recorded_at: event.recorded_at,
        sequence: event.sequence,
        id: event.id,
    }))
}

/// Writes a change: the event, its evidence, and the state after it over the state before.
pub(crate) async fn append(
    tx: &Tx,
    consent: &Consent,
    event: &Event,
    evidence: &[Evidence],
) -> Result<(), StoreError> {
    let facts = consent.facts();
    let affected = if facts.version == 1 {
        // A concurrent first decision makes this a conflict on PostgreSQL, which runs the transaction again; SQLite has
        // one writer.
        consent::Entity::insert(consent_row(facts))
            .on_conflict_do_nothing_on([consent::Column::SubjectId, consent::Column::PurposeId])
            .exec_without_returning(tx.conn())
            .await
            .map(|inserted| match inserted {
                sea_orm::TryInsertResult::Inserted(rows) => rows,
                sea_orm::TryInsertResult::Conflicted | sea_orm::TryInsertResult::Empty => 0,
            })?
    } else {
        consent::Entity::update_many()
            .set(consent_row(facts))
            .filter(consent::Column::ConsentId.eq(facts.id.uuid()))
            .filter(consent::Column::Version.eq(integer(facts.version) - 1))
            .exec(tx.conn())
            .await?
            .rows_affected
    };
    StoreError::check_rows(1, affected)?;
    consent_event::Entity::insert(event_row(event)).exec_without_returning(tx.conn()).await?;
    if evidence.is_empty() {
        return Ok(());
    }
    let rows = (0..).zip(evidence).map(|(position, evidence)| {
        evidence::Model {
            event_id: event.id.uuid(),
            position,
            kind: evidence.kind.name().to_owned(),
            media_type: evidence.media_type.clone(),
            content: evidence.content.expose().clone(),
            content_hash: evidence.content_hash.to_vec(),
        }
        .into_active_model()
    });
    evidence::Entity::insert_many(rows).exec_without_returning(tx.conn()).await?;
    Ok(())
}

fn consent_row(facts: &Facts) -> consent::ActiveModel {
    consent::ActiveModel {
        consent_id: Set(facts.id.uuid()),
        subject_id: Set(facts.subject.uuid()),
        purpose_id: Set(facts.purpose.uuid()),
        purpose_revision: Set(facts.basis.purpose_revision.into()),
        notice_id: Set(facts.basis.notice.uuid()),
        notice_revision: Set(facts.basis.notice_revision.into()),
        status: Set(facts.status.name().to_owned()),
        event_at: Set(facts.event_at.as_micros()),
        recorded_at: Set(facts.recorded_at.as_micros()),
        expires_at: Set(facts.expires_at.map(Timestamp::as_micros)),
        version: Set(integer(facts.version)),
    }
}

fn event_row(event: &Event) -> consent_event::ActiveModel {
    consent_event::ActiveModel {
        event_id: Set(event.id.uuid()),
        consent_id: Set(event.consent.uuid()),
        sequence: Set(integer(event.sequence)),
        subject_id: Set(event.subject.uuid()),
        purpose_id: Set(event.purpose.uuid()),
        purpose_revision: Set(event.basis.purpose_revision.into()),
        notice_id: Set(event.basis.notice.uuid()),
        notice_revision: Set(event.basis.notice_revision.into()),
        language: Set(event.language.as_ref().map(ToString::to_string)),
        previous_status: Set(event.previous.name().to_owned()),
        status: Set(event.status.name().to_owned()),
        method: Set(event.method.map(|method| method.name().to_owned())),
        reason: Set(event.reason.as_ref().map(|reason| reason.expose().clone())),
        actor: Set(event.actor.clone()),
        event_at: Set(event.event_at.as_micros()),
        recorded_at: Set(event.recorded_at.as_micros()),
        expires_at: Set(event.expires_at.map(Timestamp::as_micros)),
    }
}
