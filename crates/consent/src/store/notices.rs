//! Notices and their revisions.

use std::collections::{BTreeMap, BTreeSet};

use portal_core::id::{Id, NoticeId, PurposeId};
use portal_core::{PageSize, Timestamp};
use portal_store::{ReadTx, StoreError, Tx};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Query;
use sea_orm::{ActiveValue::Set, ExprTrait, IntoActiveModel, QueryOrder, QuerySelect};

use crate::domain::language::Language;
use crate::domain::life::{Draft, Life};
use crate::domain::notice::{Notice, Text};
use crate::store::entity::{notice, notice_purpose, notice_revision};
use crate::store::rows::{self, LifeColumns, RowName, integer, json};
use crate::store::{Page, View, Which};

/// The revision of the notice that is meant, if both exist.
pub(crate) async fn find(tx: &ReadTx, id: NoticeId, which: Which) -> Result<Option<Notice>, StoreError> {
    let Some(model) = notice::Entity::find_by_id(id.uuid()).one(tx.conn()).await? else {
        return Ok(None);
    };
    let life = life(&model)?;
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
        let (text, content_hash) = rows::text(row)?;
        Ok(Notice { id, life, revision, text, content_hash })
    })
    .transpose()
}

/// One page, newest first; only notices that explain `purpose`, if one is named.
pub(crate) async fn page(
    tx: &ReadTx,
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
    let notices = models
        .iter()
        .map(|model| {
            let name = RowName { table: "notice", row: model.notice_id };
            let row = shown(model).and_then(|revision| revisions.remove(&(model.notice_id, revision)));
            let row = row.ok_or_else(|| name.corrupt("newest_revision"))?;
            let revision = rows::revision("notice_revision", row.notice_id, row.revision)?;
            let (text, content_hash) = rows::text(row)?;
            let id = NoticeId::from_uuid(model.notice_id);
            Ok(Notice { id, life: life(model)?, revision, text, content_hash })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Page::cut(notices, size.get(), |notice| notice.id))
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
    tx: &ReadTx,
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
pub(crate) async fn insert(tx: &Tx, notice: &Notice) -> Result<(), StoreError> {
    let facts = notice.life.facts();
    let row = notice::Model {
        notice_id: notice.id.uuid(),
        newest_revision: facts.newest.into(),
        published_revision: facts.published.map(i64::from),
        archived_at: facts.archived_at.map(Timestamp::as_micros),
        version: integer(facts.version),
        created_at: facts.created_at.as_micros(),
        updated_at: facts.updated_at.as_micros(),
    };
    notice::Entity::insert(row.into_active_model()).exec_without_returning(tx.conn()).await?;
    insert_revision(tx, notice).await
}

/// Writes the changed draft.
pub(crate) async fn save_draft(tx: &Tx, notice: &Notice, draft: Draft) -> Result<(), StoreError> {
    save_life(tx, notice).await?;
    if draft == Draft::Opened {
        return insert_revision(tx, notice).await;
    }
    let result = notice_revision::Entity::update_many()
        .set(revision_row(notice.id, notice.revision, &notice.text))
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
pub(crate) async fn save_published(tx: &Tx, notice: &Notice) -> Result<(), StoreError> {
    save_life(tx, notice).await?;
    let result = notice_revision::Entity::update_many()
        .col_expr(
            notice_revision::Column::PublishedAt,
            Expr::value(notice.life.facts().updated_at.as_micros()),
        )
        .col_expr(notice_revision::Column::ContentHash, Expr::value(notice.content_hash.clone()))
        .filter(notice_revision::Column::NoticeId.eq(notice.id.uuid()))
        .filter(notice_revision::Column::Revision.eq(i64::from(notice.revision)))
        .filter(notice_revision::Column::PublishedAt.is_null())
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, result.rows_affected)
}

async fn save_life(tx: &Tx, notice: &Notice) -> Result<(), StoreError> {
    let facts = notice.life.facts();
    let changes = notice::ActiveModel {
        newest_revision: Set(facts.newest.into()),
        published_revision: Set(facts.published.map(i64::from)),
        archived_at: Set(facts.archived_at.map(Timestamp::as_micros)),
        version: Set(integer(facts.version)),
        updated_at: Set(facts.updated_at.as_micros()),
        ..Default::default()
    };
    let result = notice::Entity::update_many()
        .set(changes)
        .filter(notice::Column::NoticeId.eq(notice.id.uuid()))
        .filter(notice::Column::Version.eq(integer(facts.version) - 1))
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, result.rows_affected)
}

async fn insert_revision(tx: &Tx, notice: &Notice) -> Result<(), StoreError> {
    let row = revision_row(notice.id, notice.revision, &notice.text);
    notice_revision::Entity::insert(row).exec_without_returning(tx.conn()).await?;
    insert_purposes(tx, notice).await
}

async fn insert_purposes(tx: &Tx, notice: &Notice) -> Result<(), StoreError> {
    let rows = notice.text.purposes.iter().map(|purpose| {
        let (notice_id, revision) = (notice.id.uuid(), notice.revision.into());
        notice_purpose::Model { notice_id, revision, purpose_id: purpose.uuid() }.into_active_model()
    });
    notice_purpose::Entity::insert_many(rows).exec_without_returning(tx.conn()).await?;
    Ok(())
}

fn revision_row(id: NoticeId, revision: u32, text: &Text) -> notice_revision::ActiveModel {
    let bodies: BTreeMap<&str, &String> =
        text.bodies.iter().map(|(language, body): (&Language, _)| (language.as_str(), body)).collect();
    let purposes: Vec<String> = text.purposes.iter().map(ToString::to_string).collect();
    notice_revision::ActiveModel {
        notice_id: Set(id.uuid()),
        revision: Set(revision.into()),
        published_at: Set(None),
        title: Set(text.title.clone()),
        bodies: Set(json(&bodies)),
        purposes: Set(json(&purposes)),
        material_change: Set(text.material_change),
        content_hash: Set(None),
    }
}

fn life(model: &notice::Model) -> Result<Life, StoreError> {
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
