//! What there is, for clients that configure themselves (OpenID Connect Discovery 1.0; RFC 8414).

use http::{HeaderValue, Response, header};
use http_body_util::Full;
use portal_core::Scope;
use portal_crypto::jose::Algorithm;
use serde_json::{Value, json};
use tonic::body::Body;

use super::PublicUrl;
use crate::{keyset, proof};

/// Where the document is: the same for both standards.
pub(crate) const PATHS: [&str; 2] =
    ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];

/// The document.
pub(crate) fn respond(issuer: &PublicUrl) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::from(document(issuer.as_str()).to_string())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

fn document(issuer: &str) -> Value {
    let at = |endpoint: &str| format!("{issuer}/oauth2/{endpoint}");
    let scopes: Vec<&str> = Scope::ALL.into_iter().map(Scope::name).collect();
    let algorithms = proof::ALGORITHMS.map(Algorithm::name);
    let clients = ["client_secret_basic", "client_secret_post", "none"];
    json!({
        "issuer": issuer,
        "authorization_endpoint": at("authorize"),
        "device_authorization_endpoint": at("device_authorization"),
        "token_endpoint": at("token"),
        "userinfo_endpoint": at("userinfo"),
        "introspection_endpoint": at("introspect"),
        "revocation_endpoint": at("revoke"),
        "pushed_authorization_request_endpoint": at("par"),
        "end_session_endpoint": at("logout"),
        "jwks_uri": format!("{issuer}{}", keyset::PATH),
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [
            "authorization_code", "client_credentials", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code",
        ],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ML-DSA-65", "ES256", "EdDSA"],
        "token_endpoint_auth_methods_supported": clients,
        "introspection_endpoint_auth_methods_supported": clients,
        "revocation_endpoint_auth_methods_supported": clients,
        "code_challenge_methods_supported": ["S256"],
        "dpop_signing_alg_values_supported": algorithms,
        "authorization_response_iss_parameter_supported": true,
        "prompt_values_supported": ["none", "login", "select_account", "consent"],
        "acr_values_supported": ["pwd", "mfa", "passkey"],
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "at_hash", "sid", "subject_id", "name",
            "email", "email_verified",
        ],
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "claims_parameter_supported": false,
    })
}
