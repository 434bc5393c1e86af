//! DatasetService.

use portal_core::Invalid;
use portal_core::id::{DatasetId, Id, PurposeId};
use portal_mesh::Caller;
use portal_proto::valuation::v1 as pb;
use portal_proto::valuation::v1::append_records_request::Payload;
use portal_proto::valuation::v1::dataset_service_server::DatasetService;
use portal_upkeep::status::withheld;
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::policy::{AppendRecordBatch, AppendRecords, CreateDataset, GetDataset, ListDatasets};
use super::{Edge, convert, once, refused, reply, shown};
use crate::app::append::Append;

#[tonic::async_trait]
impl DatasetService for Edge {
    async fn create_dataset(
        &self,
        request: Request<pb::CreateDatasetRequest>,
    ) -> Result<Response<pb::Dataset>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<CreateDataset>()?;
        let request = request.into_inner();
        let once = once::<CreateDataset, _>(&caller, &request, &request.request_id, |dataset| {
            convert::dataset(dataset).encode_to_vec()
        })?;
        let description = convert::description(request.dataset).map_err(refused)?;
        reply(&self.app.create_dataset(&permit, description, once).await?)
    }

    async fn get_dataset(
        &self,
        request: Request<pb::GetDatasetRequest>,
    ) -> Result<Response<pb::Dataset>, Status> {
        let permit = Caller::of(&request)?.permit::<GetDataset>()?;
        let id: DatasetId = convert::id("dataset_id", &request.get_ref().dataset_id).map_err(refused)?;
        Ok(Response::new(convert::dataset(&self.app.dataset(&permit, id).await?)))
    }

    async fn list_datasets(
        &self,
        request: Request<pb::ListDatasetsRequest>,
    ) -> Result<Response<pb::ListDatasetsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListDatasets>()?;
        let mut filters = request.into_inner();
        let token = std::mem::take(&mut filters.page_token);
        let size = std::mem::take(&mut filters.page_size);
        let page =
            self.pages.parse::<ListDatasets, 16>(&caller, &filters, (size, &token)).map_err(refused)?;
        let purpose: Option<PurposeId> =
            convert::optional_id("purpose_id", &filters.purpose_id).map_err(refused)?;
        let after = page.after_id();
        let mut found = self.app.datasets(&permit, purpose, (after, page.limit())).await?;
        let next_page_token = self.pages.cut(&page, &mut found, |(id, _)| *id.uuid().as_bytes());
        let (datasets, left_out) = shown(&found, convert::dataset);
        Ok(withheld(Response::new(pb::ListDatasetsResponse { datasets, next_page_token }), left_out))
    }

    async fn append_records(
        &self,
        request: Request<Streaming<pb::AppendRecordsRequest>>,
    ) -> Result<Response<pb::AppendRecordsResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<AppendRecords>()?;
        let mut stream = request.into_inner();
        let first = stream.message().await?.and_then(|message| message.payload);
        let Some(Payload::DatasetId(id)) = first else {
            return Err(refused(Invalid::field("dataset_id", "must be the first message")));
        };
        let id = convert::id("dataset_id", &id).map_err(refused)?;
        let mut append = self.app.begin_append(&permit, id).await?;
        while let Some(message) = stream.message().await? {
            add(&mut append, message).await?;
        }
        if append.is_empty() {
            return Err(refused(Invalid::field("batch", "must be sent at least once")));
        }
        let appended = append.publish().await?;
        Ok(Response::new(pb::AppendRecordsResponse {
            appended_count: appended.count,
            dataset_revision: appended.revision,
        }))
    }

    async fn append_record_batch(
        &self,
        request: Request<pb::AppendRecordBatchRequest>,
    ) -> Result<Response<pb::AppendRecordBatchResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<AppendRecordBatch>()?;
        let request = request.into_inner();
        let once = once::<AppendRecordBatch, _>(&caller, &request, &request.request_id, |appended| {
            convert::appended(appended).encode_to_vec()
        })?;
        let id = convert::id("dataset_id", &request.dataset_id).map_err(refused)?;
        let parts = convert::parts(request.batch).map_err(refused)?;
        reply(&self.app.append_batch(&permit, (id, parts), once).await?)
    }
}

async fn add(append: &mut Append, message: pb::AppendRecordsRequest) -> Result<(), Status> {
    let batch = match message.payload {
        Some(Payload::Batch(batch)) => Some(batch),
        Some(Payload::DatasetId(_)) => {
            return Err(refused(Invalid::field("dataset_id", "must be in the first message only")));
        }
        None => None,
    };
    Ok(append.add(convert::parts(batch).map_err(refused)?).await?)
}
