//! Calls on a good connection: policy, tokens, deadlines, traces, sizes, health, drain.

use std::time::Duration;

use portal_core::{Acr, Assurance, Clock, Role, Scope, Workload};
use portal_mesh::status::reason_of;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_proto::consent::v1::{
    ArchivePurposeRequest, CreatePurposeRequest, GetPurposeRequest, ListPurposeRevisionsRequest,
    ListPurposesRequest, PublishPurposeRequest, Purpose,
};
use portal_proto::google::rpc;
use portal_testkit::TestUser;
use prost::Message;
use tonic::{Code, Request, Status};

use crate::fixture::{SECOND, Served};

fn refused(status: &Status) -> (Code, String) {
    (status.code(), reason_of(status).unwrap_or_default())
}

#[tokio::test]
async fn roles_decide_and_the_token_proves_them() {
    let served = Served::start().await;
    let gateway = served.channel(Workload::Gateway);
    let as_user =
        |user: &TestUser, audience| PurposeServiceClient::new(served.mesh.call_as(user, audience, &gateway));
    let (controller, subject) = (TestUser::with_roles(&[Role::Controller]), TestUser::subject());

    let created =
        as_user(&controller, Workload::Consent).create_purpose(CreatePurposeRequest::default()).await;
    assert!(created.is_ok(), "{created:?}");
    let status = as_user(&subject, Workload::Consent)
        .create_purpose(CreatePurposeRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused(&status), (Code::PermissionDenied, "ROLE_NOT_ALLOWED".to_owned()));
    let status = as_user(&controller, Workload::Valuation)
        .create_purpose(CreatePurposeRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused(&status), (Code::Unauthenticated, "TOKEN_INVALID".to_owned()));
    let status =
        PurposeServiceClient::new(gateway).create_purpose(CreatePurposeRequest::default()).await.unwrap_err();
    assert_eq!(refused(&status), (Code::Unauthenticated, "TOKEN_MISSING".to_owned()));
    assert_eq!(served.calls(), 1);
}

#[tokio::test]
async fn a_client_may_what_its_scopes_and_its_person_may() {
    let served = Served::start().await;
    let gateway = served.channel(Workload::Gateway);
    let client =
        |user: &TestUser| PurposeServiceClient::new(served.mesh.call_as(user, Workload::Consent, &gateway));
    let controller = || TestUser::with_roles(&[Role::Controller]);
    let recording = [Scope::ConsentRecord, Scope::OpenId];
    for allowed in [controller().through_client(&recording), TestUser::client(&recording)] {
        let created = client(&allowed).create_purpose(CreatePurposeRequest::default()).await;
        assert!(created.is_ok(), "{created:?}");
    }
    let others = [Scope::ConsentRead, Scope::OfflineAccess, Scope::OpenId];
    for (user, reason) in [
        (TestUser::subject().through_client(&recording), "ROLE_NOT_ALLOWED"),
        (controller().through_client(&others), "SCOPE_MISSING"),
        (controller().through_client(&[]), "SCOPE_MISSING"),
        (TestUser::client(&others), "SCOPE_MISSING"),
    ] {
        let status = client(&user).create_purpose(CreatePurposeRequest::default()).await.unwrap_err();
        assert_eq!(refused(&status), (Code::PermissionDenied, reason.to_owned()), "{user:?}");
        // A method without scopes is no client's, unless it is everybody's.
        let status = client(&user).list_purposes(ListPurposesRequest::default()).await.unwrap_err();
        assert_eq!(refused(&status), (Code::PermissionDenied, "SCOPE_MISSING".to_owned()), "{user:?}");
        client(&user).get_purpose(GetPurposeRequest::default()).await.unwrap();
    }
    assert_eq!(served.calls(), 6);
}

#[tokio::test]
async fn a_token_expires() {
    let served = Served::start().await;
    let controller = TestUser::with_roles(&[Role::Controller]);
    let channel = served.mesh.call_as(&controller, Workload::Consent, &served.channel(Workload::Gateway));
    let mut client = PurposeServiceClient::new(channel);
    client.create_purpose(CreatePurposeRequest::default()).await.unwrap();
    served.mesh.clock.advance(Duration::from_secs(300));
    let status = client.create_purpose(CreatePurposeRequest::default()).await.unwrap_err();
    assert_eq!(refused(&status), (Code::Unauthenticated, "TOKEN_INVALID".to_owned()));
}

/// What an error asks for: which ways to sign in, and how long ago at most.
fn asked(status: &Status) -> (String, String) {
    let details = rpc::Status::decode(status.details()).unwrap().details;
    let info = rpc::ErrorInfo::decode(details[0].value.as_slice()).unwrap();
    (info.metadata["acr_values"].clone(), info.metadata["max_age"].clone())
}

#[tokio::test]
async fn a_sensitive_method_wants_a_fresh_proof_by_all_that_the_person_has() {
    let served = Served::start().await;
    let controller = TestUser::with_roles(&[Role::Controller]);
    let now = served.mesh.clock.now();
    let call = async |user: &TestUser, assurance| {
        let life = Duration::from_secs(240);
        let token = served.mesh.token_saying(user, Workload::Consent, life, assurance);
        let mut request = Request::new(ListPurposeRevisionsRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        PurposeServiceClient::new(served.channel(Workload::Gateway)).list_purpose_revisions(request).await
    };
    let said = |acr, seconds, has_second_factor| {
        let authenticated_at = now.minus(Duration::from_secs(seconds));
        Some(Assurance { acr, authenticated_at, has_second_factor })
    };
    for enough in [said(Acr::Password, 900, false), said(Acr::Mfa, 900, true), said(Acr::Passkey, 0, true)] {
        call(&controller, enough).await.unwrap();
    }
    let (any, multi) = ("passkey mfa pwd", "passkey mfa");
    for (too_little, ways) in [
        (said(Acr::Password, 901, false), any),
        (said(Acr::Mfa, 901, true), multi),
        (said(Acr::Password, 0, true), multi),
        // A token of an earlier version: nothing is known, so nothing is enough.
        (None, multi),
    ] {
        let status = call(&controller, too_little).await.unwrap_err();
        assert_eq!(
            refused(&status),
            (Code::Unauthenticated, "STEP_UP_REQUIRED".to_owned()),
            "{too_little:?}"
        );
        assert_eq!(asked(&status), (ways.to_owned(), "900".to_owned()), "{too_little:?}");
    }
    // Who may not call at all is not asked to prove anything.
    let status = call(&TestUser::subject(), None).await.unwrap_err();
    assert_eq!(refused(&status), (Code::PermissionDenied, "ROLE_NOT_ALLOWED".to_owned()));
    assert_eq!(served.calls(), 3);
    let workload = served.channel(Workload::Valuation).as_workload();
    let request = ListPurposeRevisionsRequest::default();
    PurposeServiceClient::new(workload).list_purpose_revisions(request).await.unwrap();
}

#[tokio::test]
async fn a_token_is_taken_from_the_gateway_only() {
    let served = Served::start().await;
    let controller = TestUser::with_roles(&[Role::Controller]);
    let stolen = served.mesh.call_as(&controller, Workload::Consent, &served.channel(Workload::Valuation));
    let status =
        PurposeServiceClient::new(stolen).create_purpose(CreatePurposeRequest::default()).await.unwrap_err();
    assert_eq!(refused(&status), (Code::PermissionDenied, "WORKLOAD_NOT_ALLOWED".to_owned()));
    assert_eq!(served.calls(), 0);
}

#[tokio::test]
async fn a_workload_calls_what_its_row_allows() {
    let served = Served::start().await;
    let valuation = served.channel(Workload::Valuation).as_workload();
    PurposeServiceClient::new(valuation).get_purpose(GetPurposeRequest::default()).await.unwrap();
    for workload in [Workload::Auth, Workload::Gateway] {
        let channel = served.channel(workload).as_workload();
        let status =
            PurposeServiceClient::new(channel).get_purpose(GetPurposeRequest::default()).await.unwrap_err();
        let expected = (Code::PermissionDenied, "WORKLOAD_NOT_ALLOWED".to_owned());
        assert_eq!(refused(&status), expected, "{workload}");
    }
    assert_eq!(served.calls(), 1);
}

#[tokio::test]
async fn without_a_row_there_is_no_answer() {
    let served = Served::start().await;
    let controller = TestUser::with_roles(&Role::ALL);
    let channel = served.mesh.call_as(&controller, Workload::Consent, &served.channel(Workload::Gateway));
    let mut client = PurposeServiceClient::new(channel);
    let status = client.publish_purpose(PublishPurposeRequest::default()).await.unwrap_err();
    assert_eq!(refused(&status), (Code::PermissionDenied, "NO_POLICY".to_owned()));
    let status = client.archive_purpose(ArchivePurposeRequest::default()).await.unwrap_err();
    assert_eq!(
        refused(&status),
        (Code::PermissionDenied, "NO_POLICY".to_owned()),
        "a permit for another method"
    );
    assert_eq!(served.calls(), 0);
}

#[tokio::test]
async fn a_message_over_the_row_s_limit_is_refused() {
    let served = Served::start().await;
    let controller = TestUser::with_roles(&[Role::Controller]);
    let channel = served.mesh.call_as(&controller, Workload::Consent, &served.channel(Workload::Gateway));
    let purpose = Purpose { description: "x".repeat(1_000), ..Purpose::default() };
    let request = CreatePurposeRequest { purpose: Some(purpose), ..CreatePurposeRequest::default() };
    let status = PurposeServiceClient::new(channel).create_purpose(request).await.unwrap_err();
    assert_eq!(refused(&status), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".to_owned()));
    assert_eq!(served.calls(), 0);
}

#[tokio::test]
async fn the_sooner_of_two_deadlines_ends_a_call() {
    let served = Served::start().await;
    let subject = TestUser::subject();
    let channel = served.mesh.call_as(&subject, Workload::Consent, &served.channel(Workload::Gateway));
    let mut client = PurposeServiceClient::new(channel);
    // The row allows one second, the caller asks for none: the server ends it.
    let status = client.list_purposes(ListPurposesRequest::default()).await.unwrap_err();
    assert_eq!(refused(&status), (Code::DeadlineExceeded, "DEADLINE".to_owned()));
    let mut request = Request::new(ListPurposesRequest::default());
    request.set_timeout(Duration::from_millis(50));
    let status = client.list_purposes(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn deadline_and_trace_cross_the_hop() {
    let served = Served::start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut request = Request::new(GetPurposeRequest::default());
    request.set_timeout(SECOND);
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    let mut client = PurposeServiceClient::new(served.channel(Workload::Gateway));
    let purpose = client.get_purpose(request).await.unwrap().into_inner();
    assert_eq!(purpose.display_name, trace);
    let left = Duration::from_micros(u64::try_from(purpose.revision).unwrap());
    assert!(left < SECOND && left > Duration::ZERO, "{left:?} is left");
}

#[tokio::test]
async fn health_answers_every_workload_and_no_one_else() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    let served = Served::start().await;
    let channel = served.channel(Workload::Valuation).as_workload();
    let reply = HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(reply.status, 1);
    let as_end_user = served.channel(Workload::Gateway);
    let status = HealthClient::new(as_end_user).check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_channel_connects_again_after_the_server_came_back() {
    let served = Served::start().await;
    let mut client = PurposeServiceClient::new(served.channel(Workload::Gateway));
    client.get_purpose(GetPurposeRequest::default()).await.unwrap();
    let address = served.running.local_addr();
    served.running.stop().await;
    let status = client.get_purpose(GetPurposeRequest::default()).await.unwrap_err();
    assert_eq!(refused(&status), (Code::Unavailable, "UPSTREAM_UNAVAILABLE".to_owned()));

    let again = Served::restart(served.mesh, served.fixture, address).await;
    client.get_purpose(GetPurposeRequest::default()).await.unwrap();
    assert_eq!(again.calls(), 2);
}

#[tokio::test]
async fn a_drain_lets_the_call_under_way_finish() {
    let served = Served::start().await;
    let subject = TestUser::subject();
    let channel = served.mesh.call_as(&subject, Workload::Consent, &served.channel(Workload::Gateway));
    let mut calls = tokio::task::JoinSet::new();
    calls.spawn(async move {
        PurposeServiceClient::new(channel).list_purposes(ListPurposesRequest::default()).await
    });
    while served.calls() == 0 {
        tokio::task::yield_now().await;
    }
    served.running.stop().await;
    // It ran into its own deadline, not into a closed connection.
    let status = calls.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(refused(&status), (Code::DeadlineExceeded, "DEADLINE".to_owned()));
}
