//! Consents: one row per subject and purpose, written with the event that changed it.

use std::collections::{BTreeMap, BTreeSet};

use portal_core::id::{ConsentId, Id, PurposeId, SubjectId};
use portal_core::{PageSize, Timestamp};
use portal_store::{Inserts, StoreError, bulk};
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, ExprTrait, Iterable, ModelTrait, QueryOrder, QuerySelect};

use crate::domain::consent::Consent;
use crate::domain::status::Status;
use crate::store::decisions::{Read, separate};
use crate::store::entity::consent;
use crate::store::events::Appended;
use crate::store::rows::{self, integer};
use crate::store::{ConsentPosition, Page, Reading, Writing, add_all, events, sound};

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

/// Of every subject and purpose asked for, the consent if there is one.
pub(crate) async fn of_all(
    tx: &Reading<'_>,
    wanted: &BTreeMap<PurposeId, BTreeSet<SubjectId>>,
) -> Result<BTreeMap<(SubjectId, PurposeId), Read<Consent>>, StoreError> {
    let pairs = wanted.iter().flat_map(|(purpose, subjects)| {
        subjects.iter().map(|subject| vec![subject.uuid().into(), purpose.uuid().into()])
    });
    let key = [consent::Column::SubjectId, consent::Column::PurposeId];
    let models = tx.find::<consent::Entity>(&key, pairs.collect()).await?;
    let read = |model: &consent::Model| {
        let whose = (SubjectId::from_uuid(model.subject_id), PurposeId::from_uuid(model.purpose_id));
        Ok((whose, separate(read(tx, model))?))
    };
    models.iter().map(read).collect()
}

/// A page of the consents that have ended by themselves at `now` and are not recorded as ended, the first to end first:
/// with where the next page begins. What had ended when it was recorded is left alone until `settled`: there may be more
/// to come that was decided before that end.
pub(crate) async fn ended(
    tx: &Reading<'_>,
    (now, settled): (Timestamp, Timestamp),
    after: Option<(Timestamp, ConsentId)>,
    limit: u64,
) -> Result<(Vec<Consent>, Option<(Timestamp, ConsentId)>), StoreError> {
    use consent::Column::{ConsentId as Key, ExpiresAt, RecordedAt, Status as Column};
    let in_force = Status::ALL.into_iter().filter(|status| status.permits()).map(Status::name);
    let told_late = Condition::any()
        .add(Expr::col(ExpiresAt).gt(Expr::col(RecordedAt)))
        .add(RecordedAt.lte(settled.as_micros()));
    let mut condition =
        Condition::all().add(Column.is_in(in_force)).add(ExpiresAt.lte(now.as_micros())).add(told_late);
    if let Some((end, id)) = after {
        let end = end.as_micros();
        let same = Condition::all().add(ExpiresAt.eq(end)).add(Key.gt(id.uuid()));
        condition = condition.add(Condition::any().add(ExpiresAt.gt(end)).add(same));
    }
    let models = consent::Entity::find()
        .filter(condition)
        .order_by_asc(ExpiresAt)
        .order_by_asc(Key)
        .limit(limit)
        .all(tx.conn())
        .await?;
    let next = models.last().filter(|_| models.len() as u64 == limit).and_then(|model| {
        Some((Timestamp::from_micros(model.expires_at?), ConsentId::from_uuid(model.consent_id)))
    });
    let mut consents = Vec::with_capacity(models.len());
    for model in &models {
        consents.extend(sound(read(tx, model))?);
    }
    Ok((consents, next))
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

/// Writes many changes, in a number of statements that does not grow with theirs: the events in their order, and of every
/// consent the state after the last of its own over the state that was read. What is new is added to `inserts`.
pub(crate) async fn append_many(
    tx: &Writing<'_>,
    inserts: &mut Inserts,
    (changed, events): (&[Changed], &[Appended<'_>]),
) -> Result<(), StoreError> {
    use consent::Column::{ConsentId as Key, Version};
    let (mut new, mut rows) = (Vec::new(), Vec::new());
    let columns: Vec<_> = consent::Column::iter().filter(|column| !matches!(column, Key)).collect();
    for Changed { consent, version } in changed {
        let model = tx.with_digest(rows::consent_model(consent.facts()))?;
        if *version == 0 {
            new.push(model);
        } else {
            let mut row = vec![model.consent_id.into(), integer(*version).into()];
            row.extend(columns.iter().map(|column| model.get(*column)));
            rows.push(row);
        }
    }
    add_all(inserts, new)?;
    if !rows.is_empty() {
        let expected = rows.len() as u64;
        let updated = bulk::update::<consent::Entity>(tx.tx(), &[Key, Version], &columns, rows).await?;
        StoreError::check_rows(expected, updated)?;
    }
    events::append_many(tx, inserts, events)
}

/// A consent that was changed, perhaps several times.
pub(crate) struct Changed {
    pub(crate) consent: Consent,
    /// What was read; 0 if there was nothing.
    pub(crate) version: u64,
}
