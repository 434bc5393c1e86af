//! The endpoints that applications call: token, introspection, revocation, pushed requests, devices, UserInfo.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use portal_core::{Timestamp, Workload};
use portal_mesh::convert::parse_timestamp;
use portal_mesh::status::{Reason, reason};
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::grant_token_response::Result as Granted;
use portal_proto::auth::v1::introspect_grant_response::Result as Told;
use portal_proto::auth::v1::start_authorization_response::Result as Started;
use portal_proto::auth::v1::start_device_authorization_response::Result as Device;
use serde_json::{Map, Value, json};
use tonic::body::Body;
use tonic::{Code, Status};

use super::{Asked, PREFIX, PublicUrl, form, wire};
use crate::proof::{self, Asker, Proof, Refused, Rejected};
use crate::route::Gateway;
use crate::tokens::Credential;

/// How long a pushed request is said to live if its end is not told.
const REQUEST_LIFE: u64 = 600;

fn respond(status: StatusCode, document: &Value) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::from(document.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// RFC 6749, section 5.2.
fn error(status: StatusCode, code: &str, description: &str) -> Response<Body> {
    respond(status, &json!({ "error": code, "error_description": description }))
}

/// A client that used HTTP authentication is told which kind there is; for others `invalid_client` is an error as any other
/// (RFC 6749, section 5.2).
fn refused(headers: &HeaderMap, refusal: &pb::OAuthError) -> Response<Body> {
    if refusal.error == "invalid_client" && headers.contains_key(header::AUTHORIZATION) {
        return not_authenticated(refusal);
    }
    error(StatusCode::BAD_REQUEST, &refusal.error, &refusal.error_description)
}

/// Whoever asks has not proven who they are. At introspection that is said in this way however they tried (RFC 7662, section
/// 2.3).
fn not_authenticated(refusal: &pb::OAuthError) -> Response<Body> {
    let mut response = error(StatusCode::UNAUTHORIZED, &refusal.error, &refusal.error_description);
    let basic = HeaderValue::from_static("Basic realm=\"portal\", charset=\"UTF-8\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
    response
}

fn unusable(unusable: form::Unusable) -> Response<Body> {
    let status = match unusable {
        form::Unusable::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        form::Unusable::Malformed => StatusCode::BAD_REQUEST,
        form::Unusable::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
    };
    error(status, "invalid_request", unusable.description())
}

/// Auth did not answer as the protocol wants.
fn failed(status: &Status) -> Response<Body> {
    match status.code() {
        Code::ResourceExhausted => error(
            StatusCode::TOO_MANY_REQUESTS,
            "temporarily_unavailable",
            "too many requests; try again shortly",
        ),
        Code::InvalidArgument => {
            error(StatusCode::BAD_REQUEST, "invalid_request", "the request is malformed")
        }
        Code::Unavailable | Code::DeadlineExceeded => {
            error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", "try again shortly")
        }
        code => {
            tracing::error!(?code, "auth did not answer an endpoint of OAuth");
            error(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "something went wrong here")
        }
    }
}

/// The endpoints can't know where they are.
pub(super) fn not_configured() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "not_configured", "there is no OAuth here: edge.public_url is not set")
}

/// There is no such endpoint.
pub(super) fn unknown() -> Response<Body> {
    error(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is no such endpoint; see /.well-known/openid-configuration",
    )
}

/// It took too long.
pub(super) fn overdue() -> Response<Body> {
    failed(&reason::DEADLINE.status())
}

/// Answers an endpoint that takes a form of a client.
pub(super) async fn serve(gateway: &Gateway, issuer: &PublicUrl, asked: Asked) -> Response<Body> {
    if asked.method != Method::POST {
        let mut response =
            error(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "this endpoint takes POST");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let endpoint = asked.endpoint.clone();
    let (headers, mut parameters) = match asked.parameters().await {
        Ok(read) => read,
        Err(problem) => return unusable(problem),
    };
    let Some(client) = form::credentials(&headers, &mut parameters) else {
        let description = "a client says who it is once: by HTTP Basic, or by parameters";
        let (error, error_description) = ("invalid_client".to_owned(), description.to_owned());
        let refusal = pb::OAuthError { error, error_description };
        return if endpoint == "introspect" {
            not_authenticated(&refusal)
        } else {
            refused(&headers, &refusal)
        };
    };
    let answered = match endpoint.as_str() {
        "token" => token(gateway, &headers, client, parameters).await,
        "introspect" => introspect(gateway, &headers, client, &parameters).await,
        "revoke" => revoke(gateway, &headers, client, &parameters).await,
        "device_authorization" => device(gateway, issuer, &headers, (client, parameters)).await,
        _ => push(gateway, issuer, &headers, (client, parameters)).await,
    };
    answered.unwrap_or_else(|status| failed(&status))
}

async fn token(
    gateway: &Gateway,
    headers: &HeaderMap,
    client: pb::ClientCredentials,
    parameters: form::Parameters,
) -> Result<Response<Body>, Status> {
    let proof = match proven(gateway, "token", headers) {
        Ok(proof) => proof,
        Err(rejected) => return Ok(unproven(rejected)),
    };
    // Before anything is spent for it, which can't be undone.
    let place = match proof.as_ref().map(|proof| gateway.accept(proof)).transpose() {
        Ok(place) => place,
        Err(Refused::Used) => return Ok(unproven(Rejected::Replayed)),
        Err(Refused::Crowded) => return Err(reason::TOKEN_UNVERIFIABLE.status()),
    };
    let dpop = proof.as_ref().map(|it| pb::DpopProof { jkt: it.key.clone(), nonce: it.nonce.clone() });
    let message = pb::GrantTokenRequest { client: Some(client), parameters: wire(parameters), dpop };
    let call = gateway.call(headers, None, message).await?;
    let reply = gateway.oauth().grant_token(call).await?.into_inner();
    let nonce = HeaderValue::try_from(reply.dpop_nonce).ok().filter(|nonce| !nonce.is_empty());
    let mut response = match reply.result.ok_or_else(|| reason::INTERNAL.status())? {
        Granted::Error(refusal) => refused(headers, &refusal),
        Granted::Tokens(tokens) => {
            if let Some(place) = place {
                place.keep();
            }
            given(tokens)
        }
    };
    response.headers_mut().extend(nonce.map(|nonce| (proof::NONCE, nonce)));
    Ok(response)
}

/// The proof of a request to an endpoint, if it has one.
fn proven(gateway: &Gateway, endpoint: &str, headers: &HeaderMap) -> Result<Option<Proof>, Rejected> {
    if !headers.contains_key(proof::DPOP) {
        return Ok(None);
    }
    let path = format!("{PREFIX}{endpoint}");
    let proof = gateway.proof(Asker { method: &Method::POST, path: &path, headers })?;
    if gateway.proofs.know(&proof) { Err(Rejected::Replayed) } else { Ok(Some(proof)) }
}

/// RFC 9449, section 5.
fn unproven(rejected: Rejected) -> Response<Body> {
    error(StatusCode::BAD_REQUEST, "invalid_dpop_proof", &rejected.to_string())
}

/// RFC 6749, section 5.1.
fn given(tokens: pb::TokenSet) -> Response<Body> {
    let token_type = if tokens.dpop_jkt.is_empty() { "Bearer" } else { "DPoP" };
    let mut document = Map::new();
    let mut tell = |name: &str, value: Value| document.insert(name.to_owned(), value);
    tell("access_token", tokens.access_token.into());
    tell("token_type", token_type.into());
    tell("expires_in", tokens.expires_in.unwrap_or_default().seconds.into());
    tell("scope", tokens.scopes.join(" ").into());
    for (name, value) in [("refresh_token", tokens.refresh_token), ("id_token", tokens.id_token)] {
        if !value.is_empty() {
            tell(name, value.into());
        }
    }
    respond(StatusCode::OK, &Value::Object(document))
}

async fn introspect(
    gateway: &Gateway,
    headers: &HeaderMap,
    client: pb::ClientCredentials,
    parameters: &form::Parameters,
) -> Result<Response<Body>, Status> {
    let token = form::value(parameters, "token").to_owned();
    let message = pb::IntrospectGrantRequest { client: Some(client), token };
    let call = gateway.call(headers, None, message).await?;
    let reply = gateway.oauth().introspect_grant(call).await?.into_inner();
    let found = match reply.result.ok_or_else(|| reason::INTERNAL.status())? {
        Told::Error(refusal) if refusal.error == "invalid_client" => return Ok(not_authenticated(&refusal)),
        Told::Error(refusal) => return Ok(refused(headers, &refusal)),
        Told::Introspection(found) => found,
    };
    if !found.active {
        return Ok(respond(StatusCode::OK, &json!({ "active": false })));
    }
    let seconds = |time: Option<prost_types::Timestamp>| time.map(|time| time.seconds);
    let mut document = json!({
        "active": true,
        "scope": found.scopes.join(" "),
        "client_id": found.client_id,
        "sub": found.sub,
        "exp": seconds(found.expire_time),
        "iat": seconds(found.issue_time),
    });
    if let (false, Some(members)) = (found.refresh, document.as_object_mut()) {
        let token_type = if found.dpop_jkt.is_empty() { "Bearer" } else { "DPoP" };
        members.insert("token_type".to_owned(), token_type.into());
        if !found.dpop_jkt.is_empty() {
            members.insert("cnf".to_owned(), json!({ "jkt": found.dpop_jkt }));
        }
    }
    Ok(respond(StatusCode::OK, &document))
}

async fn revoke(
    gateway: &Gateway,
    headers: &HeaderMap,
    client: pb::ClientCredentials,
    parameters: &form::Parameters,
) -> Result<Response<Body>, Status> {
    let token = form::value(parameters, "token").to_owned();
    let message = pb::RevokeGrantRequest { client: Some(client), token };
    let call = gateway.call(headers, None, message).await?;
    let reply = gateway.oauth().revoke_grant(call).await?.into_inner();
    Ok(match reply.error {
        Some(refusal) => refused(headers, &refusal),
        None => Response::new(Body::empty()),
    })
}

async fn push(
    gateway: &Gateway,
    issuer: &PublicUrl,
    headers: &HeaderMap,
    (client, mut parameters): (pb::ClientCredentials, form::Parameters),
) -> Result<Response<Body>, Status> {
    parameters.push(("client_id".to_owned(), client.client_id.clone()));
    // RFC 9449, section 10.1: a proof says what `dpop_jkt` does, and must not say another thing.
    match proven(gateway, "par", headers) {
        Ok(None) => {}
        Ok(Some(proof)) => match form::value(&parameters, "dpop_jkt") {
            "" => parameters.push(("dpop_jkt".to_owned(), proof.key)),
            said if said == proof.key => {}
            _ => return Ok(unproven(Rejected::OtherKey)),
        },
        Err(rejected) => return Ok(unproven(rejected)),
    }
    let message = pb::StartAuthorizationRequest {
        issuer: issuer.as_str().to_owned(),
        parameters: wire(parameters),
        client: Some(client),
    };
    let call = gateway.call(headers, None, message).await?;
    let reply = gateway.oauth().start_authorization(call).await?.into_inner();
    Ok(match reply.result {
        Some(Started::Pending(pending)) => {
            let end = pending.expire_time.and_then(|time| parse_timestamp(time).ok());
            let left = |end: Timestamp| end.since(gateway.tokens.now()).as_secs();
            let expires_in = end.map_or(REQUEST_LIFE, left);
            let document = json!({ "request_uri": pending.request_uri, "expires_in": expires_in });
            respond(StatusCode::CREATED, &document)
        }
        Some(Started::Error(refusal)) => refused(headers, &refusal),
        // What is pushed is never answered by a redirect.
        Some(Started::RedirectUri(_)) | None => return Err(reason::INTERNAL.status()),
    })
}

/// RFC 8628, section 3.2.
async fn device(
    gateway: &Gateway,
    issuer: &PublicUrl,
    headers: &HeaderMap,
    (client, parameters): (pb::ClientCredentials, form::Parameters),
) -> Result<Response<Body>, Status> {
    let message = pb::StartDeviceAuthorizationRequest {
        issuer: issuer.as_str().to_owned(),
        client: Some(client),
        parameters: wire(parameters),
    };
    let call = gateway.call(headers, None, message).await?;
    let reply = gateway.oauth().start_device_authorization(call).await?.into_inner();
    let pending = match reply.result.ok_or_else(|| reason::INTERNAL.status())? {
        Device::Error(refusal) => return Ok(refused(headers, &refusal)),
        Device::Pending(pending) => pending,
    };
    let page = format!("{}/oauth2/device", issuer.as_str());
    let document = json!({
        "device_code": pending.device_code,
        "verification_uri_complete": format!("{page}?user_code={}", pending.user_code),
        "user_code": pending.user_code,
        "verification_uri": page,
        "expires_in": pending.expires_in.unwrap_or_default().seconds,
        "interval": pending.interval.unwrap_or_default().seconds,
    });
    Ok(respond(StatusCode::OK, &document))
}

/// RFC 6750, section 3, and RFC 9449, section 7.1.
fn unauthorised(error: Option<&str>, status: StatusCode) -> Response<Body> {
    let told = error.map(|error| format!(", error=\"{error}\"")).unwrap_or_default();
    let bearer = HeaderValue::try_from(format!("Bearer realm=\"portal\"{told}"));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    for challenge in bearer.into_iter().chain([proof::challenge(error)]) {
        response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// What the token of the request shows of its person.
pub(super) async fn user_info(gateway: &Gateway, asked: &Asked) -> Response<Body> {
    if asked.method != Method::GET && asked.method != Method::POST {
        return error(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "this endpoint takes GET and POST");
    }
    let path = format!("{PREFIX}{}", asked.endpoint);
    let asker = Asker { method: &asked.method, path: &path, headers: &asked.headers };
    let authorization = match gateway.credential(&gateway.shown(asker), Workload::Auth).await {
        Ok(Credential::Bearer(authorization)) => authorization,
        Ok(Credential::None) => return unauthorised(None, StatusCode::UNAUTHORIZED),
        Ok(Credential::Unusable(why)) => return unusable_token(why),
        Err(status) => return failed(&status),
    };
    let told = async {
        let call = Gateway::call_as(&asked.headers, Some(&authorization), pb::GetUserInfoRequest {})?;
        let mut auth = gateway.oauth_of_users();
        Ok::<_, Status>(auth.get_user_info(call).await?.into_inner())
    };
    match told.await {
        Ok(info) => respond(StatusCode::OK, &claims(info)),
        Err(status) => match status.code() {
            Code::Unauthenticated => unauthorised(Some("invalid_token"), StatusCode::UNAUTHORIZED),
            Code::PermissionDenied => unauthorised(Some("insufficient_scope"), StatusCode::FORBIDDEN),
            _ => failed(&status),
        },
    }
}

fn unusable_token(why: Reason) -> Response<Body> {
    if why == reason::TOKEN_SCHEME {
        return unauthorised(Some("invalid_request"), StatusCode::BAD_REQUEST);
    }
    let rejected = why == reason::DPOP_PROOF_REJECTED;
    let error = if rejected { "invalid_dpop_proof" } else { "invalid_token" };
    unauthorised(Some(error), StatusCode::UNAUTHORIZED)
}

fn claims(info: pb::UserInfo) -> Value {
    let mut claims = Map::new();
    claims.insert("sub".to_owned(), info.sub.into());
    claims.insert("subject_id".to_owned(), info.subject_id.into());
    if !info.name.is_empty() {
        claims.insert("name".to_owned(), info.name.into());
    }
    if !info.email.is_empty() {
        claims.insert("email".to_owned(), info.email.into());
        claims.insert("email_verified".to_owned(), info.email_verified.into());
    }
    Value::Object(claims)
}
