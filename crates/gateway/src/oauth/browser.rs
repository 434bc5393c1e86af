//! A person's way from an application's question to its answer: signing in, a second factor, approving; and signing out.
//!
//! Every step ends where `authorize` begins again, by a redirect: reloading a page repeats nothing, and what is asked next is
//! decided in one place.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use portal_mesh::MeshChannel;
use portal_mesh::convert::parse_timestamp;
use portal_mesh::status::{reason, reason_of};
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::create_session_response::Result as Entered;
use portal_proto::auth::v1::decide_authorization_request::Decision;
use portal_proto::auth::v1::decide_authorization_response::Needed;
use portal_proto::auth::v1::factor_proof::Proof;
use portal_proto::auth::v1::o_auth_service_client::OAuthServiceClient;
use portal_proto::auth::v1::session_service_client::SessionServiceClient;
use portal_proto::auth::v1::start_authorization_response::Result as Started;
use portal_proto::auth::v1::token_service_client::TokenServiceClient;
use tonic::body::Body;
use tonic::{Code, Request as Call, Status};

use super::cookie::{self, Handles, Renewal};
use super::page::{self, About, Application, Problem};
use super::{Asked, PublicUrl, form, see_other, wire};
use crate::route::Gateway;

/// How the device of a browser's session is called.
const DEVICE: &str = "Browser";
/// An access token that ends sooner is refreshed before it is used.
const SHORTLY: Duration = Duration::from_secs(30);
const OVER: &str = "It is unknown, answered already, or ten minutes have passed. Go back to the application and start again.";

/// A request of a browser.
pub(super) struct Visit<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) headers: &'a HeaderMap,
    /// What the browser is to keep, whatever becomes of the request.
    pub(super) renewal: &'a Renewal,
}

impl Gateway {
    /// The methods of auth that are called for people.
    pub(super) fn oauth_of_users(&self) -> OAuthServiceClient<MeshChannel> {
        OAuthServiceClient::new(self.upstreams.auth.clone())
    }

    fn sessions(&self) -> SessionServiceClient<MeshChannel> {
        SessionServiceClient::new(self.upstreams.auth.clone())
    }
}

/// Answers a page, or a form of one.
pub(super) async fn serve(
    gateway: &Gateway,
    issuer: &PublicUrl,
    asked: Asked,
    renewal: &Renewal,
) -> Response<Body> {
    let endpoint = asked.endpoint.clone();
    let posted = asked.method == Method::POST;
    let either = matches!(endpoint.as_str(), "authorize" | "device" | "logout");
    let shown = either && asked.method == Method::GET;
    if !posted && !shown {
        let mut response =
            page::message(StatusCode::METHOD_NOT_ALLOWED, "Not like this", "This page is reached by a form.");
        let allow = if either { "GET, POST" } else { "POST" };
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        return response;
    }
    // A request for authorization may come from anywhere; what is decided comes from our own pages.
    if posted && endpoint != "authorize" && !is_own(&asked.headers, issuer) {
        let text =
            "This form did not come from a page of this portal. Go back to the application and start again.";
        return page::message(StatusCode::FORBIDDEN, "Not from here", text);
    }
    let (headers, parameters) = match asked.parameters().await {
        Ok(read) => read,
        Err(problem) => {
            return page::message(StatusCode::BAD_REQUEST, "Not understood", problem.description());
        }
    };
    let visit = &Visit { gateway, headers: &headers, renewal };
    let answered = match endpoint.as_str() {
        "authorize" => visit.authorize(issuer, &parameters).await,
        "sign-in" => visit.sign_in(&parameters).await,
        "second-factor" => visit.second_factor(&parameters).await,
        "consent" => visit.consent(&parameters).await,
        "device" => visit.device(&parameters, posted).await,
        _ => visit.sign_out(&parameters, posted).await,
    };
    let answered = match answered {
        Err(status) if status.code() == Code::Unauthenticated => visit.ask_who(&endpoint, &parameters).await,
        answered => answered,
    };
    answered.unwrap_or_else(|status| failed(&status))
}

/// Whether a form was sent by a page of this origin: browsers say so, and no page can make them say something else.
fn is_own(headers: &HeaderMap, issuer: &PublicUrl) -> bool {
    headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes() == issuer.as_str().as_bytes())
}

fn failed(status: &Status) -> Response<Body> {
    match status.code() {
        Code::NotFound => page::message(StatusCode::BAD_REQUEST, "This request is over", OVER),
        Code::ResourceExhausted => {
            let text = "There are too many requests at the moment. Wait a minute, then try again.";
            page::message(StatusCode::TOO_MANY_REQUESTS, "Too many requests", text)
        }
        Code::Unavailable | Code::DeadlineExceeded => {
            let text = "A part of the portal does not answer. Try again in a moment.";
            page::message(StatusCode::SERVICE_UNAVAILABLE, "Not available", text)
        }
        code => {
            tracing::error!(?code, "auth did not answer a page of OAuth");
            let text = "Something went wrong here. Try again; if it stays so, tell whoever runs this portal.";
            page::message(StatusCode::INTERNAL_SERVER_ERROR, "Not possible", text)
        }
    }
}

/// A request that took too long, told to a person.
pub(super) fn overdue() -> Response<Body> {
    failed(&reason::DEADLINE.status())
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// What a person came for, while they prove who they are.
enum Errand {
    /// A request of an application that waits, by its reference.
    Application(String, pb::Authorization),
    /// A device, by the code that it shows, if the person has typed one.
    Device(String),
}

impl Errand {
    fn about(&self) -> About<'_> {
        match self {
            Self::Application(request_uri, authorization) => {
                About::Application(about(request_uri, authorization))
            }
            Self::Device(code) => About::Device(code),
        }
    }

    /// Where the person goes on.
    fn go_on(&self) -> Response<Body> {
        match self {
            Self::Application(request_uri, authorization) => again(request_uri, &authorization.client_id),
            Self::Device(code) if code.is_empty() => see_other("/oauth2/device"),
            Self::Device(code) => see_other(&format!("/oauth2/device?user_code={}", encoded(code))),
        }
    }
}

/// Where `authorize` goes on with a request that is kept.
fn again(request_uri: &str, client_id: &str) -> Response<Body> {
    let (client_id, request_uri) = (encoded(client_id), encoded(request_uri));
    see_other(&format!("/oauth2/authorize?client_id={client_id}&request_uri={request_uri}"))
}

fn about<'a>(request_uri: &'a str, authorization: &'a pb::Authorization) -> Application<'a> {
    Application {
        request_uri,
        client_id: &authorization.client_id,
        client: &authorization.client_display_name,
        redirect_uri: &authorization.redirect_uri,
    }
}

fn ids(parameters: &form::Parameters) -> (&str, &str) {
    (form::value(parameters, "request_uri"), form::value(parameters, "client_id"))
}

/// Why somebody is asked again, if the answer says so.
pub(super) fn problem(status: &Status) -> Option<Problem<'static>> {
    match (status.code(), reason_of(status).as_deref()) {
        (_, Some("CHALLENGE_REJECTED")) => Some((
            StatusCode::UNAUTHORIZED,
            "That code is wrong or was used before, or five minutes have passed.",
        )),
        (Code::Unauthenticated, _) => Some((
            StatusCode::UNAUTHORIZED,
            "E-mail address or password are wrong, or this account may not sign in at present.",
        )),
        (Code::InvalidArgument, _) => {
            Some((StatusCode::BAD_REQUEST, "Please fill in the fields as they ask."))
        }
        (_, Some("USER_CODE_UNKNOWN")) => Some((
            StatusCode::BAD_REQUEST,
            "No device shows that code. Compare it; if ten minutes have passed, start again at the device.",
        )),
        (Code::ResourceExhausted, _) => Some((
            StatusCode::TOO_MANY_REQUESTS,
            "That was tried too often. Wait a while before you try again.",
        )),
        _ => None,
    }
}

/// Who signs in.
impl Visit<'_> {
    /// A call to auth on behalf of whoever holds `access`, or of nobody.
    pub(super) async fn call<T>(&self, access: Option<&str>, message: T) -> Result<Call<T>, Status> {
        self.gateway.call(self.headers, access, message).await
    }

    /// The access token of who is signed in in this browser, if their session goes on.
    pub(super) async fn signed_in(&self) -> Result<Option<String>, Status> {
        let Handles { access, refresh } = cookie::read(self.headers);
        if let Some(access) = access {
            match self.gateway.tokens.bearer(&access, portal_core::Workload::Auth).await {
                Ok(_) => return Ok(Some(access)),
                Err(status) if status.code() == Code::Unauthenticated => {}
                Err(status) => return Err(status),
            }
        }
        let Some(refresh_token) = refresh else { return Ok(None) };
        let call = self.call(None, pb::RefreshSessionRequest { refresh_token }).await?;
        match self.gateway.sessions().refresh_session(call).await {
            Ok(reply) => {
                let session = reply.into_inner();
                let access = session.access_token.clone();
                let end = session.access_expire_time.and_then(|time| parse_timestamp(time).ok());
                self.renewal.set(Some(session));
                Ok(end.is_some_and(|end| end > self.gateway.tokens.now().plus(SHORTLY)).then_some(access))
            }
            Err(status) if matches!(status.code(), Code::Unauthenticated | Code::InvalidArgument) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// What the session of `access` shows of its person.
    pub(super) async fn person(&self, access: &str) -> Result<pb::UserInfo, Status> {
        let call = self.call(Some(access), pb::GetUserInfoRequest {}).await?;
        Ok(self.gateway.oauth_of_users().get_user_info(call).await?.into_inner())
    }

    async fn errand(&self, parameters: &form::Parameters) -> Result<Errand, Status> {
        if let Some((_, code)) = parameters.iter().find(|(name, _)| name == page::DEVICE) {
            return Ok(Errand::Device(code.clone()));
        }
        let ids = ids(parameters);
        Ok(Errand::Application(ids.0.to_owned(), self.pending(ids).await?))
    }

    /// The page to sign in, for whoever's session ended meanwhile.
    async fn ask_who(&self, endpoint: &str, parameters: &form::Parameters) -> Result<Response<Body>, Status> {
        if endpoint == "device" {
            return Ok(page::sign_in(About::Device(form::value(parameters, "user_code")), None));
        }
        Ok(page::sign_in(self.errand(parameters).await?.about(), None))
    }

    async fn sign_in(&self, parameters: &form::Parameters) -> Result<Response<Body>, Status> {
        let errand = self.errand(parameters).await?;
        let message = pb::CreateSessionRequest {
            email: form::value(parameters, "email").to_owned(),
            password: form::value(parameters, "password").to_owned(),
            remember_me: form::value(parameters, "remember_me") == "yes",
            device_name: DEVICE.to_owned(),
            ..pb::CreateSessionRequest::default()
        };
        let call = self.call(None, message).await?;
        match self.gateway.sessions().create_session(call).await {
            Ok(reply) => match reply.into_inner().result.ok_or_else(|| reason::INTERNAL.status())? {
                Entered::Session(session) => Ok(self.entered(&errand, session)),
                Entered::MfaChallenge(challenge) => {
                    Ok(page::second_factor(errand.about(), &challenge.challenge_token, None))
                }
            },
            Err(status) => match problem(&status) {
                Some(problem) => Ok(page::sign_in(errand.about(), Some(problem))),
                None => Err(status),
            },
        }
    }

    async fn second_factor(&self, parameters: &form::Parameters) -> Result<Response<Body>, Status> {
        let errand = self.errand(parameters).await?;
        let challenge = form::value(parameters, "challenge");
        let code = form::value(parameters, "code").trim().to_owned();
        let is_totp = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
        let proof = if is_totp { Proof::TotpCode(code) } else { Proof::RecoveryCode(code) };
        let message = pb::CompleteMfaRequest {
            challenge_token: challenge.to_owned(),
            proof: Some(pb::FactorProof { proof: Some(proof) }),
            ..pb::CompleteMfaRequest::default()
        };
        let call = self.call(None, message).await?;
        match self.gateway.sessions().complete_mfa(call).await {
            Ok(reply) => Ok(self.entered(&errand, reply.into_inner())),
            Err(status) => match problem(&status) {
                Some(problem) => Ok(page::second_factor(errand.about(), challenge, Some(problem))),
                None => Err(status),
            },
        }
    }

    fn entered(&self, errand: &Errand, session: pb::Session) -> Response<Body> {
        self.renewal.set(Some(session));
        errand.go_on()
    }
}

/// What they allow.
impl Visit<'_> {
    async fn authorize(
        &self,
        issuer: &PublicUrl,
        parameters: &form::Parameters,
    ) -> Result<Response<Body>, Status> {
        let (request_uri, client_id) = ids(parameters);
        // RFC 9126, section 4: a reference stands for the whole request, and its client is named beside it.
        if !request_uri.is_empty() && !client_id.is_empty() {
            return self.go_on((request_uri, client_id)).await;
        }
        let (issuer, parameters) = (issuer.as_str().to_owned(), wire(parameters.clone()));
        let message = pb::StartAuthorizationRequest { issuer, parameters, client: None };
        let call = self.call(None, message).await?;
        let reply = self.gateway.oauth().start_authorization(call).await?.into_inner();
        Ok(match reply.result.ok_or_else(|| reason::INTERNAL.status())? {
            Started::Pending(pending) => again(&pending.request_uri, client_id),
            Started::RedirectUri(uri) => see_other(&uri),
            Started::Error(refusal) => {
                let text = format!(
                    "The application that sent you here made a mistake, and only it can mend it. {}: {}.",
                    refusal.error, refusal.error_description
                );
                page::message(StatusCode::BAD_REQUEST, "This request can't be answered", &text)
            }
        })
    }

    async fn pending(&self, (request_uri, client_id): (&str, &str)) -> Result<pb::Authorization, Status> {
        let (request_uri, client_id) = (request_uri.to_owned(), client_id.to_owned());
        let call = self.call(None, pb::GetAuthorizationRequest { request_uri, client_id }).await?;
        Ok(self.gateway.oauth().get_authorization(call).await?.into_inner())
    }

    /// Whatever is needed next of the person: nothing, their approval, or that they sign in.
    async fn go_on(&self, ids: (&str, &str)) -> Result<Response<Body>, Status> {
        let authorization = self.pending(ids).await?;
        let application = about(ids.0, &authorization);
        let sign_in = || page::sign_in(About::Application(application), None);
        let access = match self.signed_in().await? {
            Some(access) => access,
            None if authorization.silent => {
                let (uri, _) = self.decide((ids.0, Decision::Nobody), None, "").await?;
                return Ok(see_other(&uri));
            }
            None => return Ok(sign_in()),
        };
        let (uri, needed) = self.decide((ids.0, Decision::Remembered), Some(&access), "").await?;
        Ok(match needed {
            Needed::Nothing => see_other(&uri),
            Needed::Approval => {
                let person = self.person(&access).await?;
                page::consent(application, &authorization.scopes, &person)
            }
            Needed::SignIn | Needed::Unspecified => sign_in(),
        })
    }

    async fn decide(
        &self,
        (request_uri, decision): (&str, Decision),
        access: Option<&str>,
        account: &str,
    ) -> Result<(String, Needed), Status> {
        let message = pb::DecideAuthorizationRequest {
            request_uri: request_uri.to_owned(),
            decision: decision.into(),
            account_id: account.to_owned(),
        };
        let call = self.call(access, message).await?;
        let gateway = self.gateway;
        let mut auth = if access.is_some() { gateway.oauth_of_users() } else { gateway.oauth() };
        let reply = auth.decide_authorization(call).await?.into_inner();
        Ok((reply.redirect_uri.clone(), reply.needed()))
    }

    async fn consent(&self, parameters: &form::Parameters) -> Result<Response<Body>, Status> {
        let ids = ids(parameters);
        let Some(decision) = decision(parameters) else { return Ok(undecided()) };
        self.pending(ids).await?;
        // Whom the page named decides; for anybody else it is shown again.
        let account = form::value(parameters, "account_id");
        let Some(access) = self.signed_in().await?.filter(|_| !account.is_empty()) else {
            return Ok(again(ids.0, ids.1));
        };
        let (uri, needed) = match self.decide((ids.0, decision), Some(&access), account).await {
            Err(status) if is_anothers(&status) => return Ok(again(ids.0, ids.1)),
            decided => decided?,
        };
        Ok(if needed == Needed::Nothing { see_other(&uri) } else { again(ids.0, ids.1) })
    }

    /// OpenID Connect RP-Initiated Logout 1.0. Somebody is always asked: any site may have sent them.
    async fn sign_out(&self, parameters: &form::Parameters, decided: bool) -> Result<Response<Body>, Status> {
        let names = ["id_token_hint", "client_id", "post_logout_redirect_uri", "state"];
        let fields = names.map(|name| (name, form::value(parameters, name)));
        let [hint, client_id, uri, state] = fields.map(|(_, value)| value.to_owned());
        let message = pb::ResolveLogoutRequest {
            id_token_hint: hint,
            client_id,
            post_logout_redirect_uri: uri.clone(),
            state,
        };
        let call = self.call(None, message).await?;
        let leads_to = self.gateway.oauth().resolve_logout(call).await?.into_inner().redirect_uri;
        if !uri.is_empty() && leads_to.is_empty() {
            let text = "The application that sent you here made a mistake: it is not registered with the page it names.";
            return Ok(page::message(StatusCode::BAD_REQUEST, "This request can't be answered", text));
        }
        if !decided {
            return Ok(page::sign_out(&fields, &leads_to));
        }
        if let Some(access) = self.signed_in().await? {
            match self.revoke(&access).await {
                // It ended meanwhile, which is what was asked for.
                Err(status) if status.code() == Code::Unauthenticated => {}
                revoked => revoked?,
            }
        }
        let mut response = if leads_to.is_empty() {
            page::message(StatusCode::OK, "You are signed out", "You can close this page.")
        } else {
            see_other(&leads_to)
        };
        self.renewal.set(None);
        cookie::forget(response.headers_mut());
        Ok(response)
    }

    async fn revoke(&self, access: &str) -> Result<(), Status> {
        let message =
            pb::RevokeTokenRequest { token: access.to_owned(), ..pb::RevokeTokenRequest::default() };
        let call = self.call(Some(access), message).await?;
        TokenServiceClient::new(self.gateway.upstreams.auth.clone()).revoke_token(call).await.map(drop)
    }
}

/// Whether somebody else was asked than is signed in now.
pub(super) fn is_anothers(status: &Status) -> bool {
    reason_of(status).as_deref() == Some("NOT_YOUR_DATA")
}

/// What a form says; `None` if neither.
pub(super) fn decision(parameters: &form::Parameters) -> Option<Decision> {
    match form::value(parameters, "decision") {
        "approve" => Some(Decision::Approve),
        "deny" => Some(Decision::Deny),
        _ => None,
    }
}

pub(super) fn undecided() -> Response<Body> {
    let text = "Neither allowed nor refused. Go back, and choose one.";
    page::message(StatusCode::BAD_REQUEST, "Not decided", text)
}
