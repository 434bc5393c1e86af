//! `portal.auth.v1.TokenService`.

use std::sync::Arc;

use futures_util::StreamExt;
use portal_core::Invalid;
use portal_crypto::token::KeyId;
use portal_mesh::Caller;
use portal_mesh::convert::{duration, timestamp};
use portal_mesh::policy::Action;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::revocation::Target as PbTarget;
use portal_proto::auth::v1::token_service_server::TokenService;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, async_trait};

use super::policy::{ExchangeToken, GetKeySet, IntrospectToken, RevokeToken, WatchRevocations};
use super::{Api, answer, convert, invalid};
use crate::app::feed::{INTERVAL, Message};
use crate::app::tokens::{Bearer, TokenKind};
use crate::domain::signing::MAX_AGE;
use crate::domain::{Handle, ProofKey, Target};
use crate::error::Error;

#[async_trait]
impl TokenService for Api {
    async fn get_key_set(
        &self,
        request: Request<pb::GetKeySetRequest>,
    ) -> Result<Response<pb::KeySet>, Status> {
        Caller::of(&request)?.permit::<GetKeySet>()?;
        let keys = self.app.verifying_keys().await?;
        let keys = keys.iter().map(|key| convert::json_web_key(key)).collect();
        Ok(Response::new(pb::KeySet { keys, max_age: Some(duration(MAX_AGE)) }))
    }

    async fn introspect_token(
        &self,
        request: Request<pb::IntrospectTokenRequest>,
    ) -> Result<Response<pb::IntrospectTokenResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<IntrospectToken>()?;
        let live = match Handle::parse(&request.get_ref().token) {
            Some(handle) => self.app.introspect(permit, &handle).await?,
            None => None,
        };
        Ok(Response::new(live.map(|(kind, bearer)| introspection(kind, &bearer)).unwrap_or_default()))
    }

    async fn exchange_token(
        &self,
        request: Request<pb::ExchangeTokenRequest>,
    ) -> Result<Response<pb::ExchangeTokenResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<ExchangeToken>()?;
        let (audience, handle, proven) = convert::exchange(request.get_ref()).map_err(invalid)?;
        let handle = handle.ok_or(Error::TokenInvalid)?;
        let exchanged = self.app.exchange(permit, (&handle, proven), audience).await?;
        let bearer = &exchanged.bearer;
        let (client_id, scopes) = client(bearer);
        let person = |id: String| if bearer.is_person() { id } else { String::new() };
        Ok(Response::new(pb::ExchangeTokenResponse {
            token: exchanged.token,
            expire_time: Some(timestamp(exchanged.expires_at)),
            session_id: bearer.session.to_string(),
            account_id: person(bearer.account.to_string()),
            subject_id: person(bearer.subject.to_string()),
            roles: role_names(bearer),
            scopes,
            client_id,
            // A session at one client is one family.
            token_family_id: bearer.session.to_string(),
            access_expire_time: Some(timestamp(bearer.expires_at)),
            dpop_jkt: bearer.key.map(ProofKey::to_text).unwrap_or_default(),
        }))
    }

    async fn revoke_token(
        &self,
        request: Request<pb::RevokeTokenRequest>,
    ) -> Result<Response<pb::RevokeTokenResponse>, Status> {
        let caller = Caller::of(&request)?;
        let permit = caller.permit::<RevokeToken>()?;
        let mut request = request.into_inner();
        let handle = Handle::parse(&std::mem::take(&mut request.token));
        let mut problems = Invalid::new();
        let id = convert::request_id(&mut problems, &request.request_id);
        let id = problems.finish(id).map_err(invalid)?;
        let change = self.change::<RevokeToken, _>(&caller, id, &request, |(), _| Vec::new());
        let reply = self.app.revoke_token(&permit, handle.as_ref(), &change).await?;
        answer(reply, |()| pb::RevokeTokenResponse {})
    }

    async fn watch_revocations(
        &self,
        request: Request<pb::WatchRevocationsRequest>,
    ) -> Result<Response<BoxStream<pb::Revocation>>, Status> {
        let permit = Caller::of(&request)?.permit::<WatchRevocations>()?;
        let resume = self.open_resume(&request.get_ref().resume_token)?;
        let messages = Arc::clone(&self.app).watch_revocations(permit, resume).await?;
        let api = self.clone();
        let messages = messages.map(move |message| Ok(api.revocation(message?)));
        Ok(Response::new(Box::pin(messages)))
    }
}

impl Api {
    fn open_resume(&self, token: &str) -> Result<Option<i64>, Status> {
        if token.is_empty() {
            return Ok(None);
        }
        let position = self.page_tokens.open(WatchRevocations::METHOD.as_bytes(), token).ok();
        let position = position.and_then(|bytes| Some(i64::from_be_bytes(bytes.try_into().ok()?)));
        let error =
            || invalid(Invalid::field("resume_token", "must be a resume_token of this feed, unchanged"));
        position.map(Some).ok_or_else(error)
    }

    fn revocation(&self, message: Message) -> pb::Revocation {
        let (position, at, target) = match message {
            Message::Heartbeat { position, at, caught_up } => {
                let heartbeat = pb::RevocationHeartbeat { interval: Some(duration(INTERVAL)), caught_up };
                (position, at, PbTarget::Heartbeat(heartbeat))
            }
            Message::Revoked(revocation) => {
                let target = match revocation.target {
                    Target::Account(id) => PbTarget::AccountId(id.to_string()),
                    Target::Session(id) => PbTarget::SessionId(id.to_string()),
                    Target::SigningKey(thumbprint) => {
                        PbTarget::SigningKeyId(KeyId::from_thumbprint(&thumbprint).to_string())
                    }
                };
                (revocation.position, revocation.at, target)
            }
        };
        let scope = WatchRevocations::METHOD.as_bytes();
        pb::Revocation {
            resume_token: self.page_tokens.seal(scope, &position.to_be_bytes()),
            revoke_time: Some(timestamp(at)),
            target: Some(target),
        }
    }
}

fn role_names(bearer: &Bearer) -> Vec<String> {
    bearer.roles.iter().map(|role| role.name().to_owned()).collect()
}

/// The client that holds a token, if one does, and its scopes.
fn client(bearer: &Bearer) -> (String, Vec<String>) {
    match &bearer.client {
        Some((id, scopes)) => (id.to_string(), convert::scope_names(scopes)),
        None => (String::new(), Vec::new()),
    }
}

fn introspection(kind: TokenKind, bearer: &Bearer) -> pb::IntrospectTokenResponse {
    let token_type = match kind {
        TokenKind::Access => pb::TokenType::Access,
        TokenKind::Refresh => pb::TokenType::Refresh,
    };
    let (client_id, scopes) = client(bearer);
    let mut told = pb::IntrospectTokenResponse {
        active: true,
        token_type: token_type.into(),
        session_id: bearer.session.to_string(),
        client_id,
        roles: role_names(bearer),
        scopes,
        issue_time: Some(timestamp(bearer.issued_at)),
        expire_time: Some(timestamp(bearer.expires_at)),
        dpop_jkt: bearer.key.map(ProofKey::to_text).unwrap_or_default(),
        ..pb::IntrospectTokenResponse::default()
    };
    if bearer.is_person() {
        told.account_id = bearer.account.to_string();
        told.subject_id = bearer.subject.to_string();
    }
    if let Some((acr, at)) = bearer.authentication {
        told.auth_time = Some(timestamp(at));
        told.acr = acr.name().to_owned();
    }
    told
}
