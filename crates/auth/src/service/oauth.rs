//! `portal.auth.v1.OAuthService`: what the endpoints of the gateway ask.

use portal_core::Invalid;
use portal_core::id::{AccountId, ClientId, Id};
use portal_mesh::Caller;
use portal_mesh::convert::{duration, timestamp};
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::decide_authorization_request::Decision as PbDecision;
use portal_proto::auth::v1::decide_authorization_response::Needed as PbNeeded;
use portal_proto::auth::v1::decide_device_authorization_request::Decision as PbDeviceDecision;
use portal_proto::auth::v1::grant_token_response::Result as Granted;
use portal_proto::auth::v1::introspect_grant_response::Result as Told;
use portal_proto::auth::v1::o_auth_service_server::OAuthService;
use portal_proto::auth::v1::start_authorization_response::Result as StartedResult;
use portal_proto::auth::v1::start_device_authorization_response::Result as DeviceResult;
use tonic::{Request, Response, Status, async_trait};

use super::policy::{
    DecideAuthorization, DecideDeviceAuthorization, FindDeviceAuthorization, GetAuthorization, GetUserInfo,
    GrantToken, IntrospectGrant, ResolveLogout, RevokeGrant, StartAuthorization, StartDeviceAuthorization,
};
use super::{Api, convert, invalid};
use crate::app::oauth::authorize::{Decided, Decision, Said, Started};
use crate::app::oauth::device::SaidOfDevice;
use crate::app::oauth::proof::Proof;
use crate::app::oauth::token::Introspected;
use crate::app::oauth::{Credentials, Offered, Parameters, Refusal};
use crate::domain::grant::Needed;
use crate::domain::{Handle, ProofKey, UserCode};
use crate::error::Error;

/// What stands before the secret of a reference (RFC 9126, section 2.2).
const REQUEST_URI: &str = "urn:ietf:params:oauth:request_uri:";
const TWICE: Refusal = Refusal::InvalidRequest("a parameter is given twice");

fn error(refusal: Refusal) -> pb::OAuthError {
    pb::OAuthError { error: refusal.code().to_owned(), error_description: refusal.description().to_owned() }
}

fn credentials(client: Option<pb::ClientCredentials>) -> Credentials {
    let pb::ClientCredentials { client_id, client_secret } = client.unwrap_or_default();
    let offered = || Handle::parse(&client_secret).map_or(Offered::Malformed, Offered::Handle);
    let secret = (!client_secret.is_empty()).then(offered);
    Credentials { id: ClientId::parse(&client_id).ok(), secret }
}

fn parameters(given: Vec<pb::Parameter>) -> Option<Parameters> {
    Parameters::read(given.into_iter().map(|parameter| (parameter.name, parameter.value)))
}

/// What the gateway found proven.
fn proof(given: Option<pb::DpopProof>) -> Result<Option<Proof>, Invalid> {
    let Some(pb::DpopProof { jkt, nonce }) = given else { return Ok(None) };
    let key = ProofKey::parse(&jkt);
    let key = key.ok_or_else(|| Invalid::field("dpop.jkt", "must be the thumbprint of a key (RFC 7638)"))?;
    Ok(Some(Proof { key, nonce }))
}

/// The secret of a reference; without one there is no request.
fn reference(request_uri: &str) -> Result<Handle, Status> {
    let handle = request_uri.strip_prefix(REQUEST_URI).and_then(Handle::parse);
    handle.ok_or_else(|| Error::AuthorizationNotFound.into())
}

fn issuer(text: String) -> Result<String, Status> {
    if text.is_empty() { Err(invalid(Invalid::field("issuer", "must be given"))) } else { Ok(text) }
}

/// Whom a page named, if one did.
fn asked(problems: &mut Invalid, account_id: &str) -> Option<Option<AccountId>> {
    match account_id {
        "" => Some(None),
        id => problems.check("account_id", AccountId::parse(id)).map(Some),
    }
}

fn said(request: &pb::DecideAuthorizationRequest) -> Result<Said, Status> {
    let mut problems = Invalid::new();
    let decision = match request.decision() {
        PbDecision::Approve => Some(Decision::Approve),
        PbDecision::Deny => Some(Decision::Deny),
        PbDecision::Nobody => Some(Decision::Nobody),
        PbDecision::Remembered => Some(Decision::Remembered),
        PbDecision::Unspecified => {
            problems.add("decision", "must be given");
            None
        }
    };
    let asked = asked(&mut problems, &request.account_id);
    let (decision, asked) = problems.finish(decision.zip(asked)).map_err(invalid)?;
    Ok(Said { decision, asked })
}

fn said_of_device(request: &pb::DecideDeviceAuthorizationRequest) -> Result<SaidOfDevice, Status> {
    let mut problems = Invalid::new();
    let approved = match request.decision() {
        PbDeviceDecision::Approve => Some(true),
        PbDeviceDecision::Deny => Some(false),
        PbDeviceDecision::Unspecified => {
            problems.add("decision", "must be given");
            None
        }
    };
    let asked = asked(&mut problems, &request.account_id);
    let (approved, asked) = problems.finish(approved.zip(asked)).map_err(invalid)?;
    Ok(SaidOfDevice { code: UserCode::parse(&request.user_code), approved, asked })
}

fn introspection(found: Introspected) -> pb::GrantIntrospection {
    match found {
        Introspected::Itself(token, key) => pb::GrantIntrospection {
            active: true,
            scopes: convert::scope_names(&token.scopes),
            client_id: token.client.to_string(),
            sub: token.client.to_string(),
            expire_time: Some(timestamp(token.expires_at)),
            issue_time: Some(timestamp(token.issued_at)),
            refresh: false,
            dpop_jkt: key.map(ProofKey::to_text).unwrap_or_default(),
        },
        Introspected::Person(found, refresh) => {
            let pair = found.tokens.pair();
            let end = if refresh { pair.refresh_expires_at } else { pair.access_expires_at };
            pb::GrantIntrospection {
                active: true,
                scopes: convert::scope_names(&found.grant.scopes),
                client_id: found.grant.client.to_string(),
                sub: found.account.account().id().to_string(),
                expire_time: Some(timestamp(end)),
                issue_time: Some(timestamp(pair.issued_at)),
                refresh,
                dpop_jkt: found.key.map(ProofKey::to_text).unwrap_or_default(),
            }
        }
    }
}

#[async_trait]
impl OAuthService for Api {
    async fn start_authorization(
        &self,
        request: Request<pb::StartAuthorizationRequest>,
    ) -> Result<Response<pb::StartAuthorizationResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<StartAuthorization>()?;
        let request = request.into_inner();
        let issuer = issuer(request.issuer)?;
        let started = match parameters(request.parameters) {
            None => Started::Refused(TWICE),
            Some(parameters) => {
                let pushed_by = request.client.map(|client| credentials(Some(client)));
                let asked = (issuer, &parameters);
                self.app.start_authorization(&permit, asked, pushed_by.as_ref()).await?
            }
        };
        let result = match started {
            Started::Pending(reference, end) => StartedResult::Pending(pb::PendingAuthorization {
                request_uri: format!("{REQUEST_URI}{}", reference.to_text()),
                expire_time: Some(timestamp(end)),
            }),
            Started::Redirect(uri) => StartedResult::RedirectUri(uri),
            Started::Refused(refusal) => StartedResult::Error(error(refusal)),
        };
        Ok(Response::new(pb::StartAuthorizationResponse { result: Some(result) }))
    }

    async fn get_authorization(
        &self,
        request: Request<pb::GetAuthorizationRequest>,
    ) -> Result<Response<pb::Authorization>, Status> {
        let permit = Caller::of(&request)?.permit::<GetAuthorization>()?;
        let request = request.into_inner();
        let reference = reference(&request.request_uri)?;
        let client = match request.client_id.as_str() {
            "" => None,
            id => Some(ClientId::parse(id).map_err(|_| Status::from(Error::AuthorizationNotFound))?),
        };
        let pending = self.app.authorization(&permit, &reference, client).await?;
        Ok(Response::new(pb::Authorization {
            client_id: pending.client.id.to_string(),
            client_display_name: pending.client.settings.display_name,
            scopes: convert::scope_names(&pending.request.scopes),
            redirect_uri: pending.request.redirect_uri,
            sign_in_anew: pending.request.prompt.anew,
            silent: pending.request.prompt.silent,
        }))
    }

    async fn decide_authorization(
        &self,
        request: Request<pb::DecideAuthorizationRequest>,
    ) -> Result<Response<pb::DecideAuthorizationResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<DecideAuthorization>()?;
        let request = request.get_ref();
        let reference = reference(&request.request_uri)?;
        let decided = self.app.decide_authorization(&permit, &reference, said(request)?).await?;
        let (redirect_uri, needed) = match decided {
            Decided::Redirect(uri) => (uri, PbNeeded::Nothing),
            Decided::Needs(Needed::Approval) => (String::new(), PbNeeded::Approval),
            Decided::Needs(Needed::Nothing) => (String::new(), PbNeeded::Nothing),
            Decided::Needs(Needed::SignIn) => (String::new(), PbNeeded::SignIn),
        };
        Ok(Response::new(pb::DecideAuthorizationResponse { redirect_uri, needed: needed.into() }))
    }

    async fn start_device_authorization(
        &self,
        request: Request<pb::StartDeviceAuthorizationRequest>,
    ) -> Result<Response<pb::StartDeviceAuthorizationResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<StartDeviceAuthorization>()?;
        let request = request.into_inner();
        let (client, issuer) = (credentials(request.client), issuer(request.issuer)?);
        let started = match parameters(request.parameters) {
            None => Err(TWICE),
            Some(parameters) => self.app.start_device(&permit, &client, (issuer, &parameters)).await?,
        };
        let result = match started {
            Ok(started) => DeviceResult::Pending(pb::PendingDevice {
                device_code: started.device_code.to_text(),
                user_code: started.user_code.to_text(),
                expires_in: Some(duration(started.life)),
                interval: Some(duration(started.interval)),
            }),
            Err(refusal) => DeviceResult::Error(error(refusal)),
        };
        Ok(Response::new(pb::StartDeviceAuthorizationResponse { result: Some(result) }))
    }

    async fn find_device_authorization(
        &self,
        request: Request<pb::FindDeviceAuthorizationRequest>,
    ) -> Result<Response<pb::DeviceAuthorization>, Status> {
        let permit = Caller::of(&request)?.permit::<FindDeviceAuthorization>()?;
        let code = UserCode::parse(&request.get_ref().user_code);
        let found = self.app.find_device(&permit, code.as_ref()).await?;
        Ok(Response::new(pb::DeviceAuthorization {
            client_id: found.client.id.to_string(),
            client_display_name: found.client.settings.display_name,
            scopes: convert::scope_names(&found.scopes),
            user_code: code.map(|code| code.to_text()).unwrap_or_default(),
        }))
    }

    async fn decide_device_authorization(
        &self,
        request: Request<pb::DecideDeviceAuthorizationRequest>,
    ) -> Result<Response<pb::DecideDeviceAuthorizationResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<DecideDeviceAuthorization>()?;
        self.app.decide_device(&permit, &said_of_device(request.get_ref())?).await?;
        Ok(Response::new(pb::DecideDeviceAuthorizationResponse {}))
    }

    async fn grant_token(
        &self,
        request: Request<pb::GrantTokenRequest>,
    ) -> Result<Response<pb::GrantTokenResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<GrantToken>()?;
        let request = request.into_inner();
        let proof = proof(request.dpop).map_err(invalid)?;
        let nonce = proof.is_some().then(|| self.app.proof_nonce());
        let granted = match parameters(request.parameters) {
            None => Err(TWICE),
            Some(parameters) => {
                let asked = (&parameters, proof.as_ref());
                self.app.grant_token(&permit, &credentials(request.client), asked).await?
            }
        };
        let result = match granted {
            Ok(tokens) => Granted::Tokens(pb::TokenSet {
                access_token: tokens.access.to_text(),
                expires_in: Some(duration(tokens.expires_in)),
                refresh_token: tokens.refresh.map(|refresh| refresh.to_text()).unwrap_or_default(),
                scopes: convert::scope_names(&tokens.scopes),
                id_token: tokens.id_token.map(|token| token.expose().clone()).unwrap_or_default(),
                dpop_jkt: tokens.key.map(ProofKey::to_text).unwrap_or_default(),
            }),
            Err(refusal) => Granted::Error(error(refusal)),
        };
        Ok(Response::new(pb::GrantTokenResponse {
            result: Some(result),
            dpop_nonce: nonce.unwrap_or_default(),
        }))
    }

    async fn introspect_grant(
        &self,
        request: Request<pb::IntrospectGrantRequest>,
    ) -> Result<Response<pb::IntrospectGrantResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<IntrospectGrant>()?;
        let request = request.into_inner();
        let (client, token) = (credentials(request.client), Handle::parse(&request.token));
        let told = match self.app.introspect_grant(&permit, &client, token.as_ref()).await? {
            Ok(found) => Told::Introspection(found.map(introspection).unwrap_or_default()),
            Err(refusal) => Told::Error(error(refusal)),
        };
        Ok(Response::new(pb::IntrospectGrantResponse { result: Some(told) }))
    }

    async fn revoke_grant(
        &self,
        request: Request<pb::RevokeGrantRequest>,
    ) -> Result<Response<pb::RevokeGrantResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<RevokeGrant>()?;
        let request = request.into_inner();
        let (client, token) = (credentials(request.client), Handle::parse(&request.token));
        let revoked = self.app.revoke_grant(&permit, &client, token.as_ref()).await?;
        Ok(Response::new(pb::RevokeGrantResponse { error: revoked.err().map(error) }))
    }

    async fn resolve_logout(
        &self,
        request: Request<pb::ResolveLogoutRequest>,
    ) -> Result<Response<pb::ResolveLogoutResponse>, Status> {
        let permit = Caller::of(&request)?.permit::<ResolveLogout>()?;
        let request = request.into_inner();
        let pairs = [
            ("id_token_hint", request.id_token_hint),
            ("client_id", request.client_id),
            ("post_logout_redirect_uri", request.post_logout_redirect_uri),
            ("state", request.state),
        ];
        let parameters = Parameters::read(pairs.map(|(name, value)| (name.to_owned(), value)));
        let uri = match &parameters {
            Some(parameters) => self.app.resolve_logout(&permit, parameters).await?,
            None => None,
        };
        Ok(Response::new(pb::ResolveLogoutResponse { redirect_uri: uri.unwrap_or_default() }))
    }

    async fn get_user_info(
        &self,
        request: Request<pb::GetUserInfoRequest>,
    ) -> Result<Response<pb::UserInfo>, Status> {
        let permit = Caller::of(&request)?.permit::<GetUserInfo>()?;
        let info = self.app.user_info(&permit).await?;
        let profile = info.profile.as_ref();
        let name = profile.filter(|_| info.name).map(|profile| profile.display_name.expose().to_owned());
        let email = profile.filter(|_| info.email).map(|profile| profile.email.expose().to_owned());
        Ok(Response::new(pb::UserInfo {
            sub: info.account.id().to_string(),
            subject_id: info.account.subject().to_string(),
            name: name.unwrap_or_default(),
            email: email.unwrap_or_default(),
            email_verified: info.email && info.email_verified,
        }))
    }
}
