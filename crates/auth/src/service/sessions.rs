//! `portal.auth.v1.SessionService`.

use portal_core::Timestamp;
use portal_core::id::{Id, SessionId};
use portal_mesh::Caller;
use portal_mesh::convert::timestamp;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::create_session_response::Result as SignInResult;
use portal_proto::auth::v1::session_service_server::SessionService;
use portal_upkeep::status::withheld;
use prost::Message;
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::policy::{
    CompleteMfa, CreateSession, ListSessions, RefreshSession, RevokeAllSessions, RevokeSession,
};
use super::{Api, answer, convert, invalid};
use crate::app::sign_in::Entry;
use crate::domain::{Handle, NamedSession};
use crate::error::Error;
use crate::store::sessions::Place;

#[async_trait]
impl SessionService for Api {
    async fn create_session(
        &self,
        request: Request<pb::CreateSessionRequest>,
    ) -> Result<Response<pb::CreateSessionResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<CreateSession>()?;
        let raises = raises(&caller, request.get_ref().raise_session)?;
        let asked = convert::sign_in(request.into_inner(), raises).map_err(invalid)?;
        let result = match self.app.sign_in(permit, asked).await? {
            Entry::Challenged(challenged) => SignInResult::MfaChallenge(convert::challenge(&challenged)),
            Entry::SignedIn(signed_in) => SignInResult::Session(convert::signed_in(&signed_in)),
        };
        Ok(Response::new(pb::CreateSessionResponse { result: Some(result) }))
    }

    async fn complete_mfa(
        &self,
        request: Request<pb::CompleteMfaRequest>,
    ) -> Result<Response<pb::Session>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<CompleteMfa>()?;
        let raises = raises(&caller, request.get_ref().raise_session)?;
        let (challenge, proof) = convert::complete_mfa(request.get_ref()).map_err(invalid)?;
        let challenge = challenge.ok_or(Error::ChallengeRejected)?;
        let signed_in = self.app.complete_mfa(&permit, (&challenge, &proof), raises).await?;
        Ok(Response::new(convert::signed_in(&signed_in)))
    }

    async fn refresh_session(
        &self,
        request: Request<pb::RefreshSessionRequest>,
    ) -> Result<Response<pb::Session>, Status> {
        let permit = Caller::of(&request)?.permit::<RefreshSession>()?;
        let refresh = Handle::parse(&request.get_ref().refresh_token).ok_or(Error::TokenInvalid)?;
        let signed_in = self.app.refresh(permit, &refresh).await?;
        Ok(Response::new(convert::signed_in(&signed_in)))
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<ListSessions>()?;
        let request = request.into_inner();
        let (account, size) = convert::session_list(&request).map_err(invalid)?;
        let page_token = request.page_token.clone();
        let filters = pb::ListSessionsRequest { page_size: 0, page_token: String::new(), ..request };
        let scope = Self::page_scope::<ListSessions>(&caller, &filters);
        let after = self.open_page(&scope, &page_token)?.and_then(|bytes| place(&bytes));
        let size = size.get() as usize;
        let listed = self.app.list_sessions(&permit, account, after, size).await?;
        let next = listed.next.as_ref().map(|place| self.page_tokens.seal(&scope, &place_bytes(place)));
        let current = caller.user().map(|user| user.session);
        let message = |named: &NamedSession| pb::Session {
            current: Some(named.session.id) == current,
            ..convert::session(named)
        };
        let message = pb::ListSessionsResponse {
            sessions: listed.rows.iter().map(message).collect(),
            next_page_token: next.unwrap_or_default(),
        };
        Ok(withheld(Response::new(message), listed.withheld))
    }

    async fn revoke_session(
        &self,
        request: Request<pb::RevokeSessionRequest>,
    ) -> Result<Response<pb::RevokeSessionResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<RevokeSession>()?;
        let request = request.into_inner();
        let (session, id) = convert::revoke_session(&request).map_err(invalid)?;
        let reply = |at: &Timestamp| pb::RevokeSessionResponse { revoke_time: Some(timestamp(*at)) };
        let change = self.change::<RevokeSession, _>(&caller, id, &request, |at, _| {
            pb::RevokeSessionResponse { revoke_time: Some(timestamp(*at)) }.encode_to_vec()
        });
        answer(self.app.revoke_session(&permit, session, &change).await?, reply)
    }

    async fn revoke_all_sessions(
        &self,
        request: Request<pb::RevokeAllSessionsRequest>,
    ) -> Result<Response<pb::RevokeAllSessionsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<RevokeAllSessions>()?;
        let request = request.into_inner();
        let (account, id) = convert::revoke_all(&request).map_err(invalid)?;
        let keep = caller.user().map(|user| user.session).filter(|_| request.keep_current);
        let change = self.change::<RevokeAllSessions, _>(&caller, id, &request, |count, now| {
            revoked_all(*count, now).encode_to_vec()
        });
        let reply = self.app.revoke_all_sessions(&permit, account, keep, &change).await?;
        answer(reply, |count| revoked_all(*count, change.now))
    }
}

/// The session that a sign-in raises, if it is to raise one: the caller's.
pub(super) fn raises(caller: &Caller, wanted: bool) -> Result<Option<SessionId>, Status> {
    if wanted { Ok(Some(caller.signed_in()?.session)) } else { Ok(None) }
}

fn revoked_all(count: usize, now: Timestamp) -> pb::RevokeAllSessionsResponse {
    let revoked_count = i32::try_from(count).unwrap_or(i32::MAX);
    pb::RevokeAllSessionsResponse { revoked_count, revoke_time: Some(timestamp(now)) }
}

/// Where a page ends: the last use and id of its last session.
fn place_bytes(place: &Place) -> Vec<u8> {
    let (last_used, id) = place;
    [last_used.as_micros().to_be_bytes().as_slice(), id.uuid().as_bytes()].concat()
}

fn place(bytes: &[u8]) -> Option<Place> {
    let (last_used, id) = bytes.split_first_chunk()?;
    let id = SessionId::from_uuid(Uuid::from_slice(id).ok()?);
    Some((Timestamp::from_micros(i64::from_be_bytes(*last_used)), id))
}
