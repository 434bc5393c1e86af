//! `ConsentService`.

use portal_core::id::SubjectId;
use portal_core::{Invalid, PageSize, Role};
use portal_mesh::status::reason;
use portal_mesh::{Caller, Permit};
use portal_proto::consent::v1 as pb;
use portal_proto::consent::v1::consent_service_server::ConsentService;
use portal_proto::consent::v1::import_consents_request::Item as ImportItem;
use portal_upkeep::status::withheld;
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::convert::delegation::stated_by;
use super::convert::{Pages, acts, both, consents as convert, once, records};
use super::policy::{
    BatchRecordConsents, DeferConsent, GetConsent, GiveConsent, ImportConsents, InvalidateConsent,
    ListConsentEvents, ListConsents, RefuseConsent, RenewConsent, RequestConsent, RevokeConsent,
    WithdrawAllConsents, WithdrawConsent,
};
use super::{Edge, has_role, kept, refused, respond};
use crate::app::Answer;
use crate::app::consents::Words;
use crate::app::records::CHUNK;
use crate::store::events::EventsOf;

/// Records of an import that are held at once have no more bytes than this, and one record.
const CHUNK_BYTES: usize = 4 << 20;

#[tonic::async_trait]
impl ConsentService for Edge {
    async fn give_consent(
        &self,
        request: Request<pb::GiveConsentRequest>,
    ) -> Result<Response<pb::ConsentReply>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<GiveConsent>()?;
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
            delegation: request.delegation,
            stated_by: stated_by(&permit),
        };
        let (command, once) = both(decision.parse(), once).map_err(refused)?;
        permit.covers(command.subject)?;
        respond(self.app.give(&permit, command, once).await?, convert::reply)
    }

    async fn renew_consent(
        &self,
        request: Request<pb::RenewConsentRequest>,
    ) -> Result<Response<pb::ConsentReply>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<RenewConsent>()?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<RenewConsent, _>(&caller, &request.request_id, content, convert::encode);
        let decision = convert::Decision {
            subject_id: &request.subject_id,
            purpose_id: &request.purpose_id,
            notice_id: &request.notice_id,
            language: &request.language,
            method: request.method,
            evidence: request.evidence,
            valid_for: request.valid_for,
            delegation: request.delegation,
            stated_by: stated_by(&permit),
        };
        let (command, once) = both(decision.parse(), once).map_err(refused)?;
        permit.covers(command.subject)?;
        respond(self.app.renew(&permit, command, once).await?, convert::reply)
    }

    async fn refuse_consent(
        &self,
        request: Request<pb::RefuseConsentRequest>,
    ) -> Result<Response<pb::ConsentReply>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<RefuseConsent>()?;
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
            delegation: request.delegation,
            stated_by: stated_by(&permit),
        };
        let (command, once) = both(decision.parse(), once).map_err(refused)?;
        permit.covers(command.subject)?;
        respond(self.app.refuse(&permit, command, once).await?, convert::reply)
    }

    async fn withdraw_consent(
        &self,
        request: Request<pb::WithdrawConsentRequest>,
    ) -> Result<Response<pb::ConsentReply>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<WithdrawConsent>()?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<WithdrawConsent, _>(&caller, &request.request_id, content, convert::encode);
        let (command, once) = both(convert::withdraw(request, stated_by(&permit)), once).map_err(refused)?;
        permit.covers(command.subject)?;
        respond(self.app.withdraw(&permit, command, once).await?, convert::reply)
    }

    async fn withdraw_all_consents(
        &self,
        request: Request<pb::WithdrawAllConsentsRequest>,
    ) -> Result<Response<pb::WithdrawAllConsentsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<WithdrawAllConsents>()?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once =
            once::<WithdrawAllConsents, _>(&caller, &request.request_id, content, convert::kept_replies);
        let ((subject, words), once) =
            both(convert::withdraw_all(request, stated_by(&permit)), once).map_err(refused)?;
        permit.covers(subject)?;
        let answer = self.app.withdraw_all(&permit, subject, words, once).await?;
        let rows = match &answer {
            Answer::Fresh(withdrawn) => withdrawn.withheld,
            Answer::Replayed(reply) => kept::<convert::BesideReply>(reply)?.withheld(),
        };
        Ok(withheld(respond(answer, convert::replies)?, rows))
    }

    async fn request_consent(
        &self,
        request: Request<pb::RequestConsentRequest>,
    ) -> Result<Response<pb::ConsentReply>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<RequestConsent, _>(&caller, &request.request_id, content, convert::encode);
        let (command, once) = both(acts::ask(&request), once).map_err(refused)?;
        let permit = caller.permit_for::<RequestConsent>(command.subject)?;
        respond(self.app.request(&permit, command, once).await?, convert::reply)
    }

    async fn defer_consent(
        &self,
        request: Request<pb::DeferConsentRequest>,
    ) -> Result<Response<pb::ConsentReply>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<DeferConsent>()?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<DeferConsent, _>(&caller, &request.request_id, content, convert::encode);
        let (command, once) = both(acts::defer(request, stated_by(&permit)), once).map_err(refused)?;
        permit.covers(command.subject)?;
        respond(self.app.defer(&permit, command, once).await?, convert::reply)
    }

    async fn revoke_consent(
        &self,
        request: Request<pb::RevokeConsentRequest>,
    ) -> Result<Response<pb::ConsentReply>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<RevokeConsent, _>(&caller, &request.request_id, content, convert::encode);
        let (command, once) = both(acts::revoke(request), once).map_err(refused)?;
        let permit = caller.permit_for::<RevokeConsent>(command.subject)?;
        respond(self.app.revoke(&permit, command, once).await?, convert::reply)
    }

    async fn invalidate_consent(
        &self,
        request: Request<pb::InvalidateConsentRequest>,
    ) -> Result<Response<pb::ConsentReply>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let content = || request.encode_to_vec();
        let once = once::<InvalidateConsent, _>(&caller, &request.request_id, content, convert::encode);
        let (command, once) = both(acts::invalidate(request), once).map_err(refused)?;
        let permit = caller.permit_for::<InvalidateConsent>(command.subject)?;
        respond(self.app.invalidate(&permit, command, once).await?, convert::reply)
    }

    async fn get_consent(
        &self,
        request: Request<pb::GetConsentRequest>,
    ) -> Result<Response<pb::Consent>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<GetConsent>()?;
        let (id, when) = convert::asked(request.get_ref(), self.app.clock.now()).map_err(refused)?;
        let mut seen = self.app.consent(&permit, id).await?;
        permit.covers(seen.consent.facts().subject)?;
        if let Some(when) = when {
            seen = self.app.past_consent(&permit, &seen, when).await?;
        }
        Ok(Response::new(convert::message(&seen)))
    }

    async fn list_consents(
        &self,
        request: Request<pb::ListConsentsRequest>,
    ) -> Result<Response<pb::ListConsentsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListConsents>()?;
        let request = request.into_inner();
        let (mut filter, when) = convert::filter(&request, self.app.clock.now()).map_err(refused)?;
        filter.subject = whose(&permit, filter.subject)?;
        let text = |id: Option<String>| id.unwrap_or_default();
        let filters = [
            text(filter.subject.map(|id| id.to_string())),
            text(filter.purpose.map(|id| id.to_string())),
            request.status.to_string(),
            text(request.at.map(|at| at.to_string())),
            text(request.as_of.map(|as_of| as_of.to_string())),
        ];
        let pages =
            Pages::new::<ListConsents>(&self.page_tokens, &caller, &filters.each_ref().map(String::as_str));
        let page = both(PageSize::parse(request.page_size), pages.open(&request.page_token));
        let (size, after) = page.map_err(refused)?;
        let after = after.and_then(convert::parse_position);
        let page = match (filter.subject, when) {
            (_, None) => self.app.consents(&permit, filter, after, size).await?,
            (Some(subject), Some(when)) => {
                self.app.past_consents(&permit, (subject, filter, when), after, size).await?
            }
            (None, Some(_)) => {
                let unnamed = Invalid::field("subject_id", "must be set if at or as_of is");
                return Err(refused(unnamed));
            }
        };
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
            events: page.items.into_iter().map(|listed| convert::event(listed, words)).collect(),
            next_page_token: pages.seal(page.next.map(convert::event_position)),
        };
        Ok(withheld(Response::new(response), page.withheld))
    }

    async fn batch_record_consents(
        &self,
        request: Request<pb::BatchRecordConsentsRequest>,
    ) -> Result<Response<pb::BatchRecordConsentsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<BatchRecordConsents>()?;
        let request = request.into_inner();
        if request.records.len() > records::MOST {
            let most = format_args!("must have at most {} items", records::MOST);
            return Err(refused(Invalid::field("records", most)));
        }
        let content = || request.encode_to_vec();
        let once = once::<BatchRecordConsents, _>(&caller, &request.request_id, content, records::kept);
        let once = once.map_err(refused)?;
        let now = self.app.clock.now();
        let asked: Vec<_> = request.records.into_iter().map(|record| records::record(record, now)).collect();
        let answers = self.app.record_batch(&permit, &asked, once.as_ref()).await?;
        let mut results = Vec::with_capacity(asked.len());
        for (answer, asked) in answers.into_iter().zip(asked.chunks(CHUNK)) {
            match answer {
                Answer::Fresh(items) => results.extend(items.iter().map(records::result)),
                Answer::Replayed(reply) => results.extend(records::completed(kept(&reply)?, asked)),
            }
        }
        Ok(Response::new(pb::BatchRecordConsentsResponse { results }))
    }

    async fn import_consents(
        &self,
        request: Request<Streaming<pb::ImportConsentsRequest>>,
    ) -> Result<Response<pb::ImportConsentsResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<ImportConsents>()?;
        let mut stream = request.into_inner();
        let Some(ImportItem::Header(header)) = stream.message().await?.and_then(|message| message.item)
        else {
            return Err(refused(Invalid::field("header", "must be the first message")));
        };
        let (id, mut position) = records::header(&header).map_err(refused)?;
        let mut import = self.app.begin_import(&permit, id, position).await?;
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        // The next message is asked for only when there is room for it: a chunk is all that is ever held.
        while let Some(message) = stream.message().await? {
            let Some(ImportItem::Record(record)) = message.item else {
                return Err(refused(Invalid::field("record", "must be every message after the first")));
            };
            if position < import.next && chunk.is_empty() {
                position += 1;
                continue;
            }
            bytes += record.encoded_len();
            chunk.push(records::record(record, self.app.clock.now()));
            if chunk.len() == CHUNK || bytes >= CHUNK_BYTES {
                import = self.app.import(&permit, id, (position, &chunk), records::refusal).await?;
                position += chunk.len() as u64;
                chunk.clear();
                bytes = 0;
            }
        }
        if !chunk.is_empty() {
            import = self.app.import(&permit, id, (position, &chunk), records::refusal).await?;
        }
        Ok(Response::new(records::imported(import)))
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
