//! `NoticeService`.

use portal_core::PageSize;
use portal_core::id::{Id, NoticeId};
use portal_mesh::Caller;
use portal_proto::consent::v1 as pb;
use portal_proto::consent::v1::notice_service_server::NoticeService;
use portal_upkeep::status::withheld;
use prost::Message;
use tonic::{Request, Response, Status};

use super::convert::{Pages, both, notices as convert, once, purposes::view};
use super::policy::{CreateNotice, GetNotice, ListNotices, PublishNotice, UpdateNotice};
use super::{Edge, refused, respond, sees_drafts};
use crate::app::notices::Query;

#[tonic::async_trait]
impl NoticeService for Edge {
    async fn create_notice(
        &self,
        request: Request<pb::CreateNoticeRequest>,
    ) -> Result<Response<pb::Notice>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<CreateNotice>()?;
        let request = request.into_inner();
        let content = || convert::content(request.clone(), |request| request.notice.as_mut());
        let once = once::<CreateNotice, _>(&caller, &request.request_id, content, convert::encode);
        let (text, once) = both(convert::create(request), once).map_err(refused)?;
        respond(self.app.create_notice(&permit, text, once).await?, convert::message)
    }

    async fn get_notice(
        &self,
        request: Request<pb::GetNoticeRequest>,
    ) -> Result<Response<pb::Notice>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<GetNotice>()?;
        let (id, which) = convert::get(request.get_ref(), sees_drafts(&caller)).map_err(refused)?;
        let notice = self.app.notice(&permit, id, which).await?;
        Ok(Response::new(convert::message(&notice)))
    }

    async fn list_notices(
        &self,
        request: Request<pb::ListNoticesRequest>,
    ) -> Result<Response<pb::ListNoticesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListNotices>()?;
        let request = request.into_inner();
        let purpose = convert::purpose_filter(&request.purpose_id);
        let (view, purpose) = both(view(request.state, sees_drafts(&caller)), purpose).map_err(refused)?;
        let filters = [request.state.to_string(), purpose.map(|id| id.to_string()).unwrap_or_default()];
        let pages =
            Pages::new::<ListNotices>(&self.page_tokens, &caller, &filters.each_ref().map(String::as_str));
        let page = both(PageSize::parse(request.page_size), pages.open(&request.page_token));
        let (size, after) = page.map_err(refused)?;
        let Some(view) = view else { return Ok(Response::new(Default::default())) };
        let after = after.map(|bytes| NoticeId::from_uuid(uuid::Uuid::from_bytes(bytes)));
        let page = self.app.notices(&permit, Query { view, purpose, after, size }).await?;
        let response = pb::ListNoticesResponse {
            notices: page.items.iter().map(convert::message).collect(),
            next_page_token: pages.seal(page.next.map(convert::position)),
        };
        Ok(withheld(Response::new(response), page.withheld))
    }

    async fn update_notice(
        &self,
        request: Request<pb::UpdateNoticeRequest>,
    ) -> Result<Response<pb::Notice>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<UpdateNotice>()?;
        let request = request.into_inner();
        let content = || convert::content(request.clone(), |request| request.notice.as_mut());
        let once = once::<UpdateNotice, _>(&caller, &request.request_id, content, convert::encode);
        let ((target, patch), once) = both(convert::update(request), once).map_err(refused)?;
        respond(self.app.update_notice(&permit, target, patch, once).await?, convert::message)
    }

    async fn publish_notice(
        &self,
        request: Request<pb::PublishNoticeRequest>,
    ) -> Result<Response<pb::Notice>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<PublishNotice>()?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<PublishNotice, _>(&caller, &request.request_id, content, convert::encode);
        let target = convert::target(&request.notice_id, &request.etag);
        let (target, once) = both(target, once).map_err(refused)?;
        respond(self.app.publish_notice(&permit, target, once).await?, convert::message)
    }
}
