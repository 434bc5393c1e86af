//! ValuationService.

use std::time::Duration;

use portal_core::id::{DatasetId, Id, SubjectId, ValuationId};
use portal_mesh::Caller;
use portal_mesh::policy::{Action, Permit};
use portal_proto::google::longrunning::Operation;
use portal_proto::valuation::v1 as pb;
use portal_proto::valuation::v1::valuation_service_server::ValuationService;
use portal_upkeep::status::withheld;
use prost::Message;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::policy::{
    CancelValuation, GetSubjectValue, GetValuation, ListRecordValues, ListSubjectValues, ListValuations,
    StartValuation, WatchValuation,
};
use super::{Edge, convert, once, refused, reply, shown};
use crate::domain::valuation::Valuation;
use crate::error::Error;
use crate::store::results::Window;

/// How often a watcher looks for itself: the worker may be another process.
const LOOK: Duration = Duration::from_millis(500);

#[tonic::async_trait]
impl ValuationService for Edge {
    async fn start_valuation(
        &self,
        request: Request<pb::StartValuationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<StartValuation>()?;
        let request = request.into_inner();
        let once = once::<StartValuation, _>(&caller, &request, &request.request_id, |valuation| {
            convert::operation(valuation).encode_to_vec()
        })?;
        let command = convert::start(&request).map_err(refused)?;
        reply(&self.app.start_valuation(&permit, command, once).await?)
    }

    async fn get_valuation(
        &self,
        request: Request<pb::GetValuationRequest>,
    ) -> Result<Response<pb::Valuation>, Status> {
        let permit = Caller::of(&request)?.permit::<GetValuation>()?;
        let id = valuation_id(&request.get_ref().valuation_id)?;
        Ok(Response::new(convert::valuation(&self.app.valuation(&permit, id).await?)))
    }

    async fn list_valuations(
        &self,
        request: Request<pb::ListValuationsRequest>,
    ) -> Result<Response<pb::ListValuationsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListValuations>()?;
        let mut filters = request.into_inner();
        let token = std::mem::take(&mut filters.page_token);
        let size = std::mem::take(&mut filters.page_size);
        let page =
            self.pages.parse::<ListValuations, 16>(&caller, &filters, (size, &token)).map_err(refused)?;
        let dataset: Option<DatasetId> =
            convert::optional_id("dataset_id", &filters.dataset_id).map_err(refused)?;
        let wanted = (dataset, convert::state_filter(filters.state()));
        let mut found = self.app.valuations(&permit, wanted, (page.after_id(), page.limit())).await?;
        let next_page_token = self.pages.cut(&page, &mut found, |(id, _)| *id.uuid().as_bytes());
        let (valuations, left_out) = shown(&found, convert::valuation);
        Ok(withheld(Response::new(pb::ListValuationsResponse { valuations, next_page_token }), left_out))
    }

    async fn cancel_valuation(
        &self,
        request: Request<pb::CancelValuationRequest>,
    ) -> Result<Response<pb::Valuation>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<CancelValuation>()?;
        let request = request.into_inner();
        let once = once::<CancelValuation, _>(&caller, &request, &request.request_id, |valuation| {
            convert::valuation(valuation).encode_to_vec()
        })?;
        let id = valuation_id(&request.valuation_id)?;
        reply(&self.app.cancel_valuation(&permit, id, once).await?)
    }

    async fn watch_valuation(
        &self,
        request: Request<pb::WatchValuationRequest>,
    ) -> Result<Response<BoxStream<pb::ValuationProgress>>, Status> {
        let permit = Caller::of(&request)?.permit::<WatchValuation>()?;
        let id = valuation_id(&request.get_ref().valuation_id)?;
        let watch = Watch::begin(self.clone(), permit, id).await?;
        let stream = futures_util::stream::try_unfold(watch, |mut watch| async move {
            let next = watch.next().await?;
            Ok::<_, Status>(next.map(|progress| (progress, watch)))
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn list_record_values(
        &self,
        request: Request<pb::ListRecordValuesRequest>,
    ) -> Result<Response<pb::ListRecordValuesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListRecordValues>()?;
        let mut filters = request.into_inner();
        let token = std::mem::take(&mut filters.page_token);
        let size = std::mem::take(&mut filters.page_size);
        let page =
            self.pages.parse::<ListRecordValues, 8>(&caller, &filters, (size, &token)).map_err(refused)?;
        let id = valuation_id(&filters.valuation_id)?;
        let window = Window {
            lowest_first: filters.order() == pb::ValueOrder::LowestFirst,
            after: page.after_position(),
            subject: convert::optional_id("subject_id", &filters.subject_id).map_err(refused)?,
            limit: page.limit().into(),
        };
        let mut found = self.app.record_values(&permit, id, window).await?;
        let next_page_token = self.pages.cut(&page, &mut found, |(position, _)| position.to_be_bytes());
        let (record_values, left_out) = shown(&found, convert::record_value);
        Ok(withheld(Response::new(pb::ListRecordValuesResponse { record_values, next_page_token }), left_out))
    }

    async fn list_subject_values(
        &self,
        request: Request<pb::ListSubjectValuesRequest>,
    ) -> Result<Response<pb::ListSubjectValuesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListSubjectValues>()?;
        let mut filters = request.into_inner();
        let token = std::mem::take(&mut filters.page_token);
        let size = std::mem::take(&mut filters.page_size);
        let page =
            self.pages.parse::<ListSubjectValues, 8>(&caller, &filters, (size, &token)).map_err(refused)?;
        let id = valuation_id(&filters.valuation_id)?;
        let window = Window {
            lowest_first: filters.order() == pb::ValueOrder::LowestFirst,
            after: page.after_position(),
            subject: None,
            limit: page.limit().into(),
        };
        let mut found = self.app.subject_values(&permit, id, window).await?;
        let next_page_token = self.pages.cut(&page, &mut found, |(position, _)| position.to_be_bytes());
        let (subject_values, left_out) = shown(&found, convert::subject_value);
        Ok(withheld(
            Response::new(pb::ListSubjectValuesResponse { subject_values, next_page_token }),
            left_out,
        ))
    }

    async fn get_subject_value(
        &self,
        request: Request<pb::GetSubjectValueRequest>,
    ) -> Result<Response<pb::SubjectValue>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let subject: SubjectId = convert::id("subject_id", &request.subject_id).map_err(refused)?;
        let permit = caller.permit_for::<GetSubjectValue>(subject)?;
        let id = valuation_id(&request.valuation_id)?;
        let value = self.app.subject_value(&permit, id, subject).await?;
        Ok(Response::new(convert::subject_value(&value)))
    }
}

fn valuation_id(text: &str) -> Result<ValuationId, Status> {
    convert::id("valuation_id", text).map_err(refused)
}

/// Follows one valuation: each look that finds something new tells it.
pub(super) struct Watch<A: Action> {
    edge: Edge,
    permit: Permit<A>,
    id: ValuationId,
    changed: watch::Receiver<()>,
    told: Option<pb::ValuationProgress>,
    ended: bool,
}

impl<A: Action> Watch<A> {
    /// Begins with a first look, so that what can't be watched is refused at once.
    pub(super) async fn begin(edge: Edge, permit: Permit<A>, id: ValuationId) -> Result<Self, Error> {
        let changed = edge.app.signals.changed.subscribe();
        edge.app.progress(&permit, id).await?;
        Ok(Self { edge, permit, id, changed, told: None, ended: false })
    }

    /// The valuation as it is now.
    pub(super) async fn look(&mut self) -> Result<Valuation, Error> {
        self.changed.borrow_and_update();
        self.edge.app.progress(&self.permit, self.id).await
    }

    /// The valuation as it is now, with what takes the keys of people.
    pub(super) async fn whole(&self) -> Result<Valuation, Error> {
        self.edge.app.valuation(&self.permit, self.id).await
    }

    /// Waits until there may be something new.
    pub(super) async fn wait(&mut self) {
        drop(timeout(LOOK, self.changed.changed()).await);
    }

    async fn next(&mut self) -> Result<Option<pb::ValuationProgress>, Status> {
        while !self.ended {
            let valuation = self.look().await?;
            self.ended = valuation.state.is_final();
            let progress = Some(convert::progress(&valuation));
            if progress != self.told {
                self.told.clone_from(&progress);
                return Ok(progress);
            }
            self.wait().await;
        }
        Ok(None)
    }
}
