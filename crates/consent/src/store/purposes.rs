//! Purposes and their revisions.

use std::collections::{BTreeMap, BTreeSet};

use portal_core::id::{Id, PurposeId};
use portal_core::{PageSize, Timestamp};
use portal_store::StoreError;
use sea_orm::entity::prelude::*;
use sea_orm::{ExprTrait, JoinType, QueryOrder, QuerySelect};

use crate::domain::life::{Draft, Life};
use crate::domain::purpose::Purpose;
use crate::store::decisions::{Read, separate};
use crate::store::entity::{purpose, purpose_revision};
use crate::store::rows::{self, LifeColumns, RowName, integer, json, micros};
use crate::store::{Page, Reading, View, Which, Writing, documents};

/// The revision of the purpose that is meant, if both exist.
pub(crate) async fn find(
    tx: &Reading<'_>,
    id: PurposeId,
    which: Which,
) -> Result<Option<Purpose>, StoreError> {
    let Some(model) = purpose::Entity::find_by_id(id.uuid()).one(tx.conn()).await? else {
        return Ok(None);
    };
    let life = read_life(tx, &model)?;
    let published = life.facts().published;
    let revision = match which {
        Which::Newest => Some(life.facts().newest),
        Which::Offered => Some(published.unwrap_or(life.facts().newest)),
        Which::Published => published,
        Which::Revision(revision) => published.filter(|published| revision <= *published).map(|_| revision),
    };
    let Some(revision) = revision else { return Ok(None) };
    let row = purpose_revision::Entity::find_by_id((id.uuid(), i64::from(revision))).one(tx.conn()).await?;
    row.map(|row| Ok(Purpose { id, life, revision, terms: rows::terms(tx.checked(row)?)? })).transpose()
}

/// Those of `ids` that are there, each as it can be put to a subject: [`Which::Offered`].
pub(crate) async fn offered(
    tx: &Reading<'_>,
    ids: &BTreeSet<PurposeId>,
) -> Result<BTreeMap<PurposeId, Read<Purpose>>, StoreError> {
    let shown = purpose::Entity::belongs_to(purpose_revision::Entity)
        .from(purpose::Column::PurposeId)
        .to(purpose_revision::Column::PurposeId)
        .on_condition(rows::is_offered(
            (purpose::Column::PublishedRevision, purpose::Column::NewestRevision),
            purpose_revision::Column::Revision,
        ));
    let found = purpose::Entity::find()
        .filter(purpose::Column::PurposeId.is_in(ids.iter().map(|id| id.uuid())))
        .join(JoinType::LeftJoin, shown.into())
        .select_also(purpose_revision::Entity)
        .all(tx.conn())
        .await?;
    let mut offered = BTreeMap::new();
    for (model, row) in found {
        let id = PurposeId::from_uuid(model.purpose_id);
        offered.insert(id, separate(whole(tx, &model, row))?);
    }
    Ok(offered)
}

/// The purpose in `model` in the revision of `row`.
fn whole(
    tx: &Reading<'_>,
    model: &purpose::Model,
    row: Option<purpose_revision::Model>,
) -> Result<Purpose, StoreError> {
    let name = RowName { table: "purpose", row: model.purpose_id };
    let life = read_life(tx, model)?;
    let row = tx.checked(row.ok_or_else(|| name.corrupt("newest_revision"))?)?;
    let revision = rows::revision("purpose_revision", row.purpose_id, row.revision)?;
    Ok(Purpose { id: PurposeId::from_uuid(model.purpose_id), life, revision, terms: rows::terms(row)? })
}

/// Of `ids`, those that are there at all.
pub(crate) async fn existing(tx: &Reading<'_>, ids: &[PurposeId]) -> Result<BTreeSet<PurposeId>, StoreError> {
    Ok(lives(tx, ids).await?.into_keys().collect())
}

/// Where in their life the purposes among `ids` are.
pub(crate) async fn lives(
    tx: &Reading<'_>,
    ids: &[PurposeId],
) -> Result<BTreeMap<PurposeId, Life>, StoreError> {
    let ids = ids.iter().map(|id| id.uuid());
    let models = purpose::Entity::find().filter(purpose::Column::PurposeId.is_in(ids)).all(tx.conn()).await?;
    models.iter().map(|model| Ok((PurposeId::from_uuid(model.purpose_id), read_life(tx, model)?))).collect()
}

/// One page, newest first.
pub(crate) async fn page(
    tx: &Reading<'_>,
    view: View,
    after: Option<PurposeId>,
    size: PageSize,
) -> Result<Page<Purpose, PurposeId>, StoreError> {
    use purpose::Column::{ArchivedAt, NewestRevision, PublishedRevision, PurposeId as Key};
    let mut query = purpose::Entity::find().order_by_desc(Key).limit(u64::from(size.get()) + 1);
    query = match view {
        View::All => query,
        View::Archived => query.filter(ArchivedAt.is_not_null()),
        View::Drafts => query.filter(ArchivedAt.is_null()).filter(
            PublishedRevision.is_null().or(Expr::col(PublishedRevision).lt(Expr::col(NewestRevision))),
        ),
        View::Published => query.filter(ArchivedAt.is_null()).filter(PublishedRevision.is_not_null()),
    };
    if let Some(after) = after {
        query = query.filter(Key.lt(after.uuid()));
    }
    let models = query.all(tx.conn()).await?;
    let shown = |model: &purpose::Model| {
        if view.newest() { Some(model.newest_revision) } else { model.published_revision }
    };
    let mut revisions = revisions(tx, models.iter().map(|model| (model.purpose_id, shown(model)))).await?;
    let position = |model: &purpose::Model| PurposeId::from_uuid(model.purpose_id);
    Page::cut(models, size.get(), position, |model| {
        let row = shown(&model).and_then(|revision| revisions.remove(&(model.purpose_id, revision)));
        whole(tx, &model, row)
    })
}

async fn revisions(
    tx: &Reading<'_>,
    wanted: impl Iterator<Item = (Uuid, Option<i64>)>,
) -> Result<BTreeMap<(Uuid, i64), purpose_revision::Model>, StoreError> {
    let (ids, numbers): (BTreeSet<_>, BTreeSet<_>) = wanted.unzip();
    let found = purpose_revision::Entity::find()
        .filter(purpose_revision::Column::PurposeId.is_in(ids))
        .filter(purpose_revision::Column::Revision.is_in(numbers.into_iter().flatten()))
        .all(tx.conn())
        .await?;
    Ok(found.into_iter().map(|row| ((row.purpose_id, row.revision), row)).collect())
}

/// Adds a new purpose with its first draft.
pub(crate) async fn insert(tx: &Writing<'_>, purpose: &Purpose) -> Result<(), StoreError> {
    let row: purpose::ActiveModel = tx.stamped(life_model(purpose))?;
    purpose::Entity::insert(row).exec_without_returning(tx.conn()).await?;
    insert_revision(tx, purpose).await
}

/// Writes the changed draft.
pub(crate) async fn save_draft(tx: &Writing<'_>, purpose: &Purpose, draft: Draft) -> Result<(), StoreError> {
    save_life(tx, purpose).await?;
    match draft {
        Draft::Opened => insert_revision(tx, purpose).await,
        Draft::Existing => {
            let row: purpose_revision::ActiveModel = tx.stamped(revision_model(purpose, None))?;
            let result = purpose_revision::Entity::update_many()
                .set(row)
                .filter(purpose_revision::Column::PurposeId.eq(purpose.id.uuid()))
                .filter(purpose_revision::Column::Revision.eq(i64::from(purpose.revision)))
                .filter(purpose_revision::Column::PublishedAt.is_null())
                .exec(tx.conn())
                .await?;
            StoreError::check_rows(1, result.rows_affected)
        }
    }
}

/// Marks the draft as published at the time of its last change.
pub(crate) async fn save_published(tx: &Writing<'_>, purpose: &Purpose) -> Result<(), StoreError> {
    save_life(tx, purpose).await?;
    let published = revision_model(purpose, Some(purpose.life.facts().updated_at));
    let row: purpose_revision::ActiveModel = tx.stamped(published)?;
    let result = purpose_revision::Entity::update_many()
        .set(row)
        .filter(purpose_revision::Column::PurposeId.eq(purpose.id.uuid()))
        .filter(purpose_revision::Column::Revision.eq(i64::from(purpose.revision)))
        .filter(purpose_revision::Column::PublishedAt.is_null())
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, result.rows_affected)
}

/// Writes where the purpose is in its life, over the version before.
pub(crate) async fn save_life(tx: &Writing<'_>, purpose: &Purpose) -> Result<(), StoreError> {
    let facts = purpose.life.facts();
    let row: purpose::ActiveModel = tx.stamped(life_model(purpose))?;
    let result = purpose::Entity::update_many()
        .set(row)
        .filter(purpose::Column::PurposeId.eq(purpose.id.uuid()))
        .filter(purpose::Column::Version.eq(integer(facts.version) - 1))
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, result.rows_affected)
}

async fn insert_revision(tx: &Writing<'_>, purpose: &Purpose) -> Result<(), StoreError> {
    let row: purpose_revision::ActiveModel = tx.stamped(revision_model(purpose, None))?;
    purpose_revision::Entity::insert(row).exec_without_returning(tx.conn()).await?;
    Ok(())
}

fn life_model(purpose: &Purpose) -> purpose::Model {
    let facts = purpose.life.facts();
    purpose::Model {
        purpose_id: purpose.id.uuid(),
        newest_revision: facts.newest.into(),
        published_revision: facts.published.map(i64::from),
        archived_at: facts.archived_at.map(Timestamp::as_micros),
        version: integer(facts.version),
        created_at: facts.created_at.as_micros(),
        updated_at: facts.updated_at.as_micros(),
        row_digest: None,
    }
}

fn revision_model(purpose: &Purpose, published_at: Option<Timestamp>) -> purpose_revision::Model {
    let terms = &purpose.terms;
    purpose_revision::Model {
        purpose_id: purpose.id.uuid(),
        revision: purpose.revision.into(),
        published_at: published_at.map(Timestamp::as_micros),
        display_name: terms.display_name.clone(),
        description: terms.description.clone(),
        dpv_purposes: json(&terms.dpv_purposes),
        legal_basis: terms.legal_basis.name().to_owned(),
        personal_data: json(&terms.personal_data),
        special_category: terms.special_category,
        recipients: json(&terms.recipients),
        retention: terms.retention.map(micros),
        validity: terms.validity.map(micros),
        jurisdiction: terms.jurisdiction.clone(),
        record: Some(documents::record(&terms.record)),
        material_change: Some(terms.material_change),
        row_digest: None,
    }
}

/// Where in its life the purpose in `model` is, if that is what was written.
fn read_life(tx: &Reading<'_>, model: &purpose::Model) -> Result<Life, StoreError> {
    tx.check(model)?;
    life(model)
}

pub(in crate::store) fn life(model: &purpose::Model) -> Result<Life, StoreError> {
    let columns = LifeColumns {
        newest: model.newest_revision,
        published: model.published_revision,
        archived_at: model.archived_at,
        version: model.version,
        created_at: model.created_at,
        updated_at: model.updated_at,
    };
    rows::life(RowName { table: "purpose", row: model.purpose_id }, &columns)
}
