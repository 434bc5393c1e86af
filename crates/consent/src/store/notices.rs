//! Notices and their revisions.

use std::collections::{BTreeMap, BTreeSet};

use portal_core::id::{Id, NoticeId, PurposeId};
use portal_core::{PageSize, Timestamp};
use portal_store::StoreError;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Query;
use sea_orm::{ExprTrait, IntoActiveModel, JoinType, QueryOrder, QuerySelect};

use crate::domain::language::Language;
use crate::domain::life::{Draft, Life};
use crate::domain::notice::Notice;
use crate::store::decisions::{Read, separate};
use crate::store::entity::{notice, notice_purpose, notice_revision};
use crate::store::rows::{self, LifeColumns, RowName, integer, json};
use crate::store::{Page, Reading, View, Which, Writing};

/// The revision of the notice that is meant, if both exist.
pub(crate) async fn find(tx: &Reading<'_>, id: NoticeId, which: Which) -> Result<Option<Notice>, StoreError> {
    let Some(model) = notice::Entity::find_by_id(id.uuid()).one(tx.conn()).await? else {
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
    let row = notice_revision::Entity::find_by_id((id.uuid(), i64::from(revision))).one(tx.conn()).await?;
    row.map(|row| {
        let (text, content_hash) = rows::text(tx.checked(row)?)?;
        Ok(Notice { id, life, revision, text, content_hash })
    })
    .transpose()
}

/// Those of `ids` that are there, each as it can be put to a subject: [`Which::Offered`].
pub(crate) async fn offered(
    tx: &Reading<'_>,
    ids: &BTreeSet<NoticeId>,
) -> Result<BTreeMap<NoticeId, Read<Notice>>, StoreError> {
    let shown = notice::Entity::belongs_to(notice_revision::Entity)
        .from(notice::Column::NoticeId)
        .to(notice_revision::Column::NoticeId)
        .on_condition(rows::is_offered(
            (notice::Column::PublishedRevision, notice::Column::NewestRevision),
            notice_revision::Column::Revision,
        ));
    let found = notice::Entity::find()
        .filter(notice::Column::NoticeId.is_in(ids.iter().map(|id| id.uuid())))
        .join(JoinType::LeftJoin, shown.into())
        .select_also(notice_revision::Entity)
        .all(tx.conn())
        .await?;
    let mut offered = BTreeMap::new();
    for (model, row) in found {
        let id = NoticeId::from_uuid(model.notice_id);
        offered.insert(id, separate(whole(tx, &model, row))?);
    }
    Ok(offered)
}

/// The notice in `model` in the revision of `row`.
fn whole(
    tx: &Reading<'_>,
    model: &notice::Model,
    row: Option<notice_revision::Model>,
) -> Result<Notice, StoreError> {
    let name = RowName { table: "notice", row: model.notice_id };
    let life = read_life(tx, model)?;
    let row = tx.checked(row.ok_or_else(|| name.corrupt("newest_revision"))?)?;
    let revision = rows::revision("notice_revision", row.notice_id, row.revision)?;
    let (text, content_hash) = rows::text(row)?;
    Ok(Notice { id: NoticeId::from_uuid(model.notice_id), life, revision, text, content_hash })
}

/// One page, newest first; only notices that explain `purpose`, if one is named.
pub(crate) async fn page(
    tx: &Reading<'_>,
    view: View,
    purpose: Option<PurposeId>,
    after: Option<NoticeId>,
    size: PageSize,
) -> Result<Page<Notice, NoticeId>, StoreError> {
    use notice::Column::{ArchivedAt, NewestRevision, NoticeId as Key, PublishedRevision};
    let mut query = notice::Entity::find().order_by_desc(Key).limit(u64::from(size.get()) + 1);
    query = match view {
        View::All => query,
        View::Archived => query.filter(ArchivedAt.is_not_null()),
        View::Drafts => query.filter(ArchivedAt.is_null()).filter(
            PublishedRevision.is_null().or(Expr::col(PublishedRevision).lt(Expr::col(NewestRevision))),
        ),
        View::Published => query.filter(ArchivedAt.is_null()).filter(PublishedRevision.is_not_null()),
    };
    if let Some(purpose) = purpose {
        query =
            query.filter(explains(purpose, if view.newest() { NewestRevision } else { PublishedRevision }));
    }
    if let Some(after) = after {
        query = query.filter(Key.lt(after.uuid()));
    }
    let models = query.all(tx.conn()).await?;
    let shown = |model: &notice::Model| {
        if view.newest() { Some(model.newest_revision) } else { model.published_revision }
    };
    let mut revisions = revisions(tx, models.iter().map(|model| (model.notice_id, shown(model)))).await?;
    let position = |model: &notice::Model| NoticeId::from_uuid(model.notice_id);
    Page::cut(models, size.get(), position, |model| {
        let row = shown(&model).and_then(|revision| revisions.remove(&(model.notice_id, revision)));
        whole(tx, &model, row)
    })
}

/// Whether the shown revision of a notice explains `purpose`.
fn explains(purpose: PurposeId, shown: notice::Column) -> Expr {
    use notice_purpose::Column::{NoticeId as Key, PurposeId, Revision};
    let explaining = Query::select()
        .column((notice_purpose::Entity, Key))
        .from(notice_purpose::Entity)
        .and_where(Expr::col((notice_purpose::Entity, PurposeId)).eq(purpose.uuid()))
        .and_where(
            Expr::col((notice_purpose::Entity, Key)).equals((notice::Entity, notice::Column::NoticeId)),
        )
        .and_where(Expr::col((notice_purpose::Entity, Revision)).equals((notice::Entity, shown)))
        .take();
    Expr::exists(explaining)
}

async fn revisions(
    tx: &Reading<'_>,
    wanted: impl Iterator<Item = (Uuid, Option<i64>)>,
) -> Result<BTreeMap<(Uuid, i64), notice_revision::Model>, StoreError> {
    let (ids, numbers): (BTreeSet<_>, BTreeSet<_>) = wanted.unzip();
    let found = notice_revision::Entity::find()
        .filter(notice_revision::Column::NoticeId.is_in(ids))
        .filter(notice_revision::Column::Revision.is_in(numbers.into_iter().flatten()))
        .all(tx.conn())
        .await?;
    Ok(found.into_iter().map(|row| ((row.notice_id, row.revision), row)).collect())
}

/// Adds a new notice with its first draft.
pub(crate) async fn insert(tx: &Writing<'_>, notice: &Notice) -> Result<(), StoreError> {
    let row: notice::ActiveModel = tx.stamped(life_model(notice))?;
    notice::Entity::insert(row).exec_without_returning(tx.conn()).await?;
    insert_revision(tx, notice).await
}

/// Writes the changed draft.
pub(crate) async fn save_draft(tx: &Writing<'_>, notice: &Notice, draft: Draft) -> Result<(), StoreError> {
    save_life(tx, notice).await?;
    if draft == Draft::Opened {
        return insert_revision(tx, notice).await;
    }
    let row: notice_revision::ActiveModel = tx.stamped(revision_model(notice, None))?;
    let result = notice_revision::Entity::update_many()
        .set(row)
        .filter(notice_revision::Column::NoticeId.eq(notice.id.uuid()))
        .filter(notice_revision::Column::Revision.eq(i64::from(notice.revision)))
        .filter(notice_revision::Column::PublishedAt.is_null())
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, result.rows_affected)?;
    notice_purpose::Entity::delete_many()
        .filter(notice_purpose::Column::NoticeId.eq(notice.id.uuid()))
        .filter(notice_purpose::Column::Revision.eq(i64::from(notice.revision)))
        .exec(tx.conn())
        .await?;
    insert_purposes(tx, notice).await
}

/// Marks the draft as published at the time of its last change, with the hash of what it says.
pub(crate) async fn save_published(tx: &Writing<'_>, notice: &Notice) -> Result<(), StoreError> {
    save_life(tx, notice).await?;
    let published = revision_model(notice, Some(notice.life.facts().updated_at));
    let row: notice_revision::ActiveModel = tx.stamped(published)?;
    let result = notice_revision::Entity::update_many()
        .set(row)
        .filter(notice_revision::Column::NoticeId.eq(notice.id.uuid()))
        .filter(notice_revision::Column::Revision.eq(i64::from(notice.revision)))
        .filter(notice_revision::Column::PublishedAt.is_null())
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, result.rows_affected)
}

async fn save_life(tx: &Writing<'_>, notice: &Notice) -> Result<(), StoreError> {
    let facts = notice.life.facts();
    let row: notice::ActiveModel = tx.stamped(life_model(notice))?;
    let result = notice::Entity::update_many()
        .set(row)
        .filter(notice::Column::NoticeId.eq(notice.id.uuid()))
        .filter(notice::Column::Version.eq(integer(facts.version) - 1))
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, result.rows_affected)
}

async fn insert_revision(tx: &Writing<'_>, notice: &Notice) -> Result<(), StoreError> {
    let row: notice_revision::ActiveModel = tx.stamped(revision_model(notice, None))?;
    notice_revision::Entity::insert(row).exec_without_returning(tx.conn()).await?;
    insert_purposes(tx, notice).await
}

async fn insert_purposes(tx: &Writing<'_>, notice: &Notice) -> Result<(), StoreError> {
    let rows = notice.text.purposes.iter().map(|purpose| {
        let (notice_id, revision) = (notice.id.uuid(), notice.revision.into());
        notice_purpose::Model { notice_id, revision, purpose_id: purpose.uuid() }.into_active_model()
    });
    notice_purpose::Entity::insert_many(rows).exec_without_returning(tx.conn()).await?;
    Ok(())
}

fn life_model(notice: &Notice) -> notice::Model {
    let facts = notice.life.facts();
    notice::Model {
        notice_id: notice.id.uuid(),
        newest_revision: facts.newest.into(),
        published_revision: facts.published.map(i64::from),
        archived_at: facts.archived_at.map(Timestamp::as_micros),
        version: integer(facts.version),
        created_at: facts.created_at.as_micros(),
        updated_at: facts.updated_at.as_micros(),
        row_digest: None,
    }
}

/// The revision; the hash of what it says stands in published ones.
fn revision_model(notice: &Notice, published_at: Option<Timestamp>) -> notice_revision::Model {
    let text = &notice.text;
    let bodies: BTreeMap<&str, &String> =
        text.bodies.iter().map(|(language, body): (&Language, _)| (language.as_str(), body)).collect();
    let purposes: Vec<String> = text.purposes.iter().map(ToString::to_string).collect();
    notice_revision::Model {
        notice_id: notice.id.uuid(),
        revision: notice.revision.into(),
        published_at: published_at.map(Timestamp::as_micros),
        title: text.title.clone(),
        bodies: json(&bodies),
        purposes: json(&purposes),
        material_change: text.material_change,
        content_hash: notice.content_hash.clone(),
        row_digest: None,
    }
}

/// Where in its life the notice in `model` is, if that is what was written.
fn read_life(tx: &Reading<'_>, model: &notice::Model) -> Result<Life, StoreError> {
    tx.check(model)?;
    life(model)
}

pub(in crate::store) fn life(model: &notice::Model) -> Result<Life, StoreError> {
    let columns = LifeColumns {
        newest: model.newest_revision,
        published: model.published_revision,
        archived_at: model.archived_at,
        version: model.version,
        created_at: model.created_at,
        updated_at: model.updated_at,
    };
    rows::life(RowName { table: "notice", row: model.notice_id }, &columns)
}
