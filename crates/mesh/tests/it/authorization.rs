//! Policies of an operator, from a folder, on calls that really come.

use std::path::PathBuf;

use portal_core::{Role, Scope, Workload};
use portal_mesh::config::AuthorizationConfig;
use portal_mesh::status::reason_of;
use portal_mesh::{Authorization, Metrics};
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_proto::consent::v1::{ArchivePurposeRequest, CreatePurposeRequest, GetPurposeRequest, Purpose};
use portal_proto::google::rpc;
use portal_testkit::{TestMesh, TestUser};
use prost::Message;
use tonic::{Code, Request, Response, Status};

use crate::fixture::Served;

/// Portal's policies, and those of a folder.
async fn served(policies: &str) -> Served {
    let mesh = TestMesh::start().await;
    let folder = mesh.path("policies");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("house.cedar"), policies).unwrap();
    std::fs::write(folder.join("README"), "not a policy").unwrap();
    Served::under(mesh, AuthorizationConfig { policies: Some(folder) }).await
}

async fn create(served: &Served, user: &TestUser, from: &str) -> Result<Response<Purpose>, Status> {
    let gateway = served.channel(Workload::Gateway);
    let mut request = Request::new(CreatePurposeRequest::default());
    request.metadata_mut().insert("portal-client-address", from.parse().unwrap());
    PurposeServiceClient::new(served.mesh.call_as(user, Workload::Consent, &gateway))
        .create_purpose(request)
        .await
}

/// The reason of a refusal, and the policy that it names.
fn refused(status: &Status) -> (Code, String, Option<String>) {
    let details = rpc::Status::decode(status.details()).unwrap().details;
    let info = rpc::ErrorInfo::decode(details[0].value.as_slice()).unwrap();
    (status.code(), info.reason, info.metadata.get("policy").cloned())
}

#[tokio::test]
async fn a_forbid_holds_and_is_told_counted_and_looks_at_each_call() {
    let served = served(
        r#"@id("house.office")
        forbid (principal, action in Portal::Action::"terms.write", resource)
        unless { context has address && context.address.isInRange(ip("10.0.0.0/8")) };"#,
    )
    .await;
    let controller = TestUser::with_roles(&[Role::Controller]);
    create(&served, &controller, "10.1.2.3").await.unwrap();
    let status = create(&served, &controller, "192.0.2.1").await.unwrap_err();
    let denied = (Code::PermissionDenied, "POLICY_DENIED".to_owned(), Some("house.office".to_owned()));
    assert_eq!(refused(&status), denied);
    assert!(!status.message().contains("192.0.2.1"));
    create(&served, &controller, "::ffff:10.1.2.3").await.unwrap();
    assert_eq!(served.calls(), 2);

    let metrics = served.metrics.encode().unwrap();
    for line in [
        r#"portal_authorization_decisions_total{decision="everybody",policy="portal.terms.write"} 2"#,
        r#"portal_authorization_decisions_total{decision="refused",policy="house.office"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_permit_widens_but_not_what_an_oauth_client_was_given() {
    let narrow =
        served(r#"@id("house.nothing") forbid (principal, action in Portal::Action::"keys", resource);"#)
            .await;
    let officer = TestUser::with_roles(&[Role::Officer]);
    let status = create(&narrow, &officer, "10.0.0.1").await.unwrap_err();
    assert_eq!(refused(&status), (Code::PermissionDenied, "ROLE_NOT_ALLOWED".to_owned(), None));

    let wide = served(
        r#"@id("house.officers-write") permit (
            principal in Portal::Role::"officer", action in Portal::Action::"terms.write",
            resource == Portal::Records::"everybody");"#,
    )
    .await;
    create(&wide, &officer, "10.0.0.1").await.unwrap();
    let client = officer.through_client(&Scope::ALL);
    let status = create(&wide, &client, "10.0.0.1").await.unwrap_err();
    assert_eq!(refused(&status), (Code::PermissionDenied, "SCOPE_MISSING".to_owned(), None));
}

#[tokio::test]
async fn a_forbid_that_fails_refuses() {
    let served = served(
        r#"@id("house.overflows")
        forbid (principal, action in Portal::Action::"terms.write", resource)
        when { context has proof && (context.proof.age + 1) * 9223372036854775807 > 9 && context.proof.age > 999999 };"#,
    )
    .await;
    let controller = TestUser::with_roles(&[Role::Controller]);
    // In the moment of the sign-in nothing overflows, and it does not forbid.
    create(&served, &controller, "10.0.0.1").await.unwrap();
    let gateway = served.channel(Workload::Gateway);
    let mut client = PurposeServiceClient::new(served.mesh.call_as(&controller, Workload::Consent, &gateway));
    served.mesh.clock.advance(std::time::Duration::from_secs(60));
    let status = client.create_purpose(CreatePurposeRequest::default()).await.unwrap_err();
    let denied = (Code::PermissionDenied, "POLICY_DENIED".to_owned(), Some("house.overflows".to_owned()));
    assert_eq!(refused(&status), denied);
    let failed = r#"portal_authorization_decisions_total{decision="failed",policy="house.overflows"} 1"#;
    assert!(served.metrics.encode().unwrap().contains(failed));
}

#[tokio::test]
async fn a_process_is_not_let_in_by_a_permit_for_everybody() {
    let served = served(r#"@id("house.open") permit (principal, action, resource);"#).await;
    let own = PurposeServiceClient::new(served.channel(Workload::Auth).as_workload());
    let status = own.clone().archive_purpose(ArchivePurposeRequest::default()).await.unwrap_err();
    assert_eq!(reason_of(&status).as_deref(), Some("WORKLOAD_NOT_ALLOWED"));
    let nobody = PurposeServiceClient::new(served.channel(Workload::Gateway));
    let status = nobody.clone().get_purpose(GetPurposeRequest::default()).await.unwrap_err();
    assert_eq!(reason_of(&status).as_deref(), Some("TOKEN_MISSING"));
}

#[test]
fn a_folder_that_cant_be_used_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let load = |policies: PathBuf| {
        let loaded =
            Authorization::load(&AuthorizationConfig { policies: Some(policies) }, &Metrics::default());
        loaded.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let missing = load(directory.path().join("missing"));
    assert!(
        missing.starts_with("authorization.policies: ") && missing.contains("can't be read"),
        "{missing}"
    );
    let empty = load(directory.path().to_owned());
    assert!(empty.contains("holds no file that ends with .cedar"), "{empty}");
    let file = directory.path().join("house.cedar");
    std::fs::write(
        &file,
        "// one\n@id(\"a\") permit (principal, action in Portal::Action::\"keyz\", resource);",
    )
    .unwrap();
    let wrong = load(directory.path().to_owned());
    assert!(wrong.contains(&format!("{}:2: ", file.display())) && wrong.contains("keyz"), "{wrong}");
    std::fs::write(&file, "@id(\"a\") permit (principal, action in Portal::Action::\"keys\", resource);")
        .unwrap();
    assert_eq!(load(directory.path().to_owned()), "");
    std::fs::write(directory.path().join("bytes.cedar"), b"\xff").unwrap();
    assert!(load(directory.path().to_owned()).contains("bytes.cedar can't be read"));
}
