//! Consents: one row per subject and purpose, written with the event that changed it.

use std::sync::Arc;

use portal_core::id::{ConsentId, Id, PurposeId, SubjectId};
use portal_core::{PageSize, Timestamp};
use portal_crypto::envelope::SubjectKey;
use portal_store::StoreError;
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, QueryOrder, QuerySelect};

use crate::domain::consent::{Consent, Event, Evidence};
use crate::domain::status::Status;
use crate::store::entity::consent;
use crate::store::rows::{self, integer};
use crate::store::{ConsentPosition, Page, Reading, Writing, events, sound};

/// Which consents a list shows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) subject: Option<SubjectId>,
    pub(crate) purpose: Option<PurposeId>,
    /// As it is at the time of the query.
    pub(crate) status: Option<Status>,
}

pub(crate) async fn find(tx: &Reading<'_>, id: ConsentId) -> Result<Option<Consent>, StoreError> {
    let model = consent::Entity::find_by_id(id.uuid()).one(tx.conn()).await?;
    model.map(|model| read(tx, &model)).transpose()
}

/// The consent of `subject` to `purpose`.
pub(crate) async fn of(
    tx: &Reading<'_>,
    subject: SubjectId,
    purpose: PurposeId,
) -> Result<Option<Consent>, StoreError> {
    let model = consent::Entity::find()
        .filter(consent::Column::SubjectId.eq(subject.uuid()))
        .filter(consent::Column::PurposeId.eq(purpose.uuid()))
        .one(tx.conn())
        .await?;
    model.map(|model| read(tx, &model)).transpose()
}

/// The consents of `subject` that are in force at `now`, oldest change first, and how many rows are corrupt. All are
/// read: a forged state must not hide one.
pub(crate) async fn in_force(
    tx: &Reading<'_>,
    subject: SubjectId,
    now: Timestamp,
) -> Result<(Vec<Consent>, usize), StoreError> {
    let models = consent::Entity::find()
        .filter(consent::Column::SubjectId.eq(subject.uuid()))
        .order_by_asc(consent::Column::RecordedAt)
        .order_by_asc(consent::Column::ConsentId)
        .all(tx.conn())
        .await?;
    let (mut consents, mut withheld) = (Vec::with_capacity(models.len()), 0);
    for model in &models {
        match sound(read(tx, model))? {
            Some(consent) if consent.status_at(now).permits() => consents.push(consent),
            Some(_) => {}
            None => withheld += 1,
        }
    }
    Ok((consents, withheld))
}

/// One page, the latest change first.
pub(crate) async fn page(
    tx: &Reading<'_>,
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
    let position = |model: &consent::Model| ConsentPosition {
        recorded_at: Timestamp::from_micros(model.recorded_at),
        id: portal_core::id::ConsentId::from_uuid(model.consent_id),
    };
    Page::cut(models, size.get(), position, |model| read(tx, &model))
}

/// The consent in `model`, if that is what was written.
pub(in crate::store) fn read(tx: &Reading<'_>, model: &consent::Model) -> Result<Consent, StoreError> {
    tx.check(model)?;
    rows::consent(model)
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

/// Writes a change: the event, its evidence, and the state after it over the state before. `key` is the subject's: needed
/// if there is a reason or evidence.
pub(crate) async fn append(
    tx: &Writing<'_>,
    consent: &Consent,
    event: &Event,
    evidence: &[Evidence],
    key: Option<&Arc<SubjectKey>>,
) -> Result<(), StoreError> {
    let facts = consent.facts();
    let row: consent::ActiveModel = tx.stamped(rows::consent_model(facts))?;
    let affected = if facts.version == 1 {
        // A concurrent first decision makes this a conflict on PostgreSQL, which runs the transaction again; SQLite has
        // one writer.
        consent::Entity::insert(row)
            .on_conflict_do_nothing_on([consent::Column::SubjectId, consent::Column::PurposeId])
            .exec_without_returning(tx.conn())
            .await
            .map(|inserted| match inserted {
                sea_orm::TryInsertResult::Inserted(rows) => rows,
                sea_orm::TryInsertResult::Conflicted | sea_orm::TryInsertResult::Empty => 0,
            })?
    } else {
        consent::Entity::update_many()
            .set(row)
            .filter(consent::Column::ConsentId.eq(facts.id.uuid()))
            .filter(consent::Column::Version.eq(integer(facts.version) - 1))
            .exec(tx.conn())
            .await?
            .rows_affected
    };
    StoreError::check_rows(1, affected)?;
    events::append(tx, event, evidence, key).await
}
