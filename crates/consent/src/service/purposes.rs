//! `PurposeService`.

use portal_core::PageSize;
use portal_core::id::{Id, PurposeId};
use portal_mesh::Caller;
use portal_proto::consent::v1 as pb;
use portal_proto::consent::v1::purpose_service_server::PurposeService;
use portal_upkeep::status::withheld;
use prost::Message;
use tonic::{Request, Response, Status};

use super::convert::{Pages, both, once, purposes as convert};
use super::policy::{ArchivePurpose, CreatePurpose, GetPurpose, ListPurposes, PublishPurpose, UpdatePurpose};
use super::{Edge, refused, respond, sees_drafts};

#[tonic::async_trait]
impl PurposeService for Edge {
    async fn create_purpose(
        &self,
        request: Request<pb::CreatePurposeRequest>,
    ) -> Result<Response<pb::Purpose>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<CreatePurpose>()?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<CreatePurpose, _>(&caller, &request.request_id, content, convert::encode);
        let (terms, once) = both(convert::create(request), once).map_err(refused)?;
        respond(self.app.create_purpose(&permit, terms, once).await?, convert::message)
    }

    async fn get_purpose(
        &self,
        request: Request<pb::GetPurposeRequest>,
    ) -> Result<Response<pb::Purpose>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<GetPurpose>()?;
        let (id, which) = convert::get(request.get_ref(), sees_drafts(&caller)).map_err(refused)?;
        let purpose = self.app.purpose(&permit, id, which).await?;
        Ok(Response::new(convert::message(&purpose)))
    }

    async fn list_purposes(
        &self,
        request: Request<pb::ListPurposesRequest>,
    ) -> Result<Response<pb::ListPurposesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListPurposes>()?;
        let request = request.into_inner();
        let pages = Pages::new::<ListPurposes>(&self.page_tokens, &caller, &[&request.state.to_string()]);
        let page = both(PageSize::parse(request.page_size), pages.open(&request.page_token));
        let (view, (size, after)) =
            both(convert::view(request.state, sees_drafts(&caller)), page).map_err(refused)?;
        let Some(view) = view else { return Ok(Response::new(Default::default())) };
        let after = after.map(|bytes| PurposeId::from_uuid(uuid::Uuid::from_bytes(bytes)));
        let page = self.app.purposes(&permit, view, after, size).await?;
        let response = pb::ListPurposesResponse {
            purposes: page.items.iter().map(convert::message).collect(),
            next_page_token: pages.seal(page.next.map(convert::position)),
        };
        Ok(withheld(Response::new(response), page.withheld))
    }

    async fn update_purpose(
        &self,
        request: Request<pb::UpdatePurposeRequest>,
    ) -> Result<Response<pb::Purpose>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<UpdatePurpose>()?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<UpdatePurpose, _>(&caller, &request.request_id, content, convert::encode);
        let ((target, patch), once) = both(convert::update(request), once).map_err(refused)?;
        respond(self.app.update_purpose(&permit, target, patch, once).await?, convert::message)
    }

    async fn publish_purpose(
        &self,
        request: Request<pb::PublishPurposeRequest>,
    ) -> Result<Response<pb::Purpose>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<PublishPurpose>()?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<PublishPurpose, _>(&caller, &request.request_id, content, convert::encode);
        let target = convert::target(&request.purpose_id, &request.etag);
        let (target, once) = both(target, once).map_err(refused)?;
        respond(self.app.publish_purpose(&permit, target, once).await?, convert::message)
    }

    async fn archive_purpose(
        &self,
        request: Request<pb::ArchivePurposeRequest>,
    ) -> Result<Response<pb::Purpose>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ArchivePurpose>()?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<ArchivePurpose, _>(&caller, &request.request_id, content, convert::encode);
        let target = convert::target(&request.purpose_id, &request.etag);
        let (target, once) = both(target, once).map_err(refused)?;
        respond(self.app.archive_purpose(&permit, target, once).await?, convert::message)
    }
}
