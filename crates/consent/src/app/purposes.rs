//! Purposes: create, read, change, publish, archive.

use portal_core::id::{Id, PurposeId};
use portal_core::{Invalid, PageSize};
use portal_mesh::Permit;

use super::ledgered::{Publication, publish};
use super::{Answer, App, Once};
use crate::domain::life::Life;
use crate::domain::purpose::{Patch, Purpose, Terms};
use crate::domain::record::lacking;
use crate::error::Error;
use crate::service::policy::{
    ArchivePurpose, CreatePurpose, GetPurpose, ListPurposes, PublishPurpose, UpdatePurpose,
};
use crate::store::{Page, Reading, View, Which, purposes};

/// One purpose, and the version of it that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) id: PurposeId,
    pub(crate) etag: Option<u64>,
}

impl App {
    pub(crate) async fn create_purpose(
        &self,
        _: &Permit<CreatePurpose>,
        terms: Terms,
        once: Option<Once<Purpose>>,
    ) -> Result<Answer<Purpose>, Error> {
        let change = &self.change(once.as_ref());
        let now = change.now;
        let id = PurposeId::generate(now, &*self.entropy);
        let purpose = &Purpose { id, life: Life::begin(now), revision: 1, terms };
        let done = self
            .database
            .run_tx("create_purpose", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                if let Some(kept) = change.kept(&tx).await? {
                    return Ok(kept);
                }
                purposes::insert(&tx, purpose).await?;
                change.done(&tx, &self.replies, purpose.clone()).await
            })
            .await?;
        change.answer(&self.replies, done).await
    }

    pub(crate) async fn purpose(
        &self,
        _: &Permit<GetPurpose>,
        id: PurposeId,
        which: Which,
    ) -> Result<Purpose, Error> {
        self.database
            .read("get_purpose", |tx| async move {
                let tx = self.seals.reading(&tx).await?;
                purposes::find(&tx, id, which).await?.ok_or(Error::PurposeNotFound)
            })
            .await
    }

    pub(crate) async fn purposes(
        &self,
        _: &Permit<ListPurposes>,
        view: View,
        after: Option<PurposeId>,
        size: PageSize,
    ) -> Result<Page<Purpose, PurposeId>, Error> {
        self.database
            .read("list_purposes", |tx| async move {
                let tx = self.seals.reading(&tx).await?;
                Ok(purposes::page(&tx, view, after, size).await?)
            })
            .await
    }

    pub(crate) async fn update_purpose(
        &self,
        _: &Permit<UpdatePurpose>,
        target: Target,
        patch: Patch,
        once: Option<Once<Purpose>>,
    ) -> Result<Answer<Purpose>, Error> {
        let change = &self.change(once.as_ref());
        let (patch, now) = (&patch, change.now);
        let done = self
            .database
            .run_tx("update_purpose", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                if let Some(kept) = change.kept(&tx).await? {
                    return Ok(kept);
                }
                let purpose = newest(&tx, target.id).await?;
                let (life, draft) = purpose.life.edit(target.etag, now)?;
                let terms = purpose.terms.with(patch.clone());
                let purpose = Purpose { id: target.id, life, revision: life.facts().newest, terms };
                purposes::save_draft(&tx, &purpose, draft).await?;
                change.done(&tx, &self.replies, purpose).await
            })
            .await?;
        change.answer(&self.replies, done).await
    }

    pub(crate) async fn publish_purpose(
        &self,
        _: &Permit<PublishPurpose>,
        target: Target,
        once: Option<Once<Purpose>>,
    ) -> Result<Answer<Purpose>, Error> {
        let change = &self.change(once.as_ref());
        let now = change.now;
        let done = self
            .database
            .run_tx("publish_purpose", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                if let Some(kept) = change.kept(&tx).await? {
                    return Ok(kept);
                }
                let purpose = newest(&tx, target.id).await?;
                let life = purpose.life.publish(target.etag, now)?;
                let purpose = Purpose { life, terms: self.complete(purpose.terms)?, ..purpose };
                purposes::save_published(&tx, &purpose).await?;
                publish(&tx, &Publication::Purpose(purpose.id, purpose.revision), now).await?;
                change.done(&tx, &self.replies, purpose).await
            })
            .await?;
        self.log.wake();
        self.live.distrust();
        change.answer(&self.replies, done).await
    }

    pub(crate) async fn archive_purpose(
        &self,
        _: &Permit<ArchivePurpose>,
        target: Target,
        once: Option<Once<Purpose>>,
    ) -> Result<Answer<Purpose>, Error> {
        let change = &self.change(once.as_ref());
        let now = change.now;
        let done = self
            .database
            .run_tx("archive_purpose", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                if let Some(kept) = change.kept(&tx).await? {
                    return Ok(kept);
                }
                let before = newest(&tx, target.id).await?;
                let purpose = Purpose { life: before.life.archive(target.etag, now)?, ..before };
                if purpose.life != before.life {
                    purposes::save_life(&tx, &purpose).await?;
                    publish(&tx, &Publication::PurposeArchived(purpose.id), now).await?;
                }
                change.done(&tx, &self.replies, purpose).await
            })
            .await?;
        self.log.wake();
        self.live.distrust();
        change.answer(&self.replies, done).await
    }
}

impl App {
    /// `terms` with what they leave out to be a complete record, as the organisation has it.
    fn complete(&self, terms: Terms) -> Result<Terms, Error> {
        let terms = self.organisation.complete(terms);
        let mut invalid = Invalid::new();
        for (field, must) in lacking(&terms) {
            invalid.add(&field, must);
        }
        Ok(invalid.finish(Some(terms))?)
    }
}

async fn newest(tx: &Reading<'_>, id: PurposeId) -> Result<Purpose, Error> {
    purposes::find(tx, id, Which::Newest).await?.ok_or(Error::PurposeNotFound)
}
