//! Over JSON: what is no JSON, what is no such message, what is too large.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::Scene;
use super::tables;

/// The answer to a body of raw bytes.
async fn send(
    scene: &Scene,
    caller: &str,
    (method, path): (&str, &str),
    body: impl Into<Bytes>,
) -> (StatusCode, Value) {
    let mut request =
        Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    if let Some(caller) = scene.caller(caller) {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", caller.token));
    }
    let answer = scene.portal.http(request.body(Full::new(body.into())).unwrap()).await;
    let json = serde_json::from_slice(answer.body());
    let json = json.unwrap_or_else(|_| panic!("{path}: {}: not JSON: {:?}", answer.status(), answer.body()));
    (answer.status(), json)
}

fn reason(error: &Value) -> &str {
    let details = error["details"].as_array().map(Vec::as_slice).unwrap_or_default();
    details.iter().find_map(|detail| detail["reason"].as_str()).unwrap_or_default()
}

fn fields(error: &Value) -> Vec<&str> {
    let details = error["details"].as_array().map(Vec::as_slice).unwrap_or_default();
    let violations = details.iter().filter_map(|detail| detail["fieldViolations"].as_array()).flatten();
    violations.filter_map(|violation| violation["field"].as_str()).collect()
}

/// What is wrong, where, the body; the HTTP status, the reason and the field that the answer must have.
type Refusal<'a> = (&'a str, (&'a str, &'a str), Vec<u8>, u16, &'a str, &'a str);

/// What the edge refuses, most of it before any service sees it.
#[expect(clippy::too_many_lines, reason = "a table")]
pub async fn refused(scene: &Scene) {
    let purposes = ("POST", "/v1/purposes");
    let table: Vec<Refusal<'_>> = vec![
        ("no JSON", purposes, b"{".to_vec(), 400, "JSON_MALFORMED", ""),
        ("two values", purposes, b"{} {}".to_vec(), 400, "JSON_MALFORMED", ""),
        (
            "not UTF-8",
            purposes,
            b"{\"purpose\":{\"displayName\":\"\xff\xfe\"}}".to_vec(),
            400,
            "UTF8_INVALID",
            "",
        ),
        (
            "half a surrogate",
            purposes,
            br#"{"purpose":{"displayName":"\ud800"}}"#.to_vec(),
            400,
            "JSON_MALFORMED",
            "",
        ),
        ("a list", purposes, b"[]".to_vec(), 400, "INVALID_FIELD", ""),
        ("an unknown field", purposes, br#"{"nonsense":1}"#.to_vec(), 400, "INVALID_FIELD", "nonsense"),
        (
            "an unknown field inside",
            purposes,
            br#"{"purpose":{"nonsense":1}}"#.to_vec(),
            400,
            "INVALID_FIELD",
            "purpose.nonsense",
        ),
        (
            "the wrong type",
            purposes,
            br#"{"purpose":{"displayName":1}}"#.to_vec(),
            400,
            "INVALID_FIELD",
            "purpose.display_name",
        ),
        (
            "no such value",
            purposes,
            br#"{"purpose":{"legalBasis":"LEGAL_BASIS_MAGIC"}}"#.to_vec(),
            400,
            "INVALID_FIELD",
            "purpose.legal_basis",
        ),
        (
            "an unknown parameter",
            ("GET", "/v1/purposes?nonsense=1"),
            Vec::new(),
            400,
            "INVALID_FIELD",
            "nonsense",
        ),
        ("no number", ("GET", "/v1/purposes?pageSize=many"), Vec::new(), 400, "INVALID_FIELD", "page_size"),
        (
            "a negative size",
            ("GET", "/v1/purposes?pageSize=-1"),
            Vec::new(),
            400,
            "INVALID_FIELD",
            "page_size",
        ),
        (
            "a foreign token",
            ("GET", "/v1/purposes?pageToken=x"),
            Vec::new(),
            400,
            "INVALID_FIELD",
            "page_token",
        ),
        ("an id of no shape", ("GET", "/v1/purposes/x"), Vec::new(), 400, "INVALID_FIELD", "purpose_id"),
        ("no such path", ("GET", "/v1/nothing"), Vec::new(), 404, "PATH_UNKNOWN", ""),
        ("no such verb", ("PUT", "/v1/purposes"), Vec::new(), 405, "VERB_NOT_ALLOWED", ""),
        ("deep nesting", purposes, b"{\"purpose\":".repeat(5_000), 400, "", ""),
    ];
    for (what, at, body, status, expect, field) in table {
        let (found, error) = send(scene, "controller", at, body).await;
        assert_eq!(found.as_u16(), status, "{what}: {error}");
        assert!(expect.is_empty() || reason(&error) == expect, "{what}: {error}");
        assert!(field.is_empty() || fields(&error) == [field], "{what}: {error}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}: {error}");
    }
    let (status, error) = send(scene, "", purposes, "{}").await;
    assert_eq!((status.as_u16(), reason(&error)), (401, "TOKEN_MISSING"), "{error}");
}

/// Every method that creates something: an unknown field, bytes that are no UTF-8, 5 MiB.
pub async fn every_create_method(scene: &Scene) {
    for creation in tables::good_creations(scene) {
        let at = ("POST", creation.path.as_str());
        let mut body = creation.request.clone();
        body["nonsense"] = json!(true);
        let (status, error) = send(scene, creation.caller, at, body.to_string()).await;
        assert_eq!((status.as_u16(), fields(&error)), (400, vec!["nonsense"]), "{}: {error}", creation.path);
        let mut body = creation.request.to_string().into_bytes();
        body.extend(b"\xff");
        let (status, error) = send(scene, creation.caller, at, body).await;
        assert_eq!((status.as_u16(), reason(&error)), (400, "UTF8_INVALID"), "{}: {error}", creation.path);
        let mut body = creation.request.to_string();
        body.push_str(&" ".repeat(5 * 1_024 * 1_024));
        let (status, error) = send(scene, creation.caller, at, body).await;
        assert_eq!((status.as_u16(), reason(&error)), (413, "BODY_TOO_LARGE"), "{}: {error}", creation.path);
    }
}
