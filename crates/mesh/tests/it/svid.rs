//! The rules of X.509-SVIDs (SPIFFE X509-SVID): each bad certificate is signed by the mesh's own root, differs from a good one
//! in one thing, and is refused by a server, by a client, and by a process that is to use it as its own.

use std::sync::Arc;
use std::time::Duration;

use portal_core::{Clock, TrustDomain, Workload};
use portal_crypto::sign::SigningKey;
use portal_mesh::ca::{CertificateAuthority, Issued};
use portal_mesh::config::IdentityConfig;
use portal_mesh::identity::IdentityError;
use portal_mesh::{Identity, MeshChannel, SvidError};
use portal_proto::consent::v1::GetPurposeRequest;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_testkit::TestMesh;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ML_DSA_65, PublicKeyData, SanType, SignatureAlgorithm,
};
use rustls::crypto::aws_lc_rs::kx_group;

use crate::fixture::Served;
use crate::refusals::{client, connect, issue, mesh_identity};

const ID: &str = "spiffe://portal.test/gateway";

/// The root's key, for rcgen.
struct RootKey(SigningKey);

impl PublicKeyData for RootKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.verifying_key().as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ML_DSA_65
    }
}

impl rcgen::SigningKey for RootKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).unwrap())
    }
}

fn uri(id: &str) -> SanType {
    SanType::URI(id.try_into().unwrap())
}

/// What the authority of the mesh puts into a leaf.
fn good(clock: &dyn Clock) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "a leaf");
    params.subject_alt_names = vec![uri(ID)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let now = std::time::UNIX_EPOCH + Duration::from_secs(clock.now().as_seconds().try_into().unwrap());
    params.not_before = (now - Duration::from_secs(60)).into();
    params.not_after = (now + Duration::from_secs(3_600)).into();
    params
}

/// A leaf signed by `authority`.
fn sign(authority: &CertificateAuthority, params: &CertificateParams) -> Issued {
    let der = pem::parse(authority.private_key_pem()).unwrap().into_contents();
    let key = RootKey(SigningKey::from_pkcs8(&der).unwrap());
    let issuer = Issuer::from_ca_cert_pem(authority.certificate_pem(), key).unwrap();
    let own = KeyPair::generate_for(&PKCS_ML_DSA_65).unwrap();
    Issued {
        certificate_pem: params.signed_by(&own, &issuer).unwrap().pem(),
        private_key_pem: own.serialize_pem().into(),
    }
}

/// `issued` in files, beside the mesh's bundle.
fn files(mesh: &TestMesh, issued: &Issued) -> IdentityConfig {
    let files = mesh.identity(Workload::Gateway);
    std::fs::write(&files.certificate_file, &issued.certificate_pem).unwrap();
    std::fs::write(&files.private_key_file, issued.private_key_pem.as_bytes()).unwrap();
    files
}

type Change = fn(&mut CertificateParams);

/// What is wrong, how a certificate gets so, and what is said of it.
fn table() -> Vec<(&'static str, Change, SvidError)> {
    use SvidError::{Authority, ExtendedKeyUsage, KeyUsage, Names, Stranger};
    macro_rules! id {
        ($id:literal) => {{
            let change: Change = |params| params.subject_alt_names = vec![uri($id)];
            ($id, change, Stranger)
        }};
    }
    vec![
        ("no name", |params| params.subject_alt_names.clear(), Names),
        (
            "a DNS name alone",
            |params| params.subject_alt_names = vec![SanType::DnsName("gateway".try_into().unwrap())],
            Names,
        ),
        ("two SPIFFE ids", |params| params.subject_alt_names.push(uri("spiffe://portal.test/auth")), Names),
        ("the same SPIFFE id twice", |params| params.subject_alt_names.push(uri(ID)), Names),
        (
            "another URI beside it",
            |params| params.subject_alt_names.push(uri("https://portal.test/gateway")),
            Names,
        ),
        id!("https://portal.test/gateway"),
        id!("spiffe://other.test/gateway"),
        id!("spiffe://portal.test.evil/gateway"),
        id!("spiffe://portal.test"),
        id!("spiffe://portal.test/"),
        id!("spiffe://portal.test/gateway/"),
        id!("spiffe://portal.test//gateway"),
        id!("spiffe://portal.test/./gateway"),
        id!("spiffe://portal.test/x/../gateway"),
        id!("spiffe://portal.test/gateway?a=b"),
        id!("spiffe://portal.test/gateway#a"),
        id!("spiffe://portal.test:443/gateway"),
        id!("spiffe://someone@portal.test/gateway"),
        id!("spiffe://portal.test/%67ateway"),
        id!("spiffe://portal.test/Gateway"),
        id!("SPIFFE://portal.test/gateway"),
        ("an authority", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)), Authority),
        ("no key usage", |params| params.key_usages.clear(), KeyUsage),
        ("no digital signature", |params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement], KeyUsage),
        ("it may sign certificates", |params| params.key_usages.push(KeyUsagePurpose::KeyCertSign), KeyUsage),
        ("it may sign revocations", |params| params.key_usages.push(KeyUsagePurpose::CrlSign), KeyUsage),
        (
            "a key usage that is not critical",
            |params| {
                params.key_usages.clear();
                // BIT STRING, seven bits unused, digitalSignature.
                let usage = CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![3, 2, 7, 0x80]);
                params.custom_extensions = vec![usage];
            },
            KeyUsage,
        ),
        (
            "for servers only",
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            ExtendedKeyUsage,
        ),
        (
            "for clients only",
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            ExtendedKeyUsage,
        ),
    ]
}

#[tokio::test]
async fn a_server_refuses_each_bad_certificate() {
    let served = Served::start().await;
    let clock = served.mesh.clock.as_ref();
    let dial = async |params: &CertificateParams| {
        let issued = sign(served.mesh.authority(), params);
        connect(&served, client(vec![kx_group::X25519MLKEM768], Some(&issued))).await
    };
    dial(&good(clock)).await.expect("the certificate that the bad ones are made of is good");
    for (wrong, change, _) in table() {
        let mut params = good(clock);
        change(&mut params);
        let refused = dial(&params).await;
        assert!(refused.is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_client_refuses_each_bad_certificate() {
    use rustls::ServerConfig;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let mesh = TestMesh::start().await;
    let serve = async |params: &CertificateParams| {
        let issued = sign(mesh.authority(), params);
        let chain = vec![CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(issued.private_key_pem.as_bytes()).unwrap();
        let provider = rustls::crypto::CryptoProvider {
            kx_groups: vec![kx_group::X25519MLKEM768],
            ..rustls::crypto::aws_lc_rs::default_provider()
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = async {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(tcp).await.map(drop)
        };
        // The one that it means to reach is the gateway, which has no service: only the handshake matters.
        let channel = mesh.channel(Workload::Auth, Workload::Gateway, address);
        let mut purposes = PurposeServiceClient::new(channel);
        let (accepted, called) = tokio::join!(accepting, purposes.get_purpose(GetPurposeRequest::default()));
        called.unwrap_err();
        accepted
    };
    serve(&good(mesh.clock.as_ref())).await.expect("the certificate that the bad ones are made of is good");
    for (wrong, change, _) in table() {
        let mut params = good(mesh.clock.as_ref());
        change(&mut params);
        let refused = serve(&params).await;
        assert!(refused.is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_process_does_not_start_with_a_bad_certificate() {
    let mesh = TestMesh::start().await;
    let load = |params: &CertificateParams| {
        let files = files(&mesh, &sign(mesh.authority(), params));
        Identity::load(&files, Workload::Gateway, &mesh.host()).err()
    };
    assert!(load(&good(mesh.clock.as_ref())).is_none());
    for (wrong, change, expected) in table() {
        let mut params = good(mesh.clock.as_ref());
        change(&mut params);
        match load(&params) {
            Some(IdentityError::Svid(error)) => assert_eq!(error, expected, "{wrong}"),
            Some(IdentityError::OtherWorkload { .. }) => assert_eq!(expected, SvidError::Stranger, "{wrong}"),
            other => panic!("{wrong}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_bundle_has_roots_of_its_own_trust_domain_only() {
    let mesh = TestMesh::start().await;
    let (other, _) = issue("other.test", mesh.clock.as_ref());
    let load = |bundle: &str| {
        let files = mesh.identity(Workload::Consent);
        std::fs::write(&files.trust_bundle_file, bundle).unwrap();
        Identity::load(&files, Workload::Consent, &mesh.host()).err()
    };
    let ours = mesh.authority().certificate_pem();
    let mixed = format!("{ours}\n{}", other.certificate_pem());
    assert!(matches!(load(&mixed), Some(IdentityError::Root(SvidError::ForeignRoot))));
    // Another root of the same trust domain, as there is while roots rotate.
    let (next, _) = issue("portal.test", mesh.clock.as_ref());
    assert!(load(&format!("{ours}\n{}", next.certificate_pem())).is_none());

    let root = |change: Change| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        change(&mut params);
        let key = KeyPair::generate_for(&PKCS_ML_DSA_65).unwrap();
        load(&format!("{ours}\n{}", params.self_signed(&key).unwrap().pem()))
    };
    assert!(root(|_| {}).is_none(), "a root need not have an id");
    assert!(root(|params| params.subject_alt_names = vec![uri("spiffe://portal.test")]).is_none());
    let bad: [(Change, SvidError); 5] = [
        (|params| params.subject_alt_names = vec![uri("spiffe://portal.test/ca")], SvidError::ForeignRoot),
        (|params| params.subject_alt_names = vec![uri("spiffe://portal.test/")], SvidError::ForeignRoot),
        (
            |params| {
                params.subject_alt_names = vec![uri("spiffe://portal.test"), uri("spiffe://other.test")];
            },
            SvidError::Names,
        ),
        (|params| params.is_ca = IsCa::ExplicitNoCa, SvidError::Authority),
        (|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature], SvidError::KeyUsage),
    ];
    for (change, expected) in bad {
        match root(change) {
            Some(IdentityError::Root(error)) => assert_eq!(error, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

/// What comes between a root and a leaf is held to the rules as well, by both sides of a connection and by a process, whether the path to the
/// root needs it or not.
#[tokio::test]
async fn what_comes_with_a_leaf_keeps_the_rules() {
    let served = Served::start().await;
    let mesh = &served.mesh;
    let beside = |change: Change| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.subject_alt_names = vec![uri("spiffe://portal.test")];
        change(&mut params);
        let other = params.self_signed(&KeyPair::generate_for(&PKCS_ML_DSA_65).unwrap()).unwrap().pem();
        let leaf = sign(mesh.authority(), &good(mesh.clock.as_ref()));
        Issued { certificate_pem: format!("{}\n{other}", leaf.certificate_pem), ..leaf }
    };
    let dial =
        async |issued: &Issued| connect(&served, client(vec![kx_group::X25519MLKEM768], Some(issued))).await;
    let load = |issued: &Issued| Identity::load(&files(mesh, issued), Workload::Gateway, &mesh.host()).err();
    let sound = beside(|_| {});
    dial(&sound).await.expect("the chain that the bad ones are made of is good");
    assert!(load(&sound).is_none());
    let bad: [(Change, SvidError); 4] = [
        (|params| params.subject_alt_names = vec![uri("spiffe://other.test")], SvidError::ForeignRoot),
        (|params| params.subject_alt_names = vec![uri("spiffe://portal.test/ca")], SvidError::ForeignRoot),
        (|params| params.is_ca = IsCa::ExplicitNoCa, SvidError::Authority),
        (|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature], SvidError::KeyUsage),
    ];
    for (change, expected) in bad {
        let issued = beside(change);
        assert!(dial(&issued).await.is_err(), "{expected}");
        match load(&issued) {
            Some(IdentityError::Svid(error)) => assert_eq!(error, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_now_is_not_taken_up() {
    let served = Served::start().await;
    let mesh = &served.mesh;
    let own = files(mesh, &mesh_identity(&served, Workload::Gateway));
    let identity = Identity::load(&own, Workload::Gateway, &mesh.host()).unwrap();
    let address = served.running.local_addr().to_string();
    let clock = Arc::clone(&mesh.clock) as Arc<dyn Clock>;
    let shift = |params: &mut CertificateParams, seconds: i64| {
        let by = Duration::from_secs(seconds.unsigned_abs());
        let (from, to) = (params.not_before, params.not_after);
        (params.not_before, params.not_after) =
            if seconds < 0 { (from - by, to - by) } else { (from + by, to + by) };
    };
    for seconds in [-7_200, 7_200] {
        let mut params = good(mesh.clock.as_ref());
        shift(&mut params, seconds);
        let issued = sign(mesh.authority(), &params);
        std::fs::write(&own.certificate_file, &issued.certificate_pem).unwrap();
        std::fs::write(&own.private_key_file, issued.private_key_pem.as_bytes()).unwrap();
        assert!(matches!(identity.reload(), Err(IdentityError::Time(_))), "{seconds}");
        assert!(matches!(
            Identity::problems(&own, Workload::Gateway, &clock).as_slice(),
            [IdentityError::Time(_)]
        ));
        let channel = MeshChannel::new(Arc::clone(&identity), Workload::Consent, &address, &mesh.host());
        PurposeServiceClient::new(channel).get_purpose(GetPurposeRequest::default()).await.unwrap();
    }
}

#[test]
fn what_the_authority_issues_keeps_every_rule() {
    use x509_parser::prelude::FromDer;
    let clock = portal_core::SystemClock;
    let (authority, issued) = issue("portal.test", &clock);
    let parse = |text: &str| pem::parse(text).unwrap().into_contents();
    let (leaf, root) = (parse(&issued.certificate_pem), parse(authority.certificate_pem()));
    let (_, leaf) = x509_parser::certificate::X509Certificate::from_der(&leaf).unwrap();
    let (_, root) = x509_parser::certificate::X509Certificate::from_der(&root).unwrap();
    let names = |certificate: &x509_parser::certificate::X509Certificate<'_>| {
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        names.value.general_names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names(&leaf), [format!("URI({ID})")]);
    assert_eq!(names(&root), ["URI(spiffe://portal.test)"], "a root's id has no path");
    let usage = |certificate: &x509_parser::certificate::X509Certificate<'_>| {
        let usage = certificate.key_usage().unwrap().unwrap();
        (usage.critical, usage.value.flags)
    };
    assert_eq!(usage(&leaf), (true, 1), "digitalSignature alone");
    assert_eq!(usage(&root), (true, 0b110_0000), "keyCertSign and cRLSign");
    let constraints = leaf.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && !constraints.value.ca);
    let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.server_auth && purposes.client_auth);
    assert!(TrustDomain::parse("Portal.test").is_err() && TrustDomain::parse("portal.test/x").is_err());
}
