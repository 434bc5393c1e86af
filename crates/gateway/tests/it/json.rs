//! JSON over HTTP.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use portal_core::Role;
use portal_proto::consent::v1::ListPurposesRequest;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use serde_json::json;

use crate::client::{Channel, Client, framed};
use crate::fixture::Setup;

const ID: &str = "0190b5a0-0000-7000-8000-000000000001";

#[tokio::test]
async fn the_mapping_of_proto3() {
    let setup = Setup::start().await;
    setup.world.user("carol", &[Role::Controller]);
    let client = Client::one(setup.address);
    let body = json!({"purpose": {
        "display_name": "Newsletter",
        "dpvPurposes": ["dpv:Marketing"],
        "legalBasis": 1,
        "retention": "3.5s",
        "createTime": "2026-11-22T01:00:00+01:00",
        "revision": "7",
        "specialCategory": true,
        "etag": null,
    }});
    let answer = client.json(Method::POST, "/v1/purposes", Some("carol"), &body.to_string()).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let expect = json!({
        "displayName": "Newsletter",
        "dpvPurposes": ["dpv:Marketing"],
        "legalBasis": "LEGAL_BASIS_CONSENT",
        "retention": "3.500s",
        "createTime": "2026-11-22T00:00:00Z",
        "revision": 7,
        "specialCategory": true,
    });
    assert_eq!(answer.json(), expect);
    setup.stop().await;
}

#[tokio::test]
async fn path_query_and_body_fill_the_message() {
    let setup = Setup::start().await;
    setup.world.user("alice", &[]);
    let client = Client::two(setup.address);
    let answer = client.get("/v1/purposes/a%20b?revision=4", Some("alice")).await;
    assert_eq!(
        (answer.json()["purposeId"].as_str(), answer.json()["revision"].as_i64()),
        (Some("a b"), Some(4))
    );

    let answer = client.get("/v1/purposes?pageSize=7&page_token=a+b%26&state=STATE_PUBLISHED", None).await;
    assert_eq!(answer.json(), json!({"nextPageToken": "next"}));
    let list = setup.world.last_list.lock().unwrap().clone().unwrap();
    assert_eq!((list.page_size, list.page_token.as_str()), (7, "a b&"));
    assert_eq!(list.state, portal_proto::consent::v1::State::Published as i32);

    let patch = |body: &str| client_patch(client, body.to_owned());
    let answer = patch(r#"{"purpose": {"displayName": "x"}, "updateMask": "displayName,dpvPurposes"}"#).await;
    assert_eq!(answer.json(), json!({"purposeId": ID, "displayName": "x"}), "{answer:?}");
    let update = setup.world.last_update.lock().unwrap().clone().unwrap();
    assert_eq!(update.update_mask.unwrap().paths, ["display_name", "dpv_purposes"]);
    // The same id in the body is fine, another one is not.
    assert_eq!(patch(&json!({"purpose": {"purposeId": ID}}).to_string()).await.status, 200);
    let answer = patch(r#"{"purpose": {"purposeId": "another"}}"#).await;
    assert_eq!((answer.status, answer.field().as_str()), (400, "purpose.purpose_id"));
    // An empty body is an empty message.
    assert_eq!(patch("").await.status, 200);
    setup.stop().await;
}

async fn client_patch(client: Client, body: String) -> crate::client::Answer {
    client.json(Method::PATCH, &format!("/v1/purposes/{ID}"), None, &body).await
}

#[tokio::test]
async fn bad_input_names_the_field_or_the_position() {
    let setup = Setup::start().await;
    setup.world.user("carol", &[Role::Controller]);
    let client = Client::one(setup.address);
    let post = |body: &str| {
        let body = body.to_owned();
        async move { client.json(Method::POST, "/v1/purposes", Some("carol"), &body).await }
    };
    for (body, field, says) in [
        (r#"{"purpose": {"displayname": "x"}}"#, "purpose.displayname", "no such field"),
        (r#"{"nothing": 1}"#, "nothing", "no such field"),
        (r#"{"purpose": {"revision": "many-secret"}}"#, "purpose.revision", "integer"),
        (r#"{"purpose": {"retention": "secret"}}"#, "purpose.retention", "duration"),
        (r#"{"purpose": {"createTime": "secret"}}"#, "purpose.create_time", "RFC 3339"),
        (r#"{"purpose": {"legalBasis": "secret"}}"#, "purpose.legal_basis", "LEGAL_BASIS_CONSENT"),
        (r#"{"purpose": {"dpvPurposes": ["a", 4]}}"#, "purpose.dpv_purposes.1", "string"),
        (r#"{"purpose": {"specialCategory": "secret"}}"#, "purpose.special_category", "true or false"),
        (r#"{"purpose": "secret"}"#, "purpose", "JSON object"),
        (r#"["secret"]"#, "", "JSON object"),
    ] {
        let answer = post(body).await;
        assert_eq!((answer.status, answer.field().as_str()), (400, field), "{body}: {answer:?}");
        let text = String::from_utf8_lossy(&answer.body);
        assert!(text.contains(says) && !text.contains("secret"), "{body}: {text}");
    }
    for body in ["{", "{\"purpose\": {}} x", "\u{7f}", "{\"purpose\": {\"etag\": \"\\ud800\"}}"] {
        let answer = post(body).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "JSON_MALFORMED"), "{body}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("line 1, column "), "{message}");
    }
    let deep = format!("{{\"purpose\": {}1", "[".repeat(100_000));
    assert_eq!(post(&deep).await.status, 400);

    let invalid = Request::post("/v1/purposes")
        .header("content-type", "application/json")
        .body(Full::from(Bytes::from_static(b"{\"purpose\": {\"etag\": \"\xff\"}}")))
        .unwrap();
    let answer = client.send(invalid).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "UTF8_INVALID"));
    assert!(answer.json()["message"].as_str().unwrap().contains("byte 22"), "{answer:?}");
    setup.stop().await;
}

#[tokio::test]
async fn bad_parameters_name_themselves() {
    let setup = Setup::start().await;
    setup.world.user("alice", &[]);
    let client = Client::one(setup.address);
    for (path, field) in [
        ("/v1/purposes?pageSize=-1", "page_size"),
        ("/v1/purposes?pageSize=many", "page_size"),
        ("/v1/purposes?pageSize=99999999999", "page_size"),
        ("/v1/purposes?page_size=1&pageSize=2", "pageSize"),
        ("/v1/purposes?nothing=1", "nothing"),
        ("/v1/purposes?pageSize.x=1", "pageSize.x"),
        ("/v1/purposes?state=SECRET", "state"),
        ("/v1/purposes/1?purposeId=2", "purposeId"),
    ] {
        let answer = client.get(path, Some("alice")).await;
        assert_eq!((answer.status, answer.field().as_str()), (400, field), "{path}: {answer:?}");
    }
    let answer = client.get("/v1/purposes?pageToken=%ff", None).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "UTF8_INVALID"));
    let answer = client.json(Method::POST, "/v1/purposes?requestId=1", None, "{}").await;
    assert_eq!((answer.status, answer.field().as_str()), (400, "requestId"));
    let answer = client.json(Method::GET, "/v1/purposes", None, "{}").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    setup.stop().await;
}

#[tokio::test]
async fn errors_have_the_status_of_their_code() {
    let setup = Setup::start().await;
    setup.world.user("alice", &[]);
    let client = Client::two(setup.address);
    let answer = client.get("/v1/purposes/missing", Some("alice")).await;
    assert_eq!(answer.status, 404);
    let expect = json!({"code": 5, "message": "no such purpose", "details": [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "GONE", "domain": "portal"},
    ]});
    assert_eq!(answer.json(), expect);

    let answer = client.get("/v1/purposes/1", None).await;
    assert_eq!((answer.status, answer.reason().as_str()), (401, "TOKEN_MISSING"));
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    let answer = client.json(Method::POST, "/v1/purposes", Some("alice"), "{}").await;
    assert_eq!((answer.status, answer.reason().as_str()), (403, "ROLE_NOT_ALLOWED"));
    let answer = client.get("/v1/datasets", None).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "UPSTREAM_UNAVAILABLE"));
    let answer = client.get("/v1/nothing", None).await;
    assert_eq!((answer.status, answer.reason().as_str()), (404, "PATH_UNKNOWN"));
    let answer = client.json(Method::POST, "/v1/purposes/1:nothing", None, "{}").await;
    assert_eq!(answer.status, 404);
    let answer = client.json(Method::DELETE, "/v1/purposes", None, "").await;
    assert_eq!((answer.status, answer.reason().as_str()), (405, "VERB_NOT_ALLOWED"));
    let mut allow: Vec<_> = answer.header("allow").split(", ").collect();
    allow.sort_unstable();
    assert_eq!(allow, ["GET", "POST"]);

    let mut form = Request::post("/v1/purposes").body(Full::from("a=b")).unwrap();
    form.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    assert_eq!(client.send(form).await.status, 415);

    let mut slow = Request::get("/v1/purposes/slow").body(Full::default()).unwrap();
    slow.headers_mut().insert("authorization", "Bearer alice".parse().unwrap());
    slow.headers_mut().insert("grpc-timeout", "200m".parse().unwrap());
    assert_eq!(client.send(slow).await.status, 504);
    setup.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let setup = Setup::start().await;
    for client in [Client::one(setup.address), Client::two(setup.address)] {
        let body = format!("{{\"requestId\": \"{}\"}}", "x".repeat(5 * 1_024 * 1_024));
        let answer = client.json(Method::POST, "/v1/purposes", None, &body).await;
        assert_eq!((answer.status, answer.reason().as_str()), (413, "BODY_TOO_LARGE"));
        assert_eq!(answer.json()["code"], 8);
    }
    setup.stop().await;
}

/// Whoever reads a list is told that it is not all there is, on whichever way they came.
#[tokio::test]
async fn rows_that_are_withheld_are_told() {
    let setup = Setup::start().await;
    let told = |headers: &HeaderMap| {
        let names = headers.keys().filter(|name| name.as_str().starts_with("portal-"));
        names.map(|name| (name.to_string(), headers[name].to_str().unwrap().to_owned())).collect::<Vec<_>>()
    };
    let expected = [("portal-rows-withheld".to_owned(), "2".to_owned())];
    for client in [Client::one(setup.address), Client::two(setup.address)] {
        let all = client.get("/v1/purposes", None).await;
        assert_eq!((all.status, told(&all.headers)), (200, Vec::new()));
        let some = client.get("/v1/purposes?pageToken=corrupt", None).await;
        assert_eq!((some.status, told(&some.headers).as_slice()), (200, &expected[..]));
    }
    let mut purposes = PurposeServiceClient::new(Channel::connect(setup.address).await);
    let list = ListPurposesRequest { page_token: "corrupt".to_owned(), ..Default::default() };
    let some = purposes.list_purposes(list.clone()).await.unwrap();
    assert_eq!(told(some.metadata().as_ref()).as_slice(), &expected[..]);
    let web = Request::post("/portal.consent.v1.PurposeService/ListPurposes")
        .header("content-type", "application/grpc-web+proto")
        .body(Full::from(framed(&list)))
        .unwrap();
    let some = Client::one(setup.address).send(web).await;
    assert_eq!((some.status, told(&some.headers).as_slice()), (200, &expected[..]));
    setup.stop().await;
}

#[tokio::test]
async fn streams_are_lines() {
    let setup = Setup::start().await;
    setup.world.user("alice", &[]);
    let client = Client::one(setup.address);
    let watch = |then: &str| format!("/v1/consentChanges:watch?resumeToken={then}&purposeIds=1&purposeIds=2");
    let answer = client.get(&watch("end"), Some("alice")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
    assert_eq!(answer.body, "{\"resumeToken\":\"1\"}\n{\"resumeToken\":\"2\"}\n");

    let answer = client.get(&watch("error"), Some("alice")).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let last: serde_json::Value = serde_json::from_str(text.lines().nth(2).unwrap()).unwrap();
    assert_eq!(
        (&last["error"]["code"], &last["error"]["details"][0]["reason"]),
        (&json!(10), &json!("LOST"))
    );

    let answer = client.get(&watch("refuse"), Some("alice")).await;
    assert_eq!((answer.status, answer.reason().as_str()), (409, "LOST"));

    let request = Request::get(watch("silence")).header("authorization", "Bearer alice");
    let mut body = client.response(request.body(Full::default()).unwrap()).await.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"{\"resumeToken\":\"1\"}\n"));
    setup.stop().await;
}
