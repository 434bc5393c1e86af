//! What a snapshot is loaded from and follows with.
//!
//! Every row is checked as for a decision. A consent that is corrupt is told apart; an event that is corrupt is an error,
//! because nobody can say any more which consent it is about.

use std::collections::BTreeMap;

use portal_core::id::{ConsentId, Id, NoticeId, PurposeId, SubjectId};
use portal_store::StoreError;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, Func};
use sea_orm::{PaginatorTrait, QueryOrder, QuerySelect};

use crate::domain::consent::Facts;
use crate::domain::decision::KnownPurpose;
use crate::domain::snapshot::Terms;
use crate::domain::snapshot::follower::{Read, Step};
use crate::store::decisions::{event_ids, known_purpose, material, separate};
use crate::store::entity::{consent, consent_event, notice, notice_revision, purpose, purpose_revision};
use crate::store::rows::RowName;
use crate::store::{Reading, consents, sound};

/// Events looked up in one statement.
const EVENTS: usize = 1_000;

/// Rises with every change of a purpose or a notice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TermsMark([(i64, i64); 2]);

/// Some consents, in the order of their ids.
pub(crate) struct Loaded {
    /// Each with the event that led to it.
    pub(crate) consents: Vec<(Facts, Option<Uuid>)>,
    pub(crate) corrupt: Vec<(SubjectId, PurposeId)>,
    /// Where to go on.
    pub(crate) last: Option<ConsentId>,
}

/// How many consents there are.
pub(crate) async fn count(tx: &Reading<'_>) -> Result<u64, StoreError> {
    Ok(consent::Entity::find().count(tx.conn()).await?)
}

/// `limit` consents after one.
pub(crate) async fn page(
    tx: &Reading<'_>,
    after: Option<ConsentId>,
    limit: u64,
) -> Result<Loaded, StoreError> {
    let mut query = consent::Entity::find().order_by_asc(consent::Column::ConsentId).limit(limit);
    if let Some(after) = after {
        query = query.filter(consent::Column::ConsentId.gt(after.uuid()));
    }
    let models = query.all(tx.conn()).await?;
    let last = models.last().map(|model| ConsentId::from_uuid(model.consent_id));
    let (facts, corrupt) = read(tx, &models)?;
    let numbers: Vec<_> = facts.iter().map(|facts| (facts.id, facts.version)).collect();
    let mut events = BTreeMap::new();
    for numbers in numbers.chunks(EVENTS) {
        events.extend(event_ids(tx, numbers).await?);
    }
    let with_event = |facts: Facts| {
        let event = events.get(&(facts.id, facts.version)).copied();
        (facts, event)
    };
    Ok(Loaded { consents: facts.into_iter().map(with_event).collect(), corrupt, last })
}

/// What `events` led to, and their consents as they are.
///
/// # Errors
/// [`StoreError::Corrupt`] if an event is corrupt or is not there.
pub(crate) async fn changed(tx: &Reading<'_>, events: &[Uuid]) -> Result<Read, StoreError> {
    let mut all = Read::default();
    for events in events.chunks(EVENTS) {
        let key = consent_event::Column::EventId;
        let models = tx.find_ids::<consent_event::Entity>(key, events.to_vec()).await?;
        if models.len() < events.len() {
            let there = |id: &&Uuid| models.iter().any(|model| model.event_id == **id);
            let missing = events.iter().find(|id| !there(id)).copied().unwrap_or_default();
            return Err(RowName { table: "consent_event", row: missing }.corrupt("event_id"));
        }
        let mut whose = BTreeMap::new();
        for model in &models {
            tx.check(model)?;
            let (subject, purpose) =
                (SubjectId::from_uuid(model.subject_id), PurposeId::from_uuid(model.purpose_id));
            let version = model.sequence.unsigned_abs();
            all.events.push((model.event_id, Step { subject, purpose, version }));
            whose.insert(model.consent_id, (subject, purpose));
        }
        let key = consent::Column::ConsentId;
        let models = tx.find_ids::<consent::Entity>(key, whose.keys().copied().collect()).await?;
        let (facts, corrupt) = read(tx, &models)?;
        for facts in &facts {
            whose.remove(&facts.id.uuid());
        }
        all.consents.extend(facts);
        all.corrupt.extend(corrupt);
        // Those that are not there any more, or say so.
        all.corrupt.extend(whose.into_values());
    }
    Ok(all)
}

type Sorted = (Vec<Facts>, Vec<(SubjectId, PurposeId)>);

/// The sound ones, and whose the others are, as far as they say.
fn read(tx: &Reading<'_>, models: &[consent::Model]) -> Result<Sorted, StoreError> {
    let (mut facts, mut corrupt) = (Vec::with_capacity(models.len()), Vec::new());
    for model in models {
        match sound(consents::read(tx, model))? {
            Some(consent) => facts.push(consent.facts().clone()),
            None => {
                corrupt
                    .push((SubjectId::from_uuid(model.subject_id), PurposeId::from_uuid(model.purpose_id)));
            }
        }
    }
    Ok((facts, corrupt))
}

/// Whether purposes and notices are as they were.
pub(crate) async fn terms_mark(tx: &Reading<'_>) -> Result<TermsMark, StoreError> {
    let purposes = purpose::Entity::find()
        .select_only()
        .expr(Expr::col(purpose::Column::PurposeId).count())
        .expr(Func::coalesce([
            Expr::col(purpose::Column::Version).sum().cast_as("bigint"),
            Expr::value(0_i64),
        ]))
        .into_tuple()
        .one(tx.conn())
        .await?;
    let notices = notice::Entity::find()
        .select_only()
        .expr(Expr::col(notice::Column::NoticeId).count())
        .expr(Func::coalesce([
            Expr::col(notice::Column::Version).sum().cast_as("bigint"),
            Expr::value(0_i64),
        ]))
        .into_tuple()
        .one(tx.conn())
        .await?;
    Ok(TermsMark([purposes.unwrap_or_default(), notices.unwrap_or_default()]))
}

/// All that decisions need to know of purposes and notices.
pub(crate) async fn terms(tx: &Reading<'_>) -> Result<Terms, StoreError> {
    Ok(Terms { purposes: purposes(tx).await?, notices: notices(tx).await? })
}

async fn purposes(tx: &Reading<'_>) -> Result<BTreeMap<PurposeId, Option<KnownPurpose>>, StoreError> {
    let purposes = purpose::Entity::find().all(tx.conn()).await?;
    let purposes: BTreeMap<_, _> = purposes.into_iter().map(|row| (row.purpose_id, row)).collect();
    let mut by_purpose: BTreeMap<Uuid, Vec<purpose_revision::Model>> = BTreeMap::new();
    for row in purpose_revision::Entity::find().all(tx.conn()).await? {
        by_purpose.entry(row.purpose_id).or_default().push(row);
    }
    let mut known = BTreeMap::new();
    for (id, revisions) in by_purpose {
        let purpose = match purposes.get(&id) {
            Some(purpose) => separate(known_purpose(tx, purpose, &revisions))?.ok(),
            None => None,
        };
        if purpose.as_ref().is_none_or(|purpose| !purpose.revisions.is_empty()) {
            known.insert(PurposeId::from_uuid(id), purpose);
        }
    }
    Ok(known)
}

async fn notices(
    tx: &Reading<'_>,
) -> Result<BTreeMap<NoticeId, Option<Vec<(u32, portal_core::Timestamp)>>>, StoreError> {
    // The first revision comes after no other.
    let models = notice_revision::Entity::find()
        .filter(notice_revision::Column::Revision.gt(1))
        .all(tx.conn())
        .await?;
    let mut notices: BTreeMap<NoticeId, Option<Vec<_>>> = BTreeMap::new();
    for model in &models {
        let entry = notices.entry(NoticeId::from_uuid(model.notice_id)).or_insert_with(|| Some(Vec::new()));
        match (separate(material(tx, model))?, entry.as_mut()) {
            (Ok(Some(material)), Some(known)) => known.push(material),
            (Ok(None), _) | (Ok(Some(_)), None) => {}
            (Err(_), _) => *entry = None,
        }
    }
    Ok(notices)
}
