//! `notice_purpose`: an index without digests. It says what the revisions of notices say, which have some.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use portal_core::id::Id;
use portal_store::{Corruption, ReadTx, StoreError};
use portal_upkeep::page::{Page, key_of};
use portal_upkeep::scan::{Checked, ScanError, ScannedTable};
use sea_orm::PaginatorTrait;
use sea_orm::entity::prelude::*;

use crate::store::entity::{notice_purpose, notice_revision};
use crate::store::rows::{self, RowName};

/// Compares the index with what it is one of, revision by revision.
pub(super) struct NoticePurposes;

/// The revisions that are compared, in this order.
const KEY: &[notice_revision::Column] =
    &[notice_revision::Column::NoticeId, notice_revision::Column::Revision];

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
        let revisions = page.of(notice_revision::Entity::find(), KEY).all(tx.conn()).await;
        let revisions = revisions.map_err(StoreError::from)?;
        let mut explained = explained(tx, &revisions).await?;
        let last = revisions.last().map(|row| key_of(row, KEY));
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
