//! Purposes: create, read, change, publish, archive.

use portal_core::PageSize;
use portal_core::id::{Id, PurposeId};
use portal_mesh::Permit;

use super::{Answer, App, Once, answer, replay};
use crate::domain::life::Life;
use crate::domain::purpose::{Patch, Purpose, Terms};
use crate::error::Error;
use crate::service::policy::{
    ArchivePurpose, CreatePurpose, GetPurpose, ListPurposes, PublishPurpose, UpdatePurpose,
};
use crate::store::{Page, View, Which, purposes};

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
        let now = self.clock.now();
        let id = PurposeId::generate(now, &*self.entropy);
        let purpose = &Purpose { id, life: Life::begin(now), revision: 1, terms };
        let once = once.as_ref();
        self.database
            .run_tx("create_purpose", |tx| async move {
                if let Some(answer) = replay(&tx, once, now).await? {
                    return Ok(answer);
                }
                purposes::insert(&tx, purpose).await?;
                answer(&tx, once, purpose.clone(), now).await
            })
            .await
    }

    pub(crate) async fn purpose(
        &self,
        _: &Permit<GetPurpose>,
        id: PurposeId,
        which: Which,
    ) -> Result<Purpose, Error> {
        self.database
            .read("get_purpose", |tx| async move {
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
            .read("list_purposes", |tx| async move { Ok(purposes::page(&tx, view, after, size).await?) })
            .await
    }

    pub(crate) async fn update_purpose(
        &self,
        _: &Permit<UpdatePurpose>,
        target: Target,
        patch: Patch,
        once: Option<Once<Purpose>>,
    ) -> Result<Answer<Purpose>, Error> {
        let now = self.clock.now();
        let (patch, once) = (&patch, once.as_ref());
        self.database
            .run_tx("update_purpose", |tx| async move {
                if let Some(answer) = replay(&tx, once, now).await? {
                    return Ok(answer);
                }
                let purpose = newest(&tx, target.id).await?;
                let (life, draft) = purpose.life.edit(target.etag, now)?;
                let terms = purpose.terms.with(patch.clone());
                let purpose = Purpose { id: target.id, life, revision: life.facts().newest, terms };
                purposes::save_draft(&tx, &purpose, draft).await?;
                answer(&tx, once, purpose, now).await
            })
            .await
    }

    pub(crate) async fn publish_purpose(
        &self,
        _: &Permit<PublishPurpose>,
        target: Target,
        once: Option<Once<Purpose>>,
    ) -> Result<Answer<Purpose>, Error> {
        let now = self.clock.now();
        let once = once.as_ref();
        self.database
            .run_tx("publish_purpose", |tx| async move {
                if let Some(answer) = replay(&tx, once, now).await? {
                    return Ok(answer);
                }
                let purpose = newest(&tx, target.id).await?;
                let purpose = Purpose { life: purpose.life.publish(target.etag, now)?, ..purpose };
                purposes::save_published(&tx, &purpose).await?;
                answer(&tx, once, purpose, now).await
            })
            .await
    }

    pub(crate) async fn archive_purpose(
        &self,
        _: &Permit<ArchivePurpose>,
        target: Target,
        once: Option<Once<Purpose>>,
    ) -> Result<Answer<Purpose>, Error> {
        let now = self.clock.now();
        let once = once.as_ref();
        self.database
            .run_tx("archive_purpose", |tx| async move {
                if let Some(answer) = replay(&tx, once, now).await? {
                    return Ok(answer);
                }
                let before = newest(&tx, target.id).await?;
                let purpose = Purpose { life: before.life.archive(target.etag, now)?, ..before };
                if purpose.life != before.life {
                    purposes::save_life(&tx, &purpose).await?;
                }
                answer(&tx, once, purpose, now).await
            })
            .await
    }
}

async fn newest(tx: &portal_store::Tx, id: PurposeId) -> Result<Purpose, Error> {
    purposes::find(tx, id, Which::Newest).await?.ok_or(Error::PurposeNotFound)
}
