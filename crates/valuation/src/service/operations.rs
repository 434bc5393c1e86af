//! google.longrunning.Operations: each operation is a valuation, by another name.

use std::time::Duration;

use portal_core::Invalid;
use portal_core::id::Id;
use portal_mesh::Caller;
use portal_mesh::context::Context;
use portal_mesh::convert::parse_duration;
use portal_proto::google::longrunning::operations_server::Operations;
use portal_proto::google::longrunning::{
    CancelOperationRequest, GetOperationRequest, ListOperationsRequest, ListOperationsResponse, Operation,
    WaitOperationRequest,
};
use portal_upkeep::status::withheld;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use super::policy::{CancelOperation, GetOperation, ListOperations, WaitOperation};
use super::valuations::Watch;
use super::{Edge, convert, refused, shown};
use crate::app::once::Once;

/// WaitOperation answers this long before the caller would stop waiting.
const MARGIN: Duration = Duration::from_millis(250);
/// WaitOperation waits so long if neither the request nor the call says otherwise.
const LONGEST_WAIT: Duration = Duration::from_secs(50);

#[tonic::async_trait]
impl Operations for Edge {
    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let permit = Caller::of(&request)?.permit::<GetOperation>()?;
        let id = convert::operation_id(&request.get_ref().name).map_err(refused)?;
        Ok(Response::new(convert::operation(&self.app.valuation(&permit, id).await?)))
    }

    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListOperations>()?;
        let mut filters = request.into_inner();
        let token = std::mem::take(&mut filters.page_token);
        let size = std::mem::take(&mut filters.page_size);
        if !matches!(filters.name.as_str(), "" | "operations") {
            return Err(refused(Invalid::field("name", "must be 'operations' or empty")));
        }
        if !filters.filter.is_empty() {
            return Err(refused(Invalid::field("filter", "must be empty: list valuations to filter them")));
        }
        let page =
            self.pages.parse::<ListOperations, 16>(&caller, &filters, (size, &token)).map_err(refused)?;
        let mut found = self.app.valuations(&permit, (None, None), (page.after_id(), page.limit())).await?;
        let next_page_token = self.pages.cut(&page, &mut found, |(id, _)| *id.uuid().as_bytes());
        let (operations, left_out) = shown(&found, convert::operation);
        let reply = ListOperationsResponse { operations, next_page_token, unreachable: Vec::new() };
        Ok(withheld(Response::new(reply), left_out))
    }

    async fn cancel_operation(
        &self,
        request: Request<CancelOperationRequest>,
    ) -> Result<Response<()>, Status> {
        let permit = Caller::of(&request)?.permit::<CancelOperation>()?;
        let id = convert::operation_id(&request.get_ref().name).map_err(refused)?;
        let once = Once { key: None, encode: |_| Vec::new() };
        self.app.cancel_valuation(&permit, id, once).await?;
        Ok(Response::new(()))
    }

    async fn wait_operation(
        &self,
        request: Request<WaitOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let permit = Caller::of(&request)?.permit::<WaitOperation>()?;
        let request = request.into_inner();
        let id = convert::operation_id(&request.name).map_err(refused)?;
        let asked = request.timeout.map(parse_duration).transpose();
        let asked = asked.map_err(|error| refused(Invalid::field("timeout", error)))?;
        let until = wait_until(asked.unwrap_or(LONGEST_WAIT));
        let mut watch = Watch::begin(self.clone(), permit, id).await?;
        loop {
            let valuation = watch.look().await?;
            if valuation.state.is_final() || timeout_at(until, watch.wait()).await.is_err() {
                return Ok(Response::new(convert::operation(&watch.whole().await?)));
            }
        }
    }
}

/// The end of a wait of `asked`, or a little before the call's own end if that is sooner.
fn wait_until(asked: Duration) -> Instant {
    let now = Instant::now();
    let asked = now + asked.min(LONGEST_WAIT);
    let end = Context::current().and_then(|context| context.deadline);
    end.map_or(asked, |end| asked.min(end.checked_sub(MARGIN).unwrap_or(now)))
}
