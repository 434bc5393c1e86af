//! `notice_purpose`: an index without digests. It says what the revisions of notices say, which have some.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use portal_core::id::Id;
use portal_store::{Corruption, ReadTx, StoreError};
use portal_upkeep::Page;
use portal_upkeep::scan::{Checked, ScanError, ScannedTable};
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, PaginatorTrait, QueryOrder, QuerySelect};

use crate::store::entity::{notice_purpose, notice_revision};
use crate::store::rows::{self, RowName};

/// Compares the index with what it is one of, revision by revision.
pub(super) struct NoticePurposes;

/// A notice, and one of its revisions.
type Key = (Uuid, i64);

#[async_trait]
impl ScannedTable for NoticePurposes {
    fn table(&self) -> &'static str {
        "notice_purpose"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        Ok(notice_revision::Entity::find().count(tx.conn()).await.map_err(StoreError::from)?)
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let revisions = revisions(tx, page).await?;
        let mut explained = explained(tx, &revisions).await?;
        let last = revisions.last().map(|row| cursor((row.notice_id, row.revision)));
        let mut checked = Checked::of(page, revisions.len(), last);
        for revision in revisions {
            let key = (revision.notice_id, revision.revision);
            // One that can't be read is told with the revision itself.
            let Ok(purposes) = rows::purposes(&revision) else { continue };
            let said: BTreeSet<Uuid> = purposes.into_iter().map(Id::uuid).collect();
            if explained.remove(&key).unwrap_or_default() != said {
                let name = RowName { table: "notice_purpose", row: key.0 };
                checked.note::<()>(Err(name.corrupt_by("purpose_id", Corruption::ValueInvalid)))?;
            }
        }
        Ok(checked)
    }
}

async fn revisions(tx: &ReadTx, page: &Page) -> Result<Vec<notice_revision::Model>, StoreError> {
    use notice_revision::Column::{NoticeId, Revision};
    let mut query = notice_revision::Entity::find().order_by_asc(NoticeId).order_by_asc(Revision);
    if let Some((id, revision)) = page.after.as_deref().and_then(parse_cursor) {
        let same = Condition::all().add(NoticeId.eq(id)).add(Revision.gt(revision));
        query = query.filter(Condition::any().add(NoticeId.gt(id)).add(same));
    }
    Ok(query.limit(u64::from(page.limit)).all(tx.conn()).await?)
}

/// What the index says of these notices, by revision.
async fn explained(
    tx: &ReadTx,
    revisions: &[notice_revision::Model],
) -> Result<BTreeMap<Key, BTreeSet<Uuid>>, StoreError> {
    let notices: BTreeSet<Uuid> = revisions.iter().map(|revision| revision.notice_id).collect();
    let rows = notice_purpose::Entity::find()
        .filter(notice_purpose::Column::NoticeId.is_in(notices))
        .all(tx.conn())
        .await?;
    let mut explained: BTreeMap<Key, BTreeSet<Uuid>> = BTreeMap::new();
    for row in rows {
        explained.entry((row.notice_id, row.revision)).or_default().insert(row.purpose_id);
    }
    Ok(explained)
}

fn cursor((id, revision): Key) -> Vec<u8> {
    [id.as_bytes().as_slice(), &revision.to_be_bytes()].concat()
}

fn parse_cursor(bytes: &[u8]) -> Option<Key> {
    let (id, revision) = bytes.split_first_chunk::<16>()?;
    Some((Uuid::from_bytes(*id), i64::from_be_bytes(revision.try_into().ok()?)))
}
