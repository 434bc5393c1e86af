//! Certificates: what is loaded, what is refused, what is reloaded.

use std::time::Duration;

use portal_core::{SystemEntropy, Workload};
use portal_mesh::ca::CaError;
use portal_mesh::identity::IdentityError;
use portal_mesh::{Identity, MeshChannel};
use portal_proto::consent::v1::GetPurposeRequest;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_testkit::TestMesh;
use tonic::Code;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::fixture::Served;

#[tokio::test]
async fn a_certificate_of_another_workload_is_not_taken() {
    let mesh = TestMesh::start().await;
    let result = Identity::load(&mesh.identity(Workload::Auth), Workload::Consent, &mesh.host());
    assert!(matches!(result.err(), Some(IdentityError::OtherWorkload { .. })));
}

#[tokio::test]
async fn an_empty_or_broken_file_is_a_typed_error() {
    let mesh = TestMesh::start().await;
    let files = mesh.identity(Workload::Auth);
    std::fs::write(&files.trust_bundle_file, "").unwrap();
    let result = Identity::load(&files, Workload::Auth, &mesh.host());
    assert!(matches!(result.err(), Some(IdentityError::EmptyBundle)));
    std::fs::write(&files.private_key_file, "x").unwrap();
    let result = Identity::load(&files, Workload::Auth, &mesh.host());
    assert!(matches!(result.err(), Some(IdentityError::Pem(_) | IdentityError::EmptyBundle)));
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_dropping_the_connection() {
    let served = Served::start().await;
    let host = served.mesh.host();
    let files = served.mesh.identity(Workload::Gateway);
    let identity = Identity::load(&files, Workload::Gateway, &host).unwrap();
    let address = served.running.local_addr().to_string();
    let dial = || {
        let channel = MeshChannel::new(identity.clone(), Workload::Consent, &address, &host);
        PurposeServiceClient::new(channel)
    };
    let mut old = dial();
    old.get_purpose(GetPurposeRequest::default()).await.unwrap();

    served.mesh.clock.advance(portal_mesh::ca::MAX_LEAF_LIFE + Duration::from_secs(1));
    let status = dial().get_purpose(GetPurposeRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "both certificates have expired");
    old.get_purpose(GetPurposeRequest::default()).await.unwrap();

    served.renew_in_place();
    let renewed = served.mesh.identity(Workload::Gateway);
    std::fs::copy(&renewed.certificate_file, &files.certificate_file).unwrap();
    std::fs::copy(&renewed.private_key_file, &files.private_key_file).unwrap();
    assert!(identity.reload().unwrap());
    dial().get_purpose(GetPurposeRequest::default()).await.unwrap();
    old.get_purpose(GetPurposeRequest::default()).await.unwrap();
}

#[tokio::test]
async fn leaf_and_root_have_the_form_other_libraries_need() {
    let mesh = TestMesh::start().await;
    let files = mesh.identity(Workload::Gateway);
    let der = |path| {
        let pem = std::fs::read(path).unwrap();
        x509_parser::pem::parse_x509_pem(&pem).unwrap().1.contents
    };
    let (leaf, root) = (der(files.certificate_file), der(files.trust_bundle_file));
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    let (_, root) = X509Certificate::from_der(&root).unwrap();
    const ML_DSA_65: &str = "2.16.840.1.101.3.4.3.18";
    assert_eq!(leaf.signature_algorithm.algorithm.to_id_string(), ML_DSA_65);
    assert_eq!(root.signature_algorithm.algorithm.to_id_string(), ML_DSA_65);
    assert_eq!(leaf.issuer(), root.subject());
    assert_ne!(leaf.subject(), root.subject());
    assert!(root.is_ca() && !leaf.is_ca());
    let ids: Vec<_> = leaf.extensions().iter().map(|extension| extension.oid.to_id_string()).collect();
    assert!(ids.contains(&"2.5.29.35".to_owned()), "authority key identifier: {ids:?}");
    assert!(ids.contains(&"2.5.29.14".to_owned()), "subject key identifier: {ids:?}");
    let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
    assert!(life <= 24 * 3_600 + 60, "{life} s");
}

#[tokio::test]
async fn a_long_life_is_refused() {
    let mesh = TestMesh::start().await;
    let domain = portal_core::TrustDomain::parse("portal.test").unwrap();
    let authority =
        portal_mesh::ca::CertificateAuthority::create(domain, mesh.clock.as_ref(), &SystemEntropy).unwrap();
    for life in [Duration::ZERO, Duration::from_secs(24 * 3_600 + 1)] {
        let issued = authority.issue(Workload::Auth, life, mesh.clock.as_ref(), &SystemEntropy);
        assert!(matches!(issued.err(), Some(CaError::Life)));
    }
}
