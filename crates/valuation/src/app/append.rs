//! Appending records: all of a call or nothing.
//!
//! A stream is staged batch by batch, each in a short transaction, so neither memory nor a lock grows with its length;
//! one last transaction makes all of it visible. What was staged by a stream that broke is thrown away: at once if this
//! process lives, else when it expires.

use std::sync::Arc;
use std::time::Duration;

use portal_core::Timestamp;
use portal_core::id::{AccountId, DatasetId, Id};
use portal_mesh::Permit;
use portal_mesh::policy::Action;

use super::once::Once;
use super::{App, account, happened};
use crate::domain::batch::{Batch, Parts};
use crate::domain::dataset::{Counts, Dataset};
use crate::domain::id::AppendId;
use crate::error::Error;
use crate::service::policy::{AppendRecordBatch, AppendRecords};
use crate::store::appends::SealedBatch;
use crate::store::{Writing, appends, datasets};

/// How long an append may stand still.
const LIFE: Duration = Duration::from_secs(15 * 60);
/// Most records of one append.
pub const MAX_RECORDS: i64 = 1_000_000;
/// Most bytes of features of one append.
pub const MAX_FEATURE_BYTES: usize = 1 << 30;

/// What an append did.
#[derive(Clone, Copy)]
pub struct Appended {
    /// Records added.
    pub count: i64,
    /// Revision of the dataset after it.
    pub revision: i64,
}

/// An append under way. Dropping it throws away what was staged.
pub struct Append {
    app: Arc<App>,
    id: AppendId,
    dataset: Dataset,
    actor: String,
    position: usize,
    counts: Counts,
    feature_bytes: usize,
    published: bool,
}

impl App {
    /// Appends one batch.
    pub async fn append_batch(
        &self,
        permit: &Permit<AppendRecordBatch>,
        (dataset, parts): (DatasetId, Parts),
        once: Once<Appended>,
    ) -> Result<Vec<u8>, Error> {
        let now = self.clock.now();
        let dataset = self.appendable(permit, dataset).await?;
        let batch = &Batch::parse(parts, &dataset.description.shape, None)?;
        let append = AppendId::generate(now, self.entropy.as_ref());
        let sealed = &self.sealed((append, 0), batch).await?;
        let (to, once) = (&(dataset.id, dataset.owner, permit.caller().key()), &once);
        let reply = self
            .database
            .run_tx("append_record_batch", |tx| async move {
                let writing = &self.seals.writing(&tx).await?;
                let change = async {
                    appends::begin(&tx, append, to.0, now.plus(LIFE)).await?;
                    appends::stage(writing, append, 0, (batch, sealed)).await?;
                    self.publish(writing, to, (append, batch.counts()), now).await
                };
                once.run((&self.replies, &self.requests), writing, now, change).await
            })
            .await?;
        self.metrics.appended(batch.counts().total());
        Ok(reply)
    }

    /// Begins an append of several batches.
    pub async fn begin_append(
        self: &Arc<Self>,
        permit: &Permit<AppendRecords>,
        dataset: DatasetId,
    ) -> Result<Append, Error> {
        let now = self.clock.now();
        let dataset = self.appendable(permit, dataset).await?;
        let (id, dataset_id) = (AppendId::generate(now, self.entropy.as_ref()), dataset.id);
        let append = Append {
            app: Arc::clone(self),
            id,
            dataset,
            actor: permit.caller().key(),
            position: 0,
            counts: Counts::default(),
            feature_bytes: 0,
            published: false,
        };
        self.database
            .run_tx("begin_append", |tx| async move {
                Ok::<_, Error>(appends::begin(&tx, id, dataset_id, now.plus(LIFE)).await?)
            })
            .await?;
        Ok(append)
    }

    /// The shape of a dataset never changes, so it may be read before the transaction that appends.
    async fn appendable<A: Action>(&self, permit: &Permit<A>, id: DatasetId) -> Result<Dataset, Error> {
        let owner = account(permit)?;
        self.database
            .read("append_dataset", |tx| async move {
                let reading = self.seals.reading(&tx).await?;
                datasets::find(&reading, id, owner).await?.ok_or(Error::DatasetNotFound)
            })
            .await
    }

    /// Seals a batch. The keys of its people are fetched at once and before the transaction that stores it: none waits
    /// for keys while it holds the database.
    async fn sealed(&self, place: (AppendId, usize), batch: &Batch) -> Result<SealedBatch, Error> {
        let keys = self.keys.subjects_or_new(batch.subjects()).await?;
        appends::seal(&self.seals, &keys, place, batch)
    }

    /// Makes what is staged the dataset's, which is `owner`'s. The dataset's row is changed first: of two appends to one
    /// dataset the second waits, and then sees the first's records.
    async fn publish(
        &self,
        writing: &Writing<'_>,
        (dataset, owner, actor): &(DatasetId, AccountId, String),
        (append, counts): (AppendId, Counts),
        now: Timestamp,
    ) -> Result<Appended, Error> {
        let dataset = datasets::find(writing, *dataset, *owner).await?.ok_or(Error::DatasetNotFound)?;
        let dataset = dataset.appended(counts, now);
        datasets::advance(writing, &dataset).await?;
        if let Some(place) = appends::first_duplicate(writing.tx(), append, dataset.id).await? {
            return Err(Error::DuplicateRecord { batch: place.batch, row: place.row });
        }
        appends::publish(writing, append, dataset.id, dataset.revision).await?;
        let appended = Appended { count: counts.total(), revision: dataset.revision };
        let happened = happened("dataset.append", actor.as_str(), *owner)
            .to(dataset.id)
            .with("revision", appended.revision)
            .with("records", appended.count);
        self.note(writing, happened, now).await?;
        Ok(appended)
    }
}

impl Append {
    /// Whether nothing was staged.
    pub fn is_empty(&self) -> bool {
        self.position == 0
    }

    /// Stages one more batch.
    pub async fn add(&mut self, parts: Parts) -> Result<(), Error> {
        let batch = &Batch::parse(parts, &self.dataset.description.shape, Some(self.position))?;
        self.counts.add(batch.split(), batch.len());
        self.feature_bytes = self.feature_bytes.saturating_add(size_of_val(batch.features()));
        if self.counts.total() > MAX_RECORDS || self.feature_bytes > MAX_FEATURE_BYTES {
            return Err(Error::TooLarge);
        }
        let sealed = &self.app.sealed((self.id, self.position), batch).await?;
        let (id, position, expires_at) = (self.id, self.position, self.app.clock.now().plus(LIFE));
        let seals = &self.app.seals;
        self.app
            .database
            .run_tx("stage_records", |tx| async move {
                appends::renew(&tx, id, expires_at).await?;
                let writing = seals.writing(&tx).await?;
                Ok::<_, Error>(appends::stage(&writing, id, position, (batch, sealed)).await?)
            })
            .await?;
        self.position += 1;
        Ok(())
    }

    /// Makes everything staged the dataset's.
    pub async fn publish(mut self) -> Result<Appended, Error> {
        let (id, counts, now) = (self.id, self.counts, self.app.clock.now());
        let to = &(self.dataset.id, self.dataset.owner, self.actor.clone());
        let app = &self.app;
        let appended = self
            .app
            .database
            .run_tx("append_records", |tx| async move {
                app.publish(&app.seals.writing(&tx).await?, to, (id, counts), now).await
            })
            .await?;
        self.published = true;
        self.app.metrics.appended(appended.count);
        Ok(appended)
    }
}

impl Drop for Append {
    fn drop(&mut self) {
        // Nobody to receive it means that the process is ending: what is staged will expire.
        if !self.published && self.app.signals.abandoned.send(self.id).is_err() {
            tracing::debug!(append = %self.id, "an append was left to expire");
        }
    }
}
