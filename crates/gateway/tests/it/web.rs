//! gRPC-Web: bare bytes over HTTP/1.1 and HTTP/2, binary and text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use portal_core::Role;
use portal_proto::consent::v1::{
    ConsentChange, GetPurposeRequest, ListPurposesRequest, ListPurposesResponse, WatchConsentChangesRequest,
};
use prost::Message;
use tonic_health::pb::HealthCheckRequest;

use crate::client::{Answer, Client, Http, framed, frames};
use crate::fixture::Setup;

const LIST: &str = "/portal.consent.v1.PurposeService/ListPurposes";
const GET: &str = "/portal.consent.v1.PurposeService/GetPurpose";
const WATCH: &str = "/portal.consent.v1.ConsentChangeService/WatchConsentChanges";
const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text+proto";

fn request(path: &str, content_type: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method("POST")
        .uri(path)
        .header("content-type", content_type)
        .header("authorization", "Bearer alice")
        .body(Full::new(body.into()))
        .unwrap()
}

fn list() -> Vec<u8> {
    framed(&ListPurposesRequest::default())
}

fn both(setup: &Setup) -> [Client; 2] {
    [Client::one(setup.address), Client::two(setup.address)]
}

/// The messages and the trailers of an answer.
fn read(answer: &Answer) -> (Vec<Vec<u8>>, String) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = if answer.header("content-type").contains("text") {
        // Each piece is encoded by itself, as it was sent.
        answer.body.chunks(4).flat_map(|group| STANDARD.decode(group).unwrap()).collect()
    } else {
        answer.body.to_vec()
    };
    let mut frames = frames(&body);
    let (flag, trailers) = frames.pop().unwrap();
    assert_eq!(flag, 0x80, "{answer:?}");
    assert!(frames.iter().all(|(flag, _)| *flag == 0));
    (frames.into_iter().map(|(_, message)| message).collect(), String::from_utf8(trailers).unwrap())
}

#[tokio::test]
async fn unary_calls_binary_and_text_over_both_versions() {
    let setup = Setup::start().await;
    for client in both(&setup) {
        for (content_type, answered, body) in [
            ("application/grpc-web", BINARY, list()),
            (BINARY, BINARY, list()),
            ("application/grpc-web-text", TEXT, STANDARD.encode(list()).into_bytes()),
            (TEXT, TEXT, STANDARD.encode(list()).into_bytes()),
        ] {
            let answer = client.send(request(LIST, content_type, body)).await;
            assert_eq!(answer.header("content-type"), answered);
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            let (messages, trailers) = read(&answer);
            let reply = ListPurposesResponse::decode(messages[0].as_slice()).unwrap();
            assert_eq!((messages.len(), reply.next_page_token.as_str()), (1, "next"));
            assert!(trailers.contains("grpc-status: 0\r\n"), "{trailers}");
        }
    }
    setup.stop().await;
}

#[tokio::test]
async fn text_may_be_padded_in_the_middle_and_must_be_base64() {
    let setup = Setup::start().await;
    let client = Client::one(setup.address);
    let message = framed(&ListPurposesRequest { page_token: "a token".to_owned(), ..Default::default() });
    let pieces: String = message.chunks(4).map(|piece| STANDARD.encode(piece)).collect();
    let (_, trailers) = read(&client.send(request(LIST, TEXT, pieces)).await);
    assert!(trailers.contains("grpc-status: 0\r\n"), "{trailers}");
    assert_eq!(setup.world.last_list.lock().unwrap().as_ref().unwrap().page_token, "a token");
    for bad in ["AAA", "AA A", "====", "AAAAA?==", "ÿÿÿÿ"] {
        let (messages, trailers) = read(&client.send(request(LIST, TEXT, bad)).await);
        assert!(messages.is_empty() && trailers.contains("grpc-status: 3\r\n"), "{bad}: {trailers}");
    }
    setup.stop().await;
}

#[tokio::test]
async fn streams_come_piece_by_piece_and_tell_how_they_ended() {
    let setup = Setup::start().await;
    setup.world.user("alice", &[]);
    let watch = |then: &str| {
        framed(&WatchConsentChangesRequest { resume_token: then.to_owned(), ..Default::default() })
    };
    for client in both(&setup) {
        let (messages, trailers) = read(&client.send(request(WATCH, BINARY, watch("end"))).await);
        assert_eq!(messages.len(), 2);
        assert_eq!(ConsentChange::decode(messages[1].as_slice()).unwrap().resume_token, "2");
        assert!(trailers.contains("grpc-status: 0\r\n"));
        let (messages, trailers) = read(&client.send(request(WATCH, BINARY, watch("error"))).await);
        assert_eq!(messages.len(), 2);
        assert!(trailers.contains("grpc-status: 10\r\n"), "{trailers}");
        // A status in the headers alone comes in the trailer frame like any other.
        let answer = client.send(request(WATCH, BINARY, watch("refuse"))).await;
        assert!(answer.headers.get("grpc-status").is_none());
        let (messages, trailers) = read(&answer);
        assert!(messages.is_empty());
        assert!(trailers.contains("grpc-status: 10\r\n") && trailers.contains("grpc-status-details-bin: "));

        // What is there arrives before the stream goes on.
        let mut body = client.response(request(WATCH, BINARY, watch("silence"))).await.into_body();
        let mut read = Vec::new();
        while frames_in(&read) < 2 {
            read.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
    }
    setup.stop().await;
}

fn frames_in(bytes: &[u8]) -> usize {
    let mut count = 0;
    let mut rest = bytes;
    while let Some((prefix, after)) = rest.split_at_checked(5) {
        let length = u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize;
        let Some((_, after)) = after.split_at_checked(length) else { break };
        (count, rest) = (count + 1, after);
    }
    count
}

#[tokio::test]
async fn a_service_that_goes_away_ends_the_stream_with_a_status() {
    let mut setup = Setup::start().await;
    setup.world.user("alice", &[]);
    let watch = WatchConsentChangesRequest { resume_token: "silence".to_owned(), ..Default::default() };
    let client = Client::one(setup.address);
    let call = client.send(request(WATCH, BINARY, framed(&watch)));
    let (answer, ()) = tokio::join!(call, async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        setup.stop_consent().await;
    });
    let (messages, trailers) = read(&answer);
    assert_eq!(messages.len(), 2);
    assert!(trailers.contains("grpc-status: 14\r\n"), "{trailers}");
    setup.stop().await;
}

#[tokio::test]
async fn a_deadline_becomes_a_trailer() {
    let setup = Setup::start().await;
    setup.world.user("alice", &[]);
    let slow = framed(&GetPurposeRequest { purpose_id: "slow".to_owned(), revision: 0 });
    for client in both(&setup) {
        let mut request = request(GET, BINARY, slow.clone());
        request.headers_mut().insert("grpc-timeout", "200m".parse().unwrap());
        let (_, trailers) = read(&client.send(request).await);
        assert!(trailers.contains("grpc-status: 4\r\n"), "{trailers}");
    }
    setup.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_read_to_its_end() {
    let setup = Setup::start().await;
    let five_mebibytes = vec![0; 5 * 1_024 * 1_024];
    for client in both(&setup) {
        let answer = client.send(request(LIST, BINARY, five_mebibytes.clone())).await;
        let (messages, trailers) = read(&answer);
        assert!(
            messages.is_empty() && trailers.contains("grpc-status: 8\r\n"),
            "{:?} {trailers}",
            client.http
        );
    }
    // Without a length up front it is seen as it comes. The method's own limit is 8 MiB.
    setup.world.user("carol", &[Role::Controller]);
    let mut message = vec![0];
    message.extend_from_slice(&(5_u32 << 20).to_be_bytes());
    message.resize(5 << 20, 7);
    let path = "/portal.consent.v1.PurposeService/CreatePurpose";
    let mut chunked = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {BINARY}\r\n").into_bytes();
    chunked.extend_from_slice(b"authorization: Bearer carol\r\nconnection: close\r\n");
    chunked.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
    chunked.extend_from_slice(format!("{:x}\r\n", message.len()).as_bytes());
    chunked.extend_from_slice(&message);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    let answer = Client::one(setup.address).raw(&chunked).await;
    assert!(answer.contains("grpc-status: 8") && answer.contains("at%20most%204%20MiB"), "{answer}");
    setup.stop().await;
}

#[tokio::test]
async fn an_answer_before_the_body_is_read_arrives() {
    let setup = Setup::start().await;
    // Nobody is signed in, so the service refuses before it reads these 3 MiB.
    for client in [Http::One, Http::Two].map(|http| Client { address: setup.address, http }) {
        let mut body = vec![0];
        body.extend_from_slice(&(3_u32 << 20).to_be_bytes());
        body.resize(5 + (3 << 20), 7);
        let mut request = request("/portal.consent.v1.PurposeService/CreatePurpose", BINARY, body);
        request.headers_mut().remove("authorization");
        let (_, trailers) = read(&client.send(request).await);
        assert!(trailers.contains("grpc-status: 16\r\n"), "{trailers}");
    }
    setup.stop().await;
}

#[tokio::test]
async fn other_types_and_methods_are_refused_in_plain_http() {
    let setup = Setup::start().await;
    for client in both(&setup) {
        for content_type in ["application/grpc-web+json", "text/plain", "application/json"] {
            let answer = client.send(request(LIST, content_type, list())).await;
            assert_eq!((answer.status, answer.reason().as_str()), (415, "CONTENT_TYPE_UNKNOWN"));
        }
        let mut wrong = request(LIST, BINARY, "");
        *wrong.method_mut() = http::Method::PUT;
        let answer = client.send(wrong).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
        let (_, trailers) = read(&client.send(request("/example.Service/Method", BINARY, "")).await);
        assert!(trailers.contains("grpc-status: 12\r\n"));
    }
    let answer = Client::one(setup.address).send(request(LIST, "application/grpc", list())).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "HTTP2_NEEDED"));
    setup.stop().await;
}

#[tokio::test]
async fn health_answers_grpc_web_too() {
    let setup = Setup::start().await;
    let check = framed(&HealthCheckRequest { service: String::new() });
    let answer =
        Client::one(setup.address).send(request("/grpc.health.v1.Health/Check", BINARY, check)).await;
    let (messages, trailers) = read(&answer);
    assert_eq!((messages.len(), trailers.contains("grpc-status: 0\r\n")), (1, true));
    setup.stop().await;
}
