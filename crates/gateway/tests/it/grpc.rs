//! gRPC: generated clients and bare frames.

use std::net::Ipv4Addr;

use http::Request;
use http_body_util::Full;
use portal_core::Role;
use portal_mesh::status::reason_of;
use portal_proto::consent::v1::consent_change_service_client::ConsentChangeServiceClient;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_proto::consent::v1::{
    CreatePurposeRequest, GetPurposeRequest, ListPurposesRequest, PublishPurposeRequest, Purpose,
    WatchConsentChangesRequest,
};
use portal_proto::valuation::v1::dataset_service_client::DatasetServiceClient;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request as Rpc};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::client::{Channel, Client, framed};
use crate::fixture::Setup;

pub fn with_token<T>(message: T, token: &str) -> Rpc<T> {
    let mut request = Rpc::new(message);
    request
        .metadata_mut()
        .insert("authorization", MetadataValue::try_from(format!("Bearer {token}")).unwrap());
    request
}

#[tokio::test]
async fn calls_reach_the_service_as_the_user() {
    let setup = Setup::start().await;
    let user = setup.world.user("alice", &[]);
    let mut purposes = PurposeServiceClient::new(Channel::connect(setup.address).await);
    let request = GetPurposeRequest { purpose_id: "p".to_owned(), revision: 3 };
    let purpose = purposes.get_purpose(with_token(request.clone(), "alice")).await.unwrap().into_inner();
    assert_eq!((purpose.purpose_id.as_str(), purpose.revision), ("p", 3));
    assert_eq!(purpose.display_name, user.account.to_string());

    let missing = GetPurposeRequest { purpose_id: "missing".to_owned(), revision: 0 };
    let status = purposes.get_purpose(with_token(missing, "alice")).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::NotFound, Some("GONE")));

    let status = purposes.get_purpose(Rpc::new(request)).await.unwrap_err();
    assert_eq!(
        (status.code(), reason_of(&status).as_deref()),
        (Code::Unauthenticated, Some("TOKEN_MISSING"))
    );
    setup.stop().await;
}

#[tokio::test]
async fn streams_pass_with_their_trailers() {
    let setup = Setup::start().await;
    setup.world.user("alice", &[]);
    let mut changes = ConsentChangeServiceClient::new(Channel::connect(setup.address).await);
    let watch =
        |then: &str| WatchConsentChangesRequest { resume_token: then.to_owned(), ..Default::default() };
    let mut stream =
        changes.watch_consent_changes(with_token(watch("error"), "alice")).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().resume_token, "1");
    assert_eq!(stream.message().await.unwrap().unwrap().resume_token, "2");
    let status = stream.message().await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::Aborted, Some("LOST")));

    // A stream without end ends when the gateway drains, with a status that says to come again.
    let mut open =
        changes.watch_consent_changes(with_token(watch("silence"), "alice")).await.unwrap().into_inner();
    open.message().await.unwrap().unwrap();
    open.message().await.unwrap().unwrap();
    let (ended, ()) = tokio::join!(open.message(), setup.stop());
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn nothing_from_outside_passes_for_the_meshs_own_word() {
    let setup = Setup::start().await;
    let mut purposes = PurposeServiceClient::new(Channel::connect(setup.address).await);
    let mut spoofed = Rpc::new(PublishPurposeRequest::default());
    for (name, value) in [("portal-caller", "workload"), ("portal-token-error", "TOKEN_SCHEME")] {
        spoofed.metadata_mut().insert(name, MetadataValue::from_static(value));
    }
    let status = purposes.publish_purpose(spoofed).await.unwrap_err();
    assert_eq!(
        (status.code(), reason_of(&status).as_deref()),
        (Code::Unauthenticated, Some("TOKEN_MISSING"))
    );

    let mut noisy = Rpc::new(ListPurposesRequest::default());
    noisy.metadata_mut().insert("cookie", MetadataValue::from_static("a=b"));
    noisy.metadata_mut().insert("x-forwarded-for", MetadataValue::from_static("10.0.0.1"));
    noisy.metadata_mut().insert_bin("x-data-bin", MetadataValue::from_bytes(b"x"));
    noisy.metadata_mut().insert("portal-caller", MetadataValue::from_static("workload"));
    noisy.metadata_mut().insert("portal-client-address", MetadataValue::from_static("10.0.0.1"));
    purposes.list_purposes(noisy).await.unwrap();
    let mut seen = setup.world.seen.lock().unwrap().clone();
    seen.sort_unstable();
    assert_eq!(seen, ["content-type", "portal-client-address", "te", "traceparent"]);
    let client = *setup.world.client.lock().unwrap();
    assert_eq!(client, Some(Ipv4Addr::LOCALHOST.into()), "the connection's, whatever is said");
    setup.stop().await;
}

#[tokio::test]
async fn large_messages_pass_and_bad_ones_are_the_services_to_refuse() {
    let setup = Setup::start().await;
    setup.world.user("carol", &[Role::Controller]);
    let client = Channel::connect(setup.address).await;
    let mut purposes = PurposeServiceClient::new(client).max_decoding_message_size(usize::MAX);
    let purpose = Purpose { description: "x".repeat(1_000_000), ..Purpose::default() };
    let request = CreatePurposeRequest { purpose: Some(purpose.clone()), request_id: String::new() };
    let created = purposes.create_purpose(with_token(request, "carol")).await.unwrap().into_inner();
    assert_eq!(created, purpose);

    let request = |body: Vec<u8>| {
        Request::builder()
            .method("POST")
            .uri("/portal.consent.v1.PurposeService/ListPurposes")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::from(body))
            .unwrap()
    };
    let client = Client::two(setup.address);
    let answer = client.send(request(vec![0, 0, 0, 0, 2, 0xff, 0xff])).await;
    let status = answer.headers.get("grpc-status").or_else(|| answer.trailers.get("grpc-status"));
    assert_eq!(answer.status, 200);
    assert_ne!(status.unwrap(), "0");
    let answer = client.send(request(framed(&ListPurposesRequest::default()))).await;
    assert_eq!(answer.trailers["grpc-status"], "0");
    setup.stop().await;
}

#[tokio::test]
async fn what_is_not_there_or_not_up_has_a_status() {
    let mut setup = Setup::start().await;
    let channel = Channel::connect(setup.address).await;
    let unknown = Request::builder()
        .method("POST")
        .uri("/example.Service/Method")
        .header("content-type", "application/grpc")
        .body(Full::default())
        .unwrap();
    let answer = Client::two(setup.address).send(unknown).await;
    assert_eq!((answer.status, answer.header("grpc-status")), (200, "12"));

    let status = DatasetServiceClient::new(channel.clone()).list_datasets(Rpc::new(Default::default())).await;
    let status = status.unwrap_err();
    assert_eq!(reason_of(&status).as_deref(), Some("UPSTREAM_UNAVAILABLE"));

    setup.stop_consent().await;
    let status =
        PurposeServiceClient::new(channel).list_purposes(Rpc::new(Default::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    setup.stop().await;
}

#[tokio::test]
async fn a_deadline_is_kept_and_a_bad_one_refused() {
    let setup = Setup::start().await;
    setup.world.user("alice", &[]);
    let mut purposes = PurposeServiceClient::new(Channel::connect(setup.address).await);
    let slow = GetPurposeRequest { purpose_id: "slow".to_owned(), revision: 0 };
    let mut request = with_token(slow, "alice");
    request.metadata_mut().insert("grpc-timeout", MetadataValue::from_static("300m"));
    let status = purposes.get_purpose(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);

    let mut request = Rpc::new(ListPurposesRequest::default());
    request.metadata_mut().insert("grpc-timeout", MetadataValue::from_static("soon"));
    let status = purposes.list_purposes(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    setup.stop().await;
}

#[tokio::test]
async fn health_tells_of_the_services_and_reflection_of_their_methods() {
    let setup = Setup::start().await;
    let channel = Channel::connect(setup.address).await;
    let mut health = HealthClient::new(channel.clone());
    let mut status_of = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        health.check(request).await.map(|answer| answer.into_inner().status)
    };
    for _ in 0..100 {
        if status_of("consent").await.is_ok_and(|status| status == 1) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(status_of("portal.consent.v1.PurposeService").await.unwrap(), 1);
    // Valuation is not there, so the whole is not up.
    assert_eq!(status_of("valuation").await.unwrap(), 2);
    assert_eq!(status_of("").await.unwrap(), 2);
    assert_eq!(status_of("example.Unknown").await.unwrap_err().code(), Code::NotFound);

    use tonic_reflection::pb::{v1, v1alpha};
    let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut reflection = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let mut answers =
        reflection.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!()
    };
    assert!(list.service.iter().any(|service| service.name == "portal.consent.v1.PurposeService"));

    let symbol = "portal.auth.v1.TokenService".to_owned();
    let symbol = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(symbol);
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(symbol) };
    let mut reflection = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let mut answers =
        reflection.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(files) = answer else {
        panic!()
    };
    assert!(!files.file_descriptor_proto.is_empty());
    setup.stop().await;
}
