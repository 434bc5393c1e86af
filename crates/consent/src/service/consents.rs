//! `ConsentService`.

use portal_core::id::SubjectId;
use portal_core::{PageSize, Role};
use portal_mesh::status::reason;
use portal_mesh::{Caller, Permit};
use portal_proto::consent::v1 as pb;
use portal_proto::consent::v1::consent_service_server::ConsentService;
use portal_upkeep::status::withheld;
use prost::Message;
use tonic::{Request, Response, Status};

use super::convert::{Pages, both, consents as convert, once};
use super::policy::{
    GetConsent, GiveConsent, ListConsentEvents, ListConsents, RefuseConsent, WithdrawAllConsents,
    WithdrawConsent,
};
use super::{Edge, has_role, kept, refused, respond};
use crate::app::Answer;
use crate::app::consents::Words;
use crate::store::events::EventsOf;

#[tonic::async_trait]
impl ConsentService for Edge {
    async fn give_consent(
        &self,
        request: Request<pb::GiveConsentRequest>,
    ) -> Result<Response<pb::ConsentReply>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<GiveConsent, _>(&caller, &request.request_id, content, convert::encode);
        let decision = convert::Decision {
            subject_id: &request.subject_id,
            purpose_id: &request.purpose_id,
            notice_id: &request.notice_id,
            language: &request.language,
            method: request.method,
            evidence: request.evidence,
            valid_for: request.valid_for,
        };
        let (command, once) = both(decision.parse(), once).map_err(refused)?;
        let permit = caller.permit_for::<GiveConsent>(command.subject)?;
        respond(self.app.give(&permit, command, once).await?, convert::reply)
    }

    async fn refuse_consent(
        &self,
        request: Request<pb::RefuseConsentRequest>,
    ) -> Result<Response<pb::ConsentReply>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<RefuseConsent, _>(&caller, &request.request_id, content, convert::encode);
        let decision = convert::Decision {
            subject_id: &request.subject_id,
            purpose_id: &request.purpose_id,
            notice_id: &request.notice_id,
            language: &request.language,
            method: request.method,
            evidence: request.evidence,
            valid_for: None,
        };
        let (command, once) = both(decision.parse(), once).map_err(refused)?;
        let permit = caller.permit_for::<RefuseConsent>(command.subject)?;
        respond(self.app.refuse(&permit, command, once).await?, convert::reply)
    }

    async fn withdraw_consent(
        &self,
        request: Request<pb::WithdrawConsentRequest>,
    ) -> Result<Response<pb::ConsentReply>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<WithdrawConsent, _>(&caller, &request.request_id, content, convert::encode);
        let (command, once) = both(convert::withdraw(request), once).map_err(refused)?;
        let permit = caller.permit_for::<WithdrawConsent>(command.subject)?;
        respond(self.app.withdraw(&permit, command, once).await?, convert::reply)
    }

    async fn withdraw_all_consents(
        &self,
        request: Request<pb::WithdrawAllConsentsRequest>,
    ) -> Result<Response<pb::WithdrawAllConsentsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once =
            once::<WithdrawAllConsents, _>(&caller, &request.request_id, content, convert::kept_replies);
        let ((subject, reason), once) = both(convert::withdraw_all(request), once).map_err(refused)?;
        let permit = caller.permit_for::<WithdrawAllConsents>(subject)?;
        let answer = self.app.withdraw_all(&permit, subject, reason, once).await?;
        let rows = match &answer {
            Answer::Fresh(withdrawn) => withdrawn.withheld,
            Answer::Replayed(reply) => kept::<convert::BesideReply>(reply)?.withheld(),
        };
        Ok(withheld(respond(answer, convert::replies)?, rows))
    }

    async fn get_consent(
        &self,
        request: Request<pb::GetConsentRequest>,
    ) -> Result<Response<pb::Consent>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<GetConsent>()?;
        let id = convert::consent_id(&request.get_ref().consent_id).map_err(refused)?;
        let seen = self.app.consent(&permit, id).await?;
        permit.covers(seen.consent.facts().subject)?;
        Ok(Response::new(convert::message(&seen)))
    }

    async fn list_consents(
        &self,
        request: Request<pb::ListConsentsRequest>,
    ) -> Result<Response<pb::ListConsentsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListConsents>()?;
        let request = request.into_inner();
        let mut filter = convert::filter(&request).map_err(refused)?;
        filter.subject = whose(&permit, filter.subject)?;
        let text = |id: Option<String>| id.unwrap_or_default();
        let filters = [
            text(filter.subject.map(|id| id.to_string())),
            text(filter.purpose.map(|id| id.to_string())),
            request.status.to_string(),
        ];
        let pages =
            Pages::new::<ListConsents>(&self.page_tokens, &caller, &filters.each_ref().map(String::as_str));
        let page = both(PageSize::parse(request.page_size), pages.open(&request.page_token));
        let (size, after) = page.map_err(refused)?;
        let page = self.app.consents(&permit, filter, after.and_then(convert::parse_position), size).await?;
        let response = pb::ListConsentsResponse {
            consents: page.items.iter().map(convert::message).collect(),
            next_page_token: pages.seal(page.next.map(convert::position)),
        };
        Ok(withheld(Response::new(response), page.withheld))
    }

    async fn list_consent_events(
        &self,
        request: Request<pb::ListConsentEventsRequest>,
    ) -> Result<Response<pb::ListConsentEventsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListConsentEvents>()?;
        let request = request.into_inner();
        let of = convert::events_of(&request).map_err(refused)?;
        let subject = match of {
            EventsOf::Consent(id) => self.app.subject_of(&permit, id).await?,
            EventsOf::Subject(subject) => subject,
        };
        permit.covers(subject)?;
        let filters = [request.consent_id.to_ascii_lowercase(), request.subject_id.to_ascii_lowercase()];
        let pages = Pages::new::<ListConsentEvents>(
            &self.page_tokens,
            &caller,
            &filters.each_ref().map(String::as_str),
        );
        let page = both(PageSize::parse(request.page_size), pages.open(&request.page_token));
        let (size, after) = page.map_err(refused)?;
        let after = after.and_then(convert::parse_event_position);
        let own = caller.user().is_some_and(|user| user.subject == subject);
        let words = if own || has_role(&caller, Role::Officer) { Words::Shown } else { Words::Withheld };
        let page = self.app.consent_events(&permit, (of, words), after, size).await?;
        let response = pb::ListConsentEventsResponse {
            events: page.items.into_iter().map(|event| convert::event(event, words)).collect(),
            next_page_token: pages.seal(page.next.map(convert::event_position)),
        };
        Ok(withheld(Response::new(response), page.withheld))
    }
}

/// Whose consents a list shows: a subject's own without being told; everybody's only to officers.
fn whose(permit: &Permit<ListConsents>, asked: Option<SubjectId>) -> Result<Option<SubjectId>, Status> {
    match asked.or(permit.only()) {
        Some(subject) => permit.covers(subject).map(|()| Some(subject)),
        None if has_role(permit.caller(), Role::Officer) => Ok(None),
        None => Err(reason::ROLE_NOT_ALLOWED.status()),
    }
}
