//! What decisions need to know, read for many questions at once.
//!
//! Only plain columns: no decision waits for a key. Every row that a decision rests on is checked against its digest,
//! also those whose columns say that they don't count, such as drafts and changes that are not material: whoever could
//! change the one could change the other. A question that a corrupt row bears on gets an error of its own; the others
//! are answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portal_core::Timestamp;
use portal_core::id::{ConsentId, Id, NoticeId, PurposeId, SubjectId};
use portal_store::StoreError;
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;

use crate::domain::consent::{Consent, Event};
use crate::domain::decision::{Coverage, KnownPurpose, Question, Record, Standing};
use crate::store::entity::{consent_event, notice_revision, purpose, purpose_revision};
use crate::store::rows::{self, RowName};
use crate::store::{Reading, consents};

/// What was read, or why the row is corrupt.
pub(crate) type Read<T> = Result<T, Arc<StoreError>>;

/// What is known of those of `ids` that were ever published.
pub(crate) async fn purposes(
    tx: &Reading<'_>,
    ids: &BTreeSet<PurposeId>,
) -> Result<BTreeMap<PurposeId, Read<KnownPurpose>>, StoreError> {
    let uuids = || ids.iter().map(|id| id.uuid());
    let purposes =
        purpose::Entity::find().filter(purpose::Column::PurposeId.is_in(uuids())).all(tx.conn()).await?;
    let purposes: BTreeMap<_, _> = purposes.into_iter().map(|row| (row.purpose_id, row)).collect();
    let revisions = purpose_revision::Entity::find()
        .filter(purpose_revision::Column::PurposeId.is_in(uuids()))
        .all(tx.conn())
        .await?;
    let mut by_purpose: BTreeMap<Uuid, Vec<purpose_revision::Model>> = BTreeMap::new();
    for row in revisions {
        by_purpose.entry(row.purpose_id).or_default().push(row);
    }
    let mut known = BTreeMap::new();
    for (id, revisions) in by_purpose {
        let purpose = purposes.get(&id).ok_or(RowName { table: "purpose", row: id }.corrupt("purpose_id"));
        let purpose = separate(purpose.and_then(|purpose| known_purpose(tx, purpose, &revisions)))?;
        if purpose.as_ref().map_or(true, |purpose| !purpose.revisions.is_empty()) {
            known.insert(PurposeId::from_uuid(id), purpose);
        }
    }
    Ok(known)
}

pub(in crate::store) fn known_purpose(
    tx: &Reading<'_>,
    purpose: &purpose::Model,
    revisions: &[purpose_revision::Model],
) -> Result<KnownPurpose, StoreError> {
    tx.check(purpose)?;
    let mut known = KnownPurpose {
        archived_at: purpose.archived_at.map(Timestamp::from_micros),
        revisions: BTreeMap::new(),
    };
    for row in revisions {
        tx.check(row)?;
        let Some(published_at) = row.published_at.map(Timestamp::from_micros) else { continue };
        let revision = rows::revision("purpose_revision", row.purpose_id, row.revision)?;
        let material = row.material_change.unwrap_or_default();
        let (personal_data, recipients) = rows::coverage(row)?;
        known.revisions.insert(revision, Coverage { personal_data, recipients, published_at, material });
    }
    Ok(known)
}

/// What a question rests on.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) standing: Standing,
    /// The event that led to it: the one with this number in the history of the consent.
    pub(crate) event: Option<(ConsentId, u64)>,
}

/// The standing that each question asks for, in their order.
pub(crate) async fn standings(
    tx: &Reading<'_>,
    questions: &[Question],
    now: Timestamp,
) -> Result<Vec<Read<Found>>, StoreError> {
    let consents = consents(tx, questions).await?;
    let mut standings = Vec::with_capacity(questions.len());
    for question in questions {
        standings.push(match consents.get(&(question.subject, question.purpose)) {
            None => Ok(Found { standing: Standing::None, event: None }),
            Some(Err(corrupt)) => Err(Arc::clone(corrupt)),
            Some(Ok(consent)) => standing(tx, consent, question.at, now).await?,
        });
    }
    add_later_notices(tx, &mut standings).await?;
    Ok(standings)
}

/// The ids of these events.
pub(crate) async fn event_ids(
    tx: &Reading<'_>,
    events: &[(ConsentId, u64)],
) -> Result<BTreeMap<(ConsentId, u64), Uuid>, StoreError> {
    use consent_event::Column;
    if events.is_empty() {
        return Ok(BTreeMap::new());
    }
    let keys = events.iter().map(|(id, number)| vec![id.uuid().into(), rows::integer(*number).into()]);
    let found =
        tx.find::<consent_event::Entity>(&[Column::ConsentId, Column::Sequence], keys.collect()).await?;
    let named = found.into_iter().map(|event| {
        ((ConsentId::from_uuid(event.consent_id), event.sequence.unsigned_abs()), event.event_id)
    });
    Ok(named.collect())
}

/// What was recorded up to `at`, without what became of its notice.
async fn standing(
    tx: &Reading<'_>,
    consent: &Consent,
    at: Timestamp,
    now: Timestamp,
) -> Result<Read<Found>, StoreError> {
    let facts = consent.facts();
    let (status, basis, expires_at, number) = if at >= now || at >= facts.event_at {
        (facts.status, facts.basis, facts.expires_at, facts.version)
    } else {
        match separate(past(tx, facts.id, at).await)? {
            Err(corrupt) => return Ok(Err(corrupt)),
            Ok(None) => return Ok(Ok(Found { standing: Standing::NotYet(facts.id), event: None })),
            Ok(Some(last)) => (last.status, last.basis, last.expires_at, last.sequence),
        }
    };
    let (consent, later_material_notices) = (facts.id, Vec::new());
    let standing = Standing::Recorded(Record { consent, status, basis, expires_at, later_material_notices });
    Ok(Ok(Found { standing, event: Some((consent, number)) }))
}

async fn consents(
    tx: &Reading<'_>,
    questions: &[Question],
) -> Result<BTreeMap<(SubjectId, PurposeId), Read<Consent>>, StoreError> {
    let mut by_purpose: BTreeMap<PurposeId, BTreeSet<SubjectId>> = BTreeMap::new();
    for question in questions {
        by_purpose.entry(question.purpose).or_default().insert(question.subject);
    }
    consents::of_all(tx, &by_purpose).await
}

/// Adds the revisions of their notices that were published later and changed the terms.
async fn add_later_notices(tx: &Reading<'_>, standings: &mut [Read<Found>]) -> Result<(), StoreError> {
    let mut oldest: BTreeMap<NoticeId, u32> = BTreeMap::new();
    for found in standings.iter().flatten() {
        if let Standing::Recorded(Record { basis, .. }) = &found.standing {
            let oldest = oldest.entry(basis.notice).or_insert(basis.notice_revision);
            *oldest = basis.notice_revision.min(*oldest);
        }
    }
    let later = later_revisions(tx, oldest).await?;
    for found in standings {
        let Ok(Found { standing: Standing::Recorded(record), .. }) = found else { continue };
        match later.get(&record.basis.notice) {
            None => {}
            Some(Err(corrupt)) => *found = Err(Arc::clone(corrupt)),
            Some(Ok(later)) => {
                let later = later.iter().filter(|(revision, _)| *revision > record.basis.notice_revision);
                record.later_material_notices = later.map(|(_, at)| *at).collect();
            }
        }
    }
    Ok(())
}

/// The revisions of notices after the given ones that were published and changed the terms, with the time of that.
async fn later_revisions(
    tx: &Reading<'_>,
    after: BTreeMap<NoticeId, u32>,
) -> Result<BTreeMap<NoticeId, Read<Vec<(u32, Timestamp)>>>, StoreError> {
    let mut by_revision: BTreeMap<u32, Vec<Uuid>> = BTreeMap::new();
    for (notice, revision) in after {
        by_revision.entry(revision).or_default().push(notice.uuid());
    }
    let mut found: BTreeMap<NoticeId, Read<Vec<_>>> = BTreeMap::new();
    for (revision, notices) in by_revision {
        // Most consents rest on the newest revision: then there is nothing to read.
        let models = notice_revision::Entity::find()
            .filter(notice_revision::Column::NoticeId.is_in(notices))
            .filter(notice_revision::Column::Revision.gt(i64::from(revision)))
            .all(tx.conn())
            .await?;
        for model in &models {
            let notice = NoticeId::from_uuid(model.notice_id);
            match (separate(material(tx, model))?, found.entry(notice).or_insert_with(|| Ok(Vec::new()))) {
                (Ok(Some(material)), Ok(later)) => later.push(material),
                (Ok(None), _) | (Ok(Some(_)), Err(_)) => {}
                (Err(corrupt), entry) => *entry = Err(corrupt),
            }
        }
    }
    Ok(found)
}

/// The revision in `model` and when it was published, if it changed the terms.
pub(in crate::store) fn material(
    tx: &Reading<'_>,
    model: &notice_revision::Model,
) -> Result<Option<(u32, Timestamp)>, StoreError> {
    tx.check(model)?;
    let revision = rows::revision("notice_revision", model.notice_id, model.revision)?;
    let published = model.published_at.filter(|_| model.material_change);
    Ok(published.map(|at| (revision, Timestamp::from_micros(at))))
}

/// The last event that was recorded of those up to `at`: a withdrawal that was told late counts against what was given
/// after it. All events are read: which one was the last, the others say as well, and a forged time must not hide a
/// withdrawal.
async fn past(tx: &Reading<'_>, consent: ConsentId, at: Timestamp) -> Result<Option<Event>, StoreError> {
    Ok(history(tx, consent, at).await?.pop())
}

/// The events up to `at` in the order in which they were recorded, without the reasons that are sealed. All are read and
/// checked.
pub(crate) async fn history(
    tx: &Reading<'_>,
    consent: ConsentId,
    at: Timestamp,
) -> Result<Vec<Event>, StoreError> {
    let models = consent_event::Entity::find()
        .filter(consent_event::Column::ConsentId.eq(consent.uuid()))
        .order_by_asc(consent_event::Column::Sequence)
        .all(tx.conn())
        .await?;
    let events = models.into_iter().map(|model| rows::event(tx.checked(model)?));
    let events = events.collect::<Result<Vec<_>, _>>()?;
    Ok(events.into_iter().filter(|event| event.event_at <= at).collect())
}

/// Keeps apart what bears on some questions alone.
pub(in crate::store) fn separate<T>(read: Result<T, StoreError>) -> Result<Read<T>, StoreError> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(error @ StoreError::Corrupt { .. }) => Ok(Err(Arc::new(error))),
        Err(error) => Err(error),
    }
}
