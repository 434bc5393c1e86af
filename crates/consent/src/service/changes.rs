//! `ConsentChangeService`.

use std::sync::Arc;

use futures_util::StreamExt;
use portal_core::PageSize;
use portal_mesh::Caller;
use portal_proto::consent::v1 as pb;
use portal_proto::consent::v1::consent_change_service_server::ConsentChangeService;
use portal_upkeep::status::withheld;
use prost::Message;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::convert::{Pages, both, changes as convert, once};
use super::policy::{AckConsentChanges, ListConsentChangeAcks, WatchConsentChanges};
use super::{Edge, refused, respond};

#[tonic::async_trait]
impl ConsentChangeService for Edge {
    async fn watch_consent_changes(
        &self,
        request: Request<pb::WatchConsentChangesRequest>,
    ) -> Result<Response<BoxStream<pb::ConsentChange>>, Status> {
        let permit = Caller::of(&request)?.permit::<WatchConsentChanges>()?;
        let (place, purposes) = convert::watch(&self.page_tokens, request.get_ref()).map_err(refused)?;
        let changes = Arc::clone(&self.app).watch_changes(&permit, place, purposes).await?;
        let key = self.page_tokens.clone();
        let changes = changes.map(move |told| Ok(convert::change(&key, told?)));
        Ok(Response::new(Box::pin(changes)))
    }

    async fn ack_consent_changes(
        &self,
        request: Request<pb::AckConsentChangesRequest>,
    ) -> Result<Response<pb::AckConsentChangesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<AckConsentChanges>()?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<AckConsentChanges, _>(&caller, &request.request_id, content, convert::encode);
        let parsed = both(convert::ack(&self.page_tokens, &request), once);
        let ((place, recipient), once) = parsed.map_err(refused)?;
        respond(self.app.ack_changes(&permit, place, recipient, once).await?, convert::acked)
    }

    async fn list_consent_change_acks(
        &self,
        request: Request<pb::ListConsentChangeAcksRequest>,
    ) -> Result<Response<pb::ListConsentChangeAcksResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListConsentChangeAcks>()?;
        let request = request.into_inner();
        let recipient = convert::recipient_filter(&request.recipient);
        let pages = Pages::new::<ListConsentChangeAcks>(&self.page_tokens, &caller, &[&request.recipient]);
        let page = both(PageSize::parse(request.page_size), pages.open(&request.page_token));
        let (recipient, (size, after)) = both(recipient, page).map_err(refused)?;
        let after = after.and_then(convert::parse_ack_position);
        let page = self.app.change_acks(&permit, recipient, after, size).await?;
        let response = pb::ListConsentChangeAcksResponse {
            acks: page.items.iter().map(convert::ack_message).collect(),
            next_page_token: pages.seal(page.next.map(convert::ack_position)),
        };
        Ok(withheld(Response::new(response), page.withheld))
    }
}
