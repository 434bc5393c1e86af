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
use tonic::{Code, Status};

use super::cookie::{self, Handles};
use super::page::{self, About};
use super::{Asked, PublicUrl, form, see_other, wire};
use crate::route::Gateway;

/// How the device of a browser's session is called.
const DEVICE: &str = "Browser";
/// An access token that ends sooner is refreshed before it is used.
const SHORTLY: Duration = Duration::from_secs(30);
const OVER: &str = "It is unknown, answered already, or ten minutes have passed. Go back to the application and start again.";

/// A browser whose person is signed in.
struct SignedIn {
    access: String,
    /// Its new handles, if they changed.
    renewed: Option<pb::Session>,
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
pub(super) async fn serve(gateway: &Gateway, issuer: &PublicUrl, asked: Asked) -> Response<Body> {
    let endpoint = asked.endpoint.clone();
    let posted = asked.method == Method::POST;
    let either = matches!(endpoint.as_str(), "authorize" | "logout");
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
    let answered = match endpoint.as_str() {
        "authorize" => authorize(gateway, issuer, &headers, parameters).await,
        "sign-in" => sign_in(gateway, &headers, &parameters).await,
        "second-factor" => second_factor(gateway, &headers, &parameters).await,
        "consent" => consent(gateway, &headers, &parameters).await,
        _ => sign_out(gateway, &headers, &parameters, posted).await,
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

/// Where `authorize` goes on with a request that is kept.
fn again(request_uri: &str, client_id: &str) -> Response<Body> {
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    see_other(&format!(
        "/oauth2/authorize?client_id={}&request_uri={}",
        encode(client_id),
        encode(request_uri)
    ))
}

async fn authorize(
    gateway: &Gateway,
    issuer: &PublicUrl,
    headers: &HeaderMap,
    parameters: form::Parameters,
) -> Result<Response<Body>, Status> {
    let (request_uri, client_id) =
        (form::value(&parameters, "request_uri"), form::value(&parameters, "client_id"));
    // RFC 9126, section 4: a reference stands for the whole request, and its client is named beside it.
    if !request_uri.is_empty() && !client_id.is_empty() {
        return go_on(gateway, headers, (request_uri, client_id)).await;
    }
    let client_id = client_id.to_owned();
    let issuer = issuer.as_str().to_owned();
    let message = pb::StartAuthorizationRequest { issuer, parameters: wire(parameters), client: None };
    let call = gateway.call(headers, None, message).await?;
    let reply = gateway.oauth().start_authorization(call).await?.into_inner();
    Ok(match reply.result.ok_or_else(|| reason::INTERNAL.status())? {
        Started::Pending(pending) => again(&pending.request_uri, &client_id),
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

async fn pending(
    gateway: &Gateway,
    headers: &HeaderMap,
    (request_uri, client_id): (&str, &str),
) -> Result<pb::Authorization, Status> {
    let (request_uri, client_id) = (request_uri.to_owned(), client_id.to_owned());
    let message = pb::GetAuthorizationRequest { request_uri, client_id };
    let call = gateway.call(headers, None, message).await?;
    Ok(gateway.oauth().get_authorization(call).await?.into_inner())
}

/// Whatever is needed next of the person: nothing, their approval, or that they sign in.
async fn go_on(gateway: &Gateway, headers: &HeaderMap, ids: (&str, &str)) -> Result<Response<Body>, Status> {
    let authorization = pending(gateway, headers, ids).await?;
    let about = about(ids.0, &authorization);
    let signed_in = match signed_in(gateway, headers).await? {
        Some(signed_in) => signed_in,
        None if authorization.silent => {
            let (uri, _) = decide(gateway, headers, (ids.0, Decision::Nobody), None).await?;
            return Ok(see_other(&uri));
        }
        None => return Ok(page::sign_in(about, None)),
    };
    let access = Some(signed_in.access.as_str());
    let (uri, needed) = decide(gateway, headers, (ids.0, Decision::Remembered), access).await?;
    let mut response = match needed {
        Needed::Nothing => see_other(&uri),
        Needed::Approval => {
            let email = email(gateway, headers, &signed_in.access).await?;
            page::consent(about, &authorization.scopes, &email)
        }
        Needed::SignIn | Needed::Unspecified => page::sign_in(about, None),
    };
    if let Some(session) = &signed_in.renewed {
        cookie::keep(session, gateway.tokens.now(), response.headers_mut());
    }
    Ok(response)
}

fn about<'a>(request_uri: &'a str, authorization: &'a pb::Authorization) -> About<'a> {
    About {
        request_uri,
        client_id: &authorization.client_id,
        client: &authorization.client_display_name,
        redirect_uri: &authorization.redirect_uri,
    }
}

async fn decide(
    gateway: &Gateway,
    headers: &HeaderMap,
    (request_uri, decision): (&str, Decision),
    access: Option<&str>,
) -> Result<(String, Needed), Status> {
    let request_uri = request_uri.to_owned();
    let message = pb::DecideAuthorizationRequest { request_uri, decision: decision.into() };
    let call = gateway.call(headers, access, message).await?;
    let mut auth = if access.is_some() { gateway.oauth_of_users() } else { gateway.oauth() };
    let reply = auth.decide_authorization(call).await?.into_inner();
    Ok((reply.redirect_uri.clone(), reply.needed()))
}

/// Who is signed in in this browser, if their session goes on.
async fn signed_in(gateway: &Gateway, headers: &HeaderMap) -> Result<Option<SignedIn>, Status> {
    let Handles { access, refresh } = cookie::read(headers);
    if let Some(access) = access
        && gateway.tokens.bearer(&access, portal_core::Workload::Auth).await.is_ok()
    {
        return Ok(Some(SignedIn { access, renewed: None }));
    }
    let Some(refresh_token) = refresh else { return Ok(None) };
    let call = gateway.call(headers, None, pb::RefreshSessionRequest { refresh_token }).await?;
    match gateway.sessions().refresh_session(call).await {
        Ok(reply) => {
            let session = reply.into_inner();
            let end = session.access_expire_time.and_then(|time| parse_timestamp(time).ok());
            let lasts = end.is_some_and(|end| end > gateway.tokens.now().plus(SHORTLY));
            Ok(lasts.then(|| SignedIn { access: session.access_token.clone(), renewed: Some(session) }))
        }
        Err(status) if matches!(status.code(), Code::Unauthenticated | Code::InvalidArgument) => Ok(None),
        Err(status) => Err(status),
    }
}

async fn email(gateway: &Gateway, headers: &HeaderMap, access: &str) -> Result<String, Status> {
    let call = gateway.call(headers, Some(access), pb::GetUserInfoRequest {}).await?;
    Ok(gateway.oauth_of_users().get_user_info(call).await?.into_inner().email)
}

/// Why somebody is asked again, if the answer says so.
fn problem(status: &Status) -> Option<(StatusCode, &'static str)> {
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
        (Code::ResourceExhausted, _) => Some((
            StatusCode::TOO_MANY_REQUESTS,
            "That was tried too often. Wait a while before you try again.",
        )),
        _ => None,
    }
}

fn ids(parameters: &form::Parameters) -> (&str, &str) {
    (form::value(parameters, "request_uri"), form::value(parameters, "client_id"))
}

fn entered(gateway: &Gateway, ids: (&str, &str), session: &pb::Session) -> Response<Body> {
    let mut response = again(ids.0, ids.1);
    cookie::keep(session, gateway.tokens.now(), response.headers_mut());
    response
}

async fn sign_in(
    gateway: &Gateway,
    headers: &HeaderMap,
    parameters: &form::Parameters,
) -> Result<Response<Body>, Status> {
    let ids = ids(parameters);
    let authorization = pending(gateway, headers, ids).await?;
    let about = about(ids.0, &authorization);
    let message = pb::CreateSessionRequest {
        email: form::value(parameters, "email").to_owned(),
        password: form::value(parameters, "password").to_owned(),
        remember_me: form::value(parameters, "remember_me") == "yes",
        device_name: DEVICE.to_owned(),
        ..pb::CreateSessionRequest::default()
    };
    let call = gateway.call(headers, None, message).await?;
    match gateway.sessions().create_session(call).await {
        Ok(reply) => match reply.into_inner().result.ok_or_else(|| reason::INTERNAL.status())? {
            Entered::Session(session) => Ok(entered(gateway, ids, &session)),
            Entered::MfaChallenge(challenge) => {
                Ok(page::second_factor(about, &challenge.challenge_token, None))
            }
        },
        Err(status) => match problem(&status) {
            Some(problem) => Ok(page::sign_in(about, Some(problem))),
            None => Err(status),
        },
    }
}

async fn second_factor(
    gateway: &Gateway,
    headers: &HeaderMap,
    parameters: &form::Parameters,
) -> Result<Response<Body>, Status> {
    let ids = ids(parameters);
    let authorization = pending(gateway, headers, ids).await?;
    let about = about(ids.0, &authorization);
    let challenge = form::value(parameters, "challenge");
    let code = form::value(parameters, "code").trim();
    let is_totp = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    let proof = if is_totp { Proof::TotpCode(code.to_owned()) } else { Proof::RecoveryCode(code.to_owned()) };
    let message = pb::CompleteMfaRequest {
        challenge_token: challenge.to_owned(),
        proof: Some(pb::FactorProof { proof: Some(proof) }),
        ..pb::CompleteMfaRequest::default()
    };
    let call = gateway.call(headers, None, message).await?;
    match gateway.sessions().complete_mfa(call).await {
        Ok(reply) => Ok(entered(gateway, ids, &reply.into_inner())),
        Err(status) => match problem(&status) {
            Some(problem) => Ok(page::second_factor(about, challenge, Some(problem))),
            None => Err(status),
        },
    }
}

async fn consent(
    gateway: &Gateway,
    headers: &HeaderMap,
    parameters: &form::Parameters,
) -> Result<Response<Body>, Status> {
    let ids = ids(parameters);
    let decision = match form::value(parameters, "decision") {
        "approve" => Decision::Approve,
        "deny" => Decision::Deny,
        _ => {
            let text = "Neither allowed nor refused. Go back, and choose one.";
            return Ok(page::message(StatusCode::BAD_REQUEST, "Not decided", text));
        }
    };
    pending(gateway, headers, ids).await?;
    let Some(signed_in) = signed_in(gateway, headers).await? else { return Ok(again(ids.0, ids.1)) };
    let (uri, needed) = decide(gateway, headers, (ids.0, decision), Some(&signed_in.access)).await?;
    let mut response = if needed == Needed::Nothing { see_other(&uri) } else { again(ids.0, ids.1) };
    if let Some(session) = &signed_in.renewed {
        cookie::keep(session, gateway.tokens.now(), response.headers_mut());
    }
    Ok(response)
}

/// OpenID Connect RP-Initiated Logout 1.0. Somebody is always asked: any site may have sent them.
async fn sign_out(
    gateway: &Gateway,
    headers: &HeaderMap,
    parameters: &form::Parameters,
    decided: bool,
) -> Result<Response<Body>, Status> {
    let names = ["id_token_hint", "client_id", "post_logout_redirect_uri", "state"];
    let fields = names.map(|name| (name, form::value(parameters, name)));
    let [hint, client_id, uri, state] = fields.map(|(_, value)| value.to_owned());
    let message = pb::ResolveLogoutRequest {
        id_token_hint: hint,
        client_id,
        post_logout_redirect_uri: uri.clone(),
        state,
    };
    let call = gateway.call(headers, None, message).await?;
    let leads_to = gateway.oauth().resolve_logout(call).await?.into_inner().redirect_uri;
    if !uri.is_empty() && leads_to.is_empty() {
        let text =
            "The application that sent you here made a mistake: it is not registered with the page it names.";
        return Ok(page::message(StatusCode::BAD_REQUEST, "This request can't be answered", text));
    }
    if !decided {
        return Ok(page::sign_out(&fields, &leads_to));
    }
    if let Some(signed_in) = signed_in(gateway, headers).await? {
        let token = signed_in.access.clone();
        let message = pb::RevokeTokenRequest { token, ..pb::RevokeTokenRequest::default() };
        let call = gateway.call(headers, Some(&signed_in.access), message).await?;
        TokenServiceClient::new(gateway.upstreams.auth.clone()).revoke_token(call).await?;
    }
    let mut response = if leads_to.is_empty() {
        page::message(StatusCode::OK, "You are signed out", "You can close this page.")
    } else {
        see_other(&leads_to)
    };
    cookie::forget(response.headers_mut());
    Ok(response)
}
