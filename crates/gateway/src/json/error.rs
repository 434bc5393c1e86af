//! A gRPC status as an HTTP answer: the HTTP status that `google.rpc.Code` gives it, and a `google.rpc.Status` in JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use portal_mesh::status::{Reason, reason};
use portal_proto::google::rpc;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Map, Value, json};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::proof;

/// The answer. `http` where HTTP has a status of its own for the error.
pub(crate) fn respond(pool: &DescriptorPool, status: &Status, http: Option<StatusCode>) -> Response<Body> {
    let details = details(status);
    let mut response = Response::new(Body::new(Full::from(object(pool, status, &details).to_string())));
    *response.status_mut() = http.unwrap_or_else(|| http_status(status.code()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status.code() == Code::Unauthenticated {
        for challenge in challenges(&details) {
            headers.append(header::WWW_AUTHENTICATE, challenge);
        }
    }
    headers.extend(retry_after(&details).map(|seconds| (header::RETRY_AFTER, HeaderValue::from(seconds))));
    response
}

/// The status as a JSON object.
pub(crate) fn to_json(pool: &DescriptorPool, status: &Status) -> Value {
    object(pool, status, &details(status))
}

fn details(status: &Status) -> Vec<prost_types::Any> {
    rpc::Status::decode(status.details()).map(|status| status.details).unwrap_or_default()
}

fn object(pool: &DescriptorPool, status: &Status, details: &[prost_types::Any]) -> Value {
    let details: Vec<Value> = details.iter().map(|any| detail(pool, any)).collect();
    json!({ "code": status.code() as i32, "message": status.message(), "details": details })
}

/// A detail in the mapping of `Any`; one of a type that is not known here keeps its bytes.
fn detail(pool: &DescriptorPool, any: &prost_types::Any) -> Value {
    let mut object = known(pool, any).unwrap_or_else(|| {
        Map::from_iter([("value".to_owned(), Value::String(STANDARD.encode(&any.value)))])
    });
    object.insert("@type".to_owned(), Value::String(any.type_url.clone()));
    Value::Object(object)
}

fn known(pool: &DescriptorPool, any: &prost_types::Any) -> Option<Map<String, Value>> {
    let (_, name) = any.type_url.rsplit_once('/')?;
    let message = DynamicMessage::decode(pool.get_message_by_name(name)?, any.value.as_slice()).ok()?;
    match serde_json::to_value(&message).ok()? {
        Value::Object(object) if !name.starts_with("google.protobuf.") => Some(object),
        // Types with a JSON form of their own are wrapped.
        value => Some(Map::from_iter([("value".to_owned(), value)])),
    }
}

/// What it takes to be let in: a token of one of two kinds, or a better one. A proof that was refused is told first.
fn challenges(details: &[prost_types::Any]) -> [HeaderValue; 2] {
    let info = details.iter().find(|any| any.type_url.ends_with("/google.rpc.ErrorInfo"));
    let info = info.and_then(|any| rpc::ErrorInfo::decode(any.value.as_slice()).ok()).unwrap_or_default();
    let is = |reason: Reason| info.reason == reason.name;
    if is(reason::DPOP_PROOF_REJECTED) {
        return [proof::challenge(Some("invalid_dpop_proof")), HeaderValue::from_static("Bearer")];
    }
    if is(reason::DPOP_PROOF_NEEDED) {
        return [proof::challenge(Some("invalid_token")), HeaderValue::from_static("Bearer")];
    }
    let error = is(reason::TOKEN_INVALID).then_some("invalid_token");
    let better = if is(reason::STEP_UP_REQUIRED) { better(&info) } else { None };
    [better.unwrap_or(HeaderValue::from_static("Bearer")), proof::challenge(error)]
}

/// How the person is to prove who they are (RFC 9470).
fn better(info: &rpc::ErrorInfo) -> Option<HeaderValue> {
    let (ways, age) = info.metadata.get("acr_values").zip(info.metadata.get("max_age"))?;
    let error = "insufficient_user_authentication";
    let better = format!("Bearer error=\"{error}\", acr_values=\"{ways}\", max_age=\"{age}\"");
    HeaderValue::try_from(better).ok()
}

fn retry_after(details: &[prost_types::Any]) -> Option<u64> {
    let any = details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = rpc::RetryInfo::decode(any.value.as_slice()).ok()?.retry_delay?;
    let seconds = u64::try_from(delay.seconds).ok()?;
    Some(seconds + u64::from(delay.nanos > 0))
}

/// As `google/rpc/code.proto` has it.
pub(crate) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        // 499 has no name but is a status.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_challenge_says_what_is_missing() {
        let pool = DescriptorPool::decode(portal_proto::DESCRIPTORS).unwrap();
        let age = std::time::Duration::from_secs(900);
        let step_up = portal_mesh::status::step_up(&[portal_core::Acr::Passkey, portal_core::Acr::Mfa], age);
        let better =
            r#"Bearer error="insufficient_user_authentication", acr_values="passkey mfa", max_age="900""#;
        for (status, expect) in [(step_up, better), (reason::TOKEN_MISSING.status(), "Bearer")] {
            assert_eq!(respond(&pool, &status, None).headers()[header::WWW_AUTHENTICATE], expect);
        }
        let algorithms = "algs=\"ML-DSA-65 ES256 EdDSA\"";
        for (reason, all) in [
            (reason::TOKEN_MISSING, ["Bearer".to_owned(), format!("DPoP {algorithms}")]),
            (
                reason::TOKEN_INVALID,
                ["Bearer".to_owned(), format!("DPoP error=\"invalid_token\", {algorithms}")],
            ),
            (
                reason::DPOP_PROOF_NEEDED,
                [format!("DPoP error=\"invalid_token\", {algorithms}"), "Bearer".to_owned()],
            ),
            (
                reason::DPOP_PROOF_REJECTED,
                [format!("DPoP error=\"invalid_dpop_proof\", {algorithms}"), "Bearer".to_owned()],
            ),
        ] {
            let response = respond(&pool, &reason.status(), None);
            let told: Vec<_> = response.headers().get_all(header::WWW_AUTHENTICATE).into_iter().collect();
            assert_eq!(told, all.iter().collect::<Vec<_>>(), "{}", reason.name);
        }
    }

    #[test]
    fn a_detail_of_an_unknown_type_breaks_nothing() {
        let pool = DescriptorPool::decode(portal_proto::DESCRIPTORS).unwrap();
        let info =
            rpc::ErrorInfo { reason: "R".to_owned(), domain: "portal".to_owned(), ..Default::default() };
        let any = |name: &str, value: Vec<u8>| prost_types::Any {
            type_url: format!("type.googleapis.com/{name}"),
            value,
        };
        let details = vec![
            any("google.rpc.ErrorInfo", info.encode_to_vec()),
            any("example.Unknown", vec![1, 2]),
            any("google.rpc.ErrorInfo", vec![0xff]),
            any("google.protobuf.Duration", prost_types::Duration { seconds: 3, nanos: 0 }.encode_to_vec()),
        ];
        let status = rpc::Status { code: 3, message: "no".to_owned(), details };
        let status = Status::with_details(Code::InvalidArgument, "no", status.encode_to_vec().into());
        let expect = json!({"code": 3, "message": "no", "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "R", "domain": "portal"},
            {"@type": "type.googleapis.com/example.Unknown", "value": "AQI="},
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "value": "/w=="},
            {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"},
        ]});
        assert_eq!(to_json(&pool, &status), expect);
    }
}
