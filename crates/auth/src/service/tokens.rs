//! `portal.auth.v1.TokenService`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use portal_core::Invalid;
use portal_mesh::Caller;
use portal_mesh::convert::{duration, timestamp};
use portal_mesh::policy::Action;
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::revocation::Target as PbTarget;
use portal_proto::auth::v1::token_service_server::TokenService;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, async_trait};

use super::policy::{ExchangeToken, GetKeySet, IntrospectToken, WatchRevocations};
use super::{Api, convert, invalid};
use crate::app::feed::{INTERVAL, Message};
use crate::app::tokens::{Live, TokenKind};
use crate::domain::{Handle, Target};
use crate::error::Error;

/// How long a reader may keep the keys.
const KEYS_MAX_AGE: Duration = Duration::from_secs(300);

#[async_trait]
impl TokenService for Api {
    async fn get_key_set(
        &self,
        request: Request<pb::GetKeySetRequest>,
    ) -> Result<Response<pb::KeySet>, Status> {
        Caller::of(&request)?.permit::<GetKeySet>()?;
        let key = self.app.token_key();
        let key = pb::JsonWebKey {
            kid: key.id().as_str().to_owned(),
            kty: "AKP".to_owned(),
            alg: key.verifying_key().algorithm().name().to_owned(),
            r#use: "sig".to_owned(),
            r#pub: key.verifying_key().as_bytes().to_vec(),
            ..pb::JsonWebKey::default()
        };
        Ok(Response::new(pb::KeySet { keys: vec![key], max_age: Some(duration(KEYS_MAX_AGE)) }))
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
        Ok(Response::new(live.map(|(kind, live)| introspection(kind, &live)).unwrap_or_default()))
    }

    async fn exchange_token(
        &self,
        request: Request<pb::ExchangeTokenRequest>,
    ) -> Result<Response<pb::ExchangeTokenResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<ExchangeToken>()?;
        let (audience, handle) = convert::exchange(request.get_ref()).map_err(invalid)?;
        let handle = handle.ok_or(Error::TokenInvalid)?;
        let exchanged = self.app.exchange(permit, &handle, audience).await?;
        let Live { pair, session, account, .. } = &exchanged.live;
        Ok(Response::new(pb::ExchangeTokenResponse {
            token: exchanged.token,
            expire_time: Some(timestamp(exchanged.expires_at)),
            session_id: session.id.to_string(),
            account_id: account.id().to_string(),
            subject_id: account.subject().to_string(),
            roles: convert::role_names(account),
            scopes: Vec::new(),
            client_id: String::new(),
            // A session at one client is one family.
            token_family_id: session.id.to_string(),
            access_expire_time: Some(timestamp(pair.access_expires_at)),
        }))
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

fn introspection(kind: TokenKind, live: &Live) -> pb::IntrospectTokenResponse {
    let (token_type, expires_at) = match kind {
        TokenKind::Access => (pb::TokenType::Access, live.pair.access_expires_at),
        TokenKind::Refresh => (pb::TokenType::Refresh, live.pair.refresh_expires_at),
    };
    pb::IntrospectTokenResponse {
        active: true,
        token_type: token_type.into(),
        account_id: live.account.id().to_string(),
        subject_id: live.account.subject().to_string(),
        session_id: live.session.id.to_string(),
        roles: convert::role_names(&live.account),
        issue_time: Some(timestamp(live.pair.issued_at)),
        expire_time: Some(timestamp(expires_at)),
        auth_time: Some(timestamp(live.authentication.1)),
        acr: live.authentication.0.name().to_owned(),
        ..pb::IntrospectTokenResponse::default()
    }
}
