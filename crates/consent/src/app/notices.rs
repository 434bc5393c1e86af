//! Notices: create, read, change, publish.

use portal_core::PageSize;
use portal_core::id::{Id, NoticeId, PurposeId};
use portal_mesh::Permit;

use super::ledgered::{Publication, publish};
use super::{Answer, App, Once};
use crate::domain::canonical;
use crate::domain::life::{Life, State};
use crate::domain::notice::{Notice, Patch, Text};
use crate::error::Error;
use crate::service::policy::{CreateNotice, GetNotice, ListNotices, PublishNotice, UpdateNotice};
use crate::store::{Page, Reading, View, Which, notices, purposes};

/// One notice, and the version of it that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) id: NoticeId,
    pub(crate) etag: Option<u64>,
}

/// Which notices to list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    pub(crate) view: View,
    pub(crate) purpose: Option<PurposeId>,
    pub(crate) after: Option<NoticeId>,
    pub(crate) size: PageSize,
}

impl App {
    pub(crate) async fn create_notice(
        &self,
        _: &Permit<CreateNotice>,
        text: Text,
        once: Option<Once<Notice>>,
    ) -> Result<Answer<Notice>, Error> {
        let change = &self.change(once.as_ref());
        let now = change.now;
        let id = NoticeId::generate(now, &*self.entropy);
        let notice = &Notice { id, life: Life::begin(now), revision: 1, text, content_hash: None };
        let done = self
            .database
            .run_tx("create_notice", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                if let Some(kept) = change.kept(&tx).await? {
                    return Ok(kept);
                }
                purposes_exist(&tx, &notice.text).await?;
                notices::insert(&tx, notice).await?;
                change.done(&tx, &self.replies, notice.clone()).await
            })
            .await?;
        change.answer(&self.replies, done).await
    }

    pub(crate) async fn notice(
        &self,
        _: &Permit<GetNotice>,
        id: NoticeId,
        which: Which,
    ) -> Result<Notice, Error> {
        self.database
            .read("get_notice", |tx| async move {
                let tx = self.seals.reading(&tx).await?;
                notices::find(&tx, id, which).await?.ok_or(Error::NoticeNotFound)
            })
            .await
    }

    pub(crate) async fn notices(
        &self,
        _: &Permit<ListNotices>,
        query: Query,
    ) -> Result<Page<Notice, NoticeId>, Error> {
        let Query { view, purpose, after, size } = query;
        self.database
            .read("list_notices", |tx| async move {
                let tx = self.seals.reading(&tx).await?;
                Ok(notices::page(&tx, view, purpose, after, size).await?)
            })
            .await
    }

    pub(crate) async fn update_notice(
        &self,
        _: &Permit<UpdateNotice>,
        target: Target,
        patch: Patch,
        once: Option<Once<Notice>>,
    ) -> Result<Answer<Notice>, Error> {
        let change = &self.change(once.as_ref());
        let (patch, now) = (&patch, change.now);
        let done = self
            .database
            .run_tx("update_notice", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                if let Some(kept) = change.kept(&tx).await? {
                    return Ok(kept);
                }
                let notice = newest(&tx, target.id).await?;
                let (life, draft) = notice.life.edit(target.etag, now)?;
                let text = notice.text.with(patch.clone());
                let revision = life.facts().newest;
                let notice = Notice { id: target.id, life, revision, text, content_hash: None };
                purposes_exist(&tx, &notice.text).await?;
                notices::save_draft(&tx, &notice, draft).await?;
                change.done(&tx, &self.replies, notice).await
            })
            .await?;
        change.answer(&self.replies, done).await
    }

    pub(crate) async fn publish_notice(
        &self,
        _: &Permit<PublishNotice>,
        target: Target,
        once: Option<Once<Notice>>,
    ) -> Result<Answer<Notice>, Error> {
        let change = &self.change(once.as_ref());
        let now = change.now;
        let done = self
            .database
            .run_tx("publish_notice", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                if let Some(kept) = change.kept(&tx).await? {
                    return Ok(kept);
                }
                let notice = newest(&tx, target.id).await?;
                let life = notice.life.publish(target.etag, now)?;
                let lives = purposes::lives(&tx, &notice.text.purposes).await?;
                let in_force = |id: &PurposeId| {
                    let life = lives.get(id);
                    life.is_some_and(|life| {
                        life.facts().published.is_some_and(|r| life.state(r) == State::Published)
                    })
                };
                if !notice.text.purposes.iter().all(in_force) {
                    return Err(Error::UnpublishedPurpose);
                }
                let content_hash = Some(canonical::content_hash(&notice.text).to_vec());
                let notice = Notice { life, content_hash, ..notice };
                notices::save_published(&tx, &notice).await?;
                let hash = notice.content_hash.as_deref().unwrap_or_default();
                publish(&tx, &Publication::Notice(notice.id, notice.revision, hash), now).await?;
                change.done(&tx, &self.replies, notice).await
            })
            .await?;
        self.log.wake();
        self.live.distrust();
        change.answer(&self.replies, done).await
    }
}

async fn newest(tx: &Reading<'_>, id: NoticeId) -> Result<Notice, Error> {
    notices::find(tx, id, Which::Newest).await?.ok_or(Error::NoticeNotFound)
}

async fn purposes_exist(tx: &Reading<'_>, text: &Text) -> Result<(), Error> {
    let existing = purposes::existing(tx, &text.purposes).await?;
    if text.purposes.iter().all(|id| existing.contains(id)) { Ok(()) } else { Err(Error::PurposeNotFound) }
}
