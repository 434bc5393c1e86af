//! `SubjectService`.

use portal_core::PageSize;
use portal_core::id::{Id, SubjectId};
use portal_mesh::Caller;
use portal_proto::consent::v1 as pb;
use portal_proto::consent::v1::subject_service_server::SubjectService;
use portal_upkeep::status::withheld;
use prost::Message;
use tonic::{Request, Response, Status};

use super::convert::{Pages, both, once, subjects as convert};
use super::policy::{CreateSubject, GetSubject, ListSubjects, LookupSubject};
use super::{Edge, refused, respond};

#[tonic::async_trait]
impl SubjectService for Edge {
    async fn create_subject(
        &self,
        request: Request<pb::CreateSubjectRequest>,
    ) -> Result<Response<pb::Subject>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<CreateSubject, _>(&caller, &request.request_id, content, convert::encode);
        let (command, once) = both(convert::create(request), once).map_err(refused)?;
        let permit = caller.permit::<CreateSubject>()?;
        respond(self.app.create_subject(&permit, command, once).await?, convert::message)
    }

    async fn get_subject(
        &self,
        request: Request<pb::GetSubjectRequest>,
    ) -> Result<Response<pb::Subject>, Status> {
        let caller = Caller::of(&request)?;
        let id = convert::subject_id(&request.get_ref().subject_id).map_err(refused)?;
        let permit = caller.permit_for::<GetSubject>(id)?;
        Ok(Response::new(convert::message(&self.app.subject(&permit, id).await?)))
    }

    async fn lookup_subject(
        &self,
        request: Request<pb::LookupSubjectRequest>,
    ) -> Result<Response<pb::Subject>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<LookupSubject>()?;
        let reference = convert::reference(request.into_inner().reference).map_err(refused)?;
        Ok(Response::new(convert::message(&self.app.lookup_subject(&permit, &reference).await?)))
    }

    async fn list_subjects(
        &self,
        request: Request<pb::ListSubjectsRequest>,
    ) -> Result<Response<pb::ListSubjectsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListSubjects>()?;
        let request = request.into_inner();
        let pages = Pages::new::<ListSubjects>(&self.page_tokens, &caller, &[]);
        let page = both(PageSize::parse(request.page_size), pages.open(&request.page_token));
        let (size, after) = page.map_err(refused)?;
        let after = after.map(|id: [u8; 16]| SubjectId::from_uuid(uuid::Uuid::from_bytes(id)));
        let page = self.app.subjects(&permit, after, size).await?;
        let response = pb::ListSubjectsResponse {
            subjects: page.items.iter().map(convert::message).collect(),
            next_page_token: pages.seal(page.next.map(convert::position)),
        };
        Ok(withheld(Response::new(response), page.withheld))
    }
}
