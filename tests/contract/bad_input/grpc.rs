//! Over gRPC: bytes that are no message, fields that can't be, pages of other lists, messages that are too large.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::Full;
use portal_tests::{Answer, call, call_with, frame};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage};
use serde_json::{Value, json};
use tonic::Code;

use super::Scene;
use super::tables::{self, Wrong};

const FIVE_MIB: usize = 5 * 1_024 * 1_024;

fn pool() -> DescriptorPool {
    DescriptorPool::decode(portal_proto::DESCRIPTORS).unwrap()
}

fn method(pool: &DescriptorPool, path: &str) -> MethodDescriptor {
    let (service, name) = path.split_once('/').unwrap();
    let service = pool.get_service_by_name(service).unwrap();
    service.methods().find(|method| method.name() == name).unwrap_or_else(|| panic!("no method {path}"))
}

/// A request in proto3 JSON as protobuf.
fn encode(pool: &DescriptorPool, path: &str, request: &Value) -> Vec<u8> {
    let json = request.to_string();
    let mut json = serde_json::Deserializer::from_str(&json);
    let message = DynamicMessage::deserialize(method(pool, path).input(), &mut json);
    message.unwrap_or_else(|error| panic!("{path}: {error}")).encode_to_vec()
}

fn assert_typed(answer: &Answer, expect: Code, what: &str) {
    assert_eq!(answer.code(), Some(expect), "{what}: {:?}", answer.status);
    let message = answer.status.as_ref().unwrap().message();
    assert!(!message.contains("panicked") && !message.contains("src/"), "{what}: leaks internals: {message}");
}

/// Bytes that are no protobuf, frames that are no gRPC, strings that are no UTF-8.
pub async fn malformed(scene: &Scene) {
    let give = "/portal.consent.v1.ConsentService/GiveConsent";
    let create = "/portal.auth.v1.AccountService/CreateAccount";
    let bodies: [(&str, &[u8]); 5] = [
        ("a field that ends early", &[0x0a, 0x7f, b'x']),
        ("an unknown wire type", &[0x0f]),
        ("a varint without end", &[0xff; 12]),
        ("field number zero", &[0x02, 0x00]),
        ("a string that is not UTF-8", &[0x0a, 0x02, 0xff, 0xfe]),
    ];
    for (what, bytes) in bodies {
        for (caller, path) in [("anna", give), ("", create)] {
            let answer = call(scene.on(caller), path, bytes).await;
            // RESOURCE_EXHAUSTED, INTERNAL and the like would blame the wrong side or promise that a retry helps.
            assert_typed(&answer, Code::InvalidArgument, &format!("{path}: {what}"));
            assert!(answer.reason().is_some(), "{path}: {what}: no reason: {:?}", answer.status);
        }
    }
    let frames: [(&str, Vec<u8>); 4] = [
        ("no message at all", Vec::new()),
        ("half a prefix", vec![0, 0]),
        ("a message shorter than its prefix says", vec![0, 0, 0, 0, 9, 1, 2]),
        ("compression that was not announced", vec![1, 0, 0, 0, 1, 0]),
    ];
    for (what, body) in frames {
        let answer = call_with(scene.on("anna"), give, body.into(), HeaderMap::new()).await;
        let code = answer.code();
        assert!(!matches!(code, None | Some(Code::Ok)), "{what}: {:?}", answer.status);
    }
    let unknown = call(scene.on("anna"), "/portal.consent.v1.ConsentService/NoSuchMethod", b"").await;
    let code = unknown.code();
    assert!(matches!(code, Some(Code::PermissionDenied | Code::Unimplemented)), "{:?}", unknown.status);
    let unknown = call(scene.on("anna"), "/portal.nothing.v1.Nothing/Nothing", b"").await;
    assert_typed(&unknown, Code::Unimplemented, "an unknown service");
}

/// Every wrong field is named.
pub async fn fields(scene: &Scene) {
    let pool = pool();
    let mut failures = Vec::new();
    for Wrong { caller, method, request, field } in tables::fields(scene) {
        let answer = call(scene.on(caller), &format!("/{method}"), &encode(&pool, method, &request)).await;
        let named = answer.fields().iter().any(|found| found.starts_with(field));
        if answer.code() != Some(Code::InvalidArgument) || answer.reason().is_none() || !named {
            let mut request = request.to_string();
            request.truncate(200);
            failures.push(format!(
                "{method} {request}: expected {field}: {:?} {:?}",
                answer.fields(),
                answer.status
            ));
        }
    }
    assert!(failures.is_empty(), "{} of the table:\n{}", failures.len(), failures.join("\n"));
}

/// A page token is good for the same list of the same caller with the same filters, unaltered; else it is refused.
pub async fn page_tokens(scene: &Scene) {
    let pool = pool();
    let purposes = "portal.consent.v1.PurposeService/ListPurposes";
    let token = first_page(scene, &pool, ("anna", purposes, json!({ "pageSize": 1 }))).await;
    let good = json!({ "pageSize": 1, "pageToken": token });
    let answer = call(scene.on("anna"), &format!("/{purposes}"), &encode(&pool, purposes, &good)).await;
    assert_eq!(answer.code(), Some(Code::Ok), "the token is no good at all: {:?}", answer.status);
    let altered: Vec<String> = (0..token.len())
        .map(|at| {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).unwrap()
        })
        .filter(|altered| *altered != token)
        .collect();
    let mut foreign = vec![
        ("of another caller", "controller", purposes, json!({ "pageSize": 1, "pageToken": token })),
        ("of another filter", "anna", purposes, json!({ "pageToken": token, "state": "STATE_PUBLISHED" })),
        (
            "of another method",
            "anna",
            "portal.consent.v1.NoticeService/ListNotices",
            json!({ "pageToken": token }),
        ),
        (
            "of another service",
            "controller",
            "portal.valuation.v1.DatasetService/ListDatasets",
            json!({ "pageToken": token }),
        ),
        ("cut short", "anna", purposes, json!({ "pageToken": &token[..token.len() - 1] })),
        ("made longer", "anna", purposes, json!({ "pageToken": format!("{token}A") })),
    ];
    // The last character may carry bits that mean nothing, and is still another token.
    foreign
        .extend(altered.iter().map(|altered| ("altered", "anna", purposes, json!({ "pageToken": altered }))));
    let datasets = "portal.valuation.v1.DatasetService/ListDatasets";
    let theirs = first_page(scene, &pool, ("controller", datasets, json!({ "pageSize": 1 }))).await;
    let valuations = "portal.valuation.v1.ValuationService/ListValuations";
    foreign.push(("of another method", "controller", valuations, json!({ "pageToken": theirs })));
    let accounts = "portal.auth.v1.AccountService/ListAccounts";
    let theirs = first_page(scene, &pool, ("operator", accounts, json!({ "pageSize": 1 }))).await;
    foreign.push((
        "of another filter",
        "operator",
        accounts,
        json!({ "pageToken": theirs, "role": "auditor" }),
    ));
    for (what, caller, path, request) in foreign {
        let answer = call(scene.on(caller), &format!("/{path}"), &encode(&pool, path, &request)).await;
        assert_typed(&answer, Code::InvalidArgument, &format!("{path}: a token {what}: {request}"));
        assert_eq!(answer.fields(), ["page_token"], "{path}: a token {what}");
    }
}

async fn first_page(
    scene: &Scene,
    pool: &DescriptorPool,
    (caller, path, request): (&str, &str, Value),
) -> String {
    let answer = call(scene.on(caller), &format!("/{path}"), &encode(pool, path, &request)).await;
    let reply = DynamicMessage::decode(method(pool, path).output(), answer.body.slice(5..)).unwrap();
    let token = reply.get_field_by_name("next_page_token").unwrap().as_str().unwrap().to_owned();
    assert!(!token.is_empty(), "{path}: {} has no second page", reply.descriptor().full_name());
    token
}

/// 5 MiB in one message: gRPC by the method's own bound, gRPC-Web by the edge's, whether the length is told or not.
pub async fn large(scene: &Scene) {
    let pool = pool();
    for creation in tables::good_creations(scene) {
        let mut message = encode(&pool, creation.method, &creation.request);
        // An unknown field: legal, and as long as one likes.
        message.extend([0xfa, 0xff, 0xff, 0x7f]);
        prost::encoding::encode_varint(FIVE_MIB as u64, &mut message);
        message.resize(message.len() + FIVE_MIB, 0);
        let path = format!("/{}", creation.method);
        if creation.method.ends_with("GiveConsent") {
            // Takes 8 MiB of evidence: what is too large for it is tried with twice the size.
            message.resize(message.len() + FIVE_MIB, 0);
        }
        let answer = call(scene.on(creation.caller), &path, &message).await;
        assert_typed(&answer, Code::ResourceExhausted, &path);
        assert!(answer.reason().is_some(), "{path}: {:?}", answer.status);
        let mut request = Request::post(&path).header(header::CONTENT_TYPE, "application/grpc-web+proto");
        if let Some(caller) = scene.caller(creation.caller) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", caller.token));
        }
        let answer = scene.portal.http(request.body(Full::new(frame(&message))).unwrap()).await;
        assert_eq!(answer.status(), StatusCode::OK, "gRPC-Web tells its status in the body");
        let trailers = String::from_utf8_lossy(answer.body()).to_ascii_lowercase();
        assert!(
            trailers.contains("grpc-status: 8") || trailers.contains("grpc-status:8"),
            "{path}: {trailers}"
        );
    }
    // A prefix that promises 4 GiB is refused for what it says.
    let lie = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
    let path = "/portal.consent.v1.PurposeService/CreatePurpose";
    let answer = call_with(scene.on("controller"), path, lie, HeaderMap::new()).await;
    assert_typed(&answer, Code::ResourceExhausted, "a prefix of 4 GiB");
}
