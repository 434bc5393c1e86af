//! Creating and reading datasets.

use portal_core::id::{DatasetId, Id, PurposeId};
use portal_mesh::Permit;

use super::once::Once;
use super::{App, account, happened};
use crate::domain::dataset::{Dataset, Description};
use crate::error::Error;
use crate::service::policy::{CreateDataset, GetDataset, ListDatasets};
use crate::store::{Listed, datasets};

impl App {
    /// Creates an empty dataset of the caller's.
    pub async fn create_dataset(
        &self,
        permit: &Permit<CreateDataset>,
        description: Description,
        once: Once<Dataset>,
    ) -> Result<Vec<u8>, Error> {
        let now = self.clock.now();
        let id = DatasetId::generate(now, self.entropy.as_ref());
        let dataset = &Dataset::create(id, account(permit)?, description, now);
        let actor = permit.caller().key();
        let happened = &happened("dataset.create", actor, dataset.owner)
            .to(id)
            .with("purpose", dataset.description.purpose);
        let once = &once;
        self.database
            .run_tx("create_dataset", |tx| async move {
                let writing = &self.seals.writing(&tx).await?;
                let create = async {
                    datasets::insert(writing, dataset).await?;
                    self.note(writing, happened.clone(), now).await?;
                    Ok(dataset.clone())
                };
                once.run((&self.replies, &self.requests), writing, now, create).await
            })
            .await
    }

    /// One of the caller's datasets.
    pub async fn dataset(&self, permit: &Permit<GetDataset>, id: DatasetId) -> Result<Dataset, Error> {
        let owner = account(permit)?;
        self.database
            .read("get_dataset", |tx| async move {
                let reading = self.seals.reading(&tx).await?;
                datasets::find(&reading, id, owner).await?.ok_or(Error::DatasetNotFound)
            })
            .await
    }

    /// The caller's datasets, newest first.
    pub async fn datasets(
        &self,
        permit: &Permit<ListDatasets>,
        purpose: Option<PurposeId>,
        (after, limit): (Option<DatasetId>, u32),
    ) -> Result<Vec<Listed<DatasetId, Dataset>>, Error> {
        let filter = &datasets::Filter { owner: account(permit)?, purpose };
        self.database
            .read("list_datasets", |tx| async move {
                let reading = self.seals.reading(&tx).await?;
                Ok(datasets::list(&reading, filter, after, limit.into()).await?)
            })
            .await
    }
}
