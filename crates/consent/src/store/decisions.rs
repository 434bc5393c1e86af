//! What decisions need to know, read for many questions at once.

use std::collections::{BTreeMap, BTreeSet};

use portal_core::Timestamp;
use portal_core::id::{ConsentId, Id, NoticeId, PurposeId, SubjectId};
use portal_store::{ReadTx, StoreError};
use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, QuerySelect};

use crate::domain::consent::{Basis, Consent};
use crate::domain::decision::{Coverage, KnownPurpose, Question, Record, Standing};
use crate::domain::status::Status;
use crate::store::entity::{consent, consent_event, notice_revision, purpose, purpose_revision};
use crate::store::rows;

/// What is known of those of `ids` that were ever published.
pub(crate) async fn purposes(
    tx: &ReadTx,
    ids: &BTreeSet<PurposeId>,
) -> Result<BTreeMap<PurposeId, KnownPurpose>, StoreError> {
    let uuids = || ids.iter().map(|id| id.uuid());
    let purposes =
        purpose::Entity::find().filter(purpose::Column::PurposeId.is_in(uuids())).all(tx.conn()).await?;
    let archived: BTreeMap<_, _> = purposes.iter().map(|row| (row.purpose_id, row.archived_at)).collect();
    let revisions = purpose_revision::Entity::find()
        .filter(purpose_revision::Column::PurposeId.is_in(uuids()))
        .filter(purpose_revision::Column::PublishedAt.is_not_null())
        .all(tx.conn())
        .await?;
    let mut known: BTreeMap<PurposeId, KnownPurpose> = BTreeMap::new();
    for row in revisions {
        let Some(published_at) = row.published_at.map(Timestamp::from_micros) else { continue };
        let revision = rows::revision("purpose_revision", row.purpose_id, row.revision)?;
        let (personal_data, recipients) = rows::coverage(&row)?;
        let archived_at = archived.get(&row.purpose_id).copied().flatten().map(Timestamp::from_micros);
        known
            .entry(PurposeId::from_uuid(row.purpose_id))
            .or_insert_with(|| KnownPurpose { archived_at, revisions: BTreeMap::new() })
            .revisions
            .insert(revision, Coverage { personal_data, recipients, published_at });
    }
    Ok(known)
}

/// The standing that each question asks for, in their order.
pub(crate) async fn standings(
    tx: &ReadTx,
    questions: &[Question],
    now: Timestamp,
) -> Result<Vec<Standing>, StoreError> {
    let consents = consents(tx, questions).await?;
    let notices: BTreeSet<NoticeId> = consents.values().map(|consent| consent.facts().basis.notice).collect();
    let mut material = material_revisions(tx, &notices).await?;
    let mut standings = Vec::with_capacity(questions.len());
    for question in questions {
        let Some(consent) = consents.get(&(question.subject, question.purpose)) else {
            standings.push(Standing::None);
            continue;
        };
        let facts = consent.facts();
        let (status, basis, expires_at) = if question.at >= now || question.at >= facts.event_at {
            (facts.status, facts.basis, facts.expires_at)
        } else {
            let Some(past) = past(tx, facts.id, question.at).await? else {
                standings.push(Standing::NotYet(facts.id));
                continue;
            };
            if !material.contains_key(&past.1.notice) {
                material.extend(material_revisions(tx, &BTreeSet::from([past.1.notice])).await?);
            }
            past
        };
        let later = material.get(&basis.notice).into_iter().flatten();
        let later =
            later.filter(|(revision, _)| *revision > basis.notice_revision).map(|(_, at)| *at).collect();
        let consent = facts.id;
        standings.push(Standing::Recorded(Record {
            consent,
            status,
            basis,
            expires_at,
            later_material_notices: later,
        }));
    }
    Ok(standings)
}

async fn consents(
    tx: &ReadTx,
    questions: &[Question],
) -> Result<BTreeMap<(SubjectId, PurposeId), Consent>, StoreError> {
    let mut by_purpose: BTreeMap<PurposeId, BTreeSet<SubjectId>> = BTreeMap::new();
    for question in questions {
        by_purpose.entry(question.purpose).or_default().insert(question.subject);
    }
    let mut consents = BTreeMap::new();
    for (purpose, subjects) in by_purpose {
        let models = consent::Entity::find()
            .filter(consent::Column::PurposeId.eq(purpose.uuid()))
            .filter(consent::Column::SubjectId.is_in(subjects.iter().map(|subject| subject.uuid())))
            .all(tx.conn())
            .await?;
        for model in &models {
            let consent = rows::consent(model)?;
            consents.insert((consent.facts().subject, consent.facts().purpose), consent);
        }
    }
    Ok(consents)
}

/// The published revisions of `notices` that changed the terms, with the time of publication; an entry for each notice.
async fn material_revisions(
    tx: &ReadTx,
    notices: &BTreeSet<NoticeId>,
) -> Result<BTreeMap<NoticeId, Vec<(u32, Timestamp)>>, StoreError> {
    let mut found: BTreeMap<_, Vec<_>> = notices.iter().map(|notice| (*notice, Vec::new())).collect();
    let rows: Vec<(Uuid, i64, i64)> = notice_revision::Entity::find()
        .select_only()
        .column(notice_revision::Column::NoticeId)
        .column(notice_revision::Column::Revision)
        .column(notice_revision::Column::PublishedAt)
        .filter(notice_revision::Column::NoticeId.is_in(notices.iter().map(|id| id.uuid())))
        .filter(notice_revision::Column::MaterialChange.eq(true))
        .filter(notice_revision::Column::PublishedAt.is_not_null())
        .into_tuple()
        .all(tx.conn())
        .await?;
    for (notice, revision, published_at) in rows {
        let revision = rows::revision("notice_revision", notice, revision)?;
        let entry = found.entry(NoticeId::from_uuid(notice)).or_default();
        entry.push((revision, Timestamp::from_micros(published_at)));
    }
    Ok(found)
}

/// What the last event up to `at` left.
async fn past(
    tx: &ReadTx,
    consent: ConsentId,
    at: Timestamp,
) -> Result<Option<(Status, Basis, Option<Timestamp>)>, StoreError> {
    let model = consent_event::Entity::find()
        .filter(consent_event::Column::ConsentId.eq(consent.uuid()))
        .filter(consent_event::Column::EventAt.lte(at.as_micros()))
        .order_by_desc(consent_event::Column::EventAt)
        .order_by_desc(consent_event::Column::Sequence)
        .one(tx.conn())
        .await?;
    model
        .map(|model| rows::event(model).map(|event| (event.status, event.basis, event.expires_at)))
        .transpose()
}
