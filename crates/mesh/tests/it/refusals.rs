//! Connections that must not come about. Each test also shows that the same dialler gets through when it is right.

use std::sync::Arc;
use std::time::Duration;

use portal_core::{Clock, SystemEntropy, TrustDomain, Workload};
use portal_mesh::ca::{CertificateAuthority, Issued};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, NamedGroup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::fixture::Served;

/// A dialler of our own that can be wrong in every way: it trusts whomever it reaches.
#[derive(Debug)]
struct TrustAnyone;

mod trust_anyone {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    impl ServerCertVerifier for super::TrustAnyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ML_DSA_65, SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    }
}

pub fn client(groups: Vec<&'static dyn SupportedKxGroup>, issued: Option<&Issued>) -> ClientConfig {
    let provider = Arc::new(CryptoProvider { kx_groups: groups, ..default_provider() });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAnyone));
    let mut config = match issued {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let chain = CertificateDer::pem_slice_iter(issued.certificate_pem.as_bytes());
            let chain = chain.collect::<Result<_, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_slice(issued.private_key_pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Completes a handshake and reads the server's first HTTP/2 frame: in TLS 1.3 a client learns that its certificate was
/// refused only when it reads.
pub async fn connect(served: &Served, config: ClientConfig) -> std::io::Result<NamedGroup> {
    let tcp = TcpStream::connect(served.running.local_addr()).await?;
    let name = ServerName::try_from("consent").unwrap();
    let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
    let mut frame = [0; 9];
    tls.read_exact(&mut frame).await?;
    Ok(tls.get_ref().1.negotiated_key_exchange_group().unwrap().name())
}

pub fn issue(domain: &str, clock: &dyn Clock) -> (CertificateAuthority, Issued) {
    let domain = TrustDomain::parse(domain).unwrap();
    let authority = CertificateAuthority::create(domain, clock, &SystemEntropy).unwrap();
    let issued =
        authority.issue(Workload::Gateway, Duration::from_secs(3_600), clock, &SystemEntropy).unwrap();
    (authority, issued)
}

pub fn mesh_identity(served: &Served, workload: Workload) -> Issued {
    let files = served.mesh.identity(workload);
    Issued {
        certificate_pem: std::fs::read_to_string(files.certificate_file).unwrap(),
        private_key_pem: std::fs::read_to_string(files.private_key_file).unwrap().into(),
    }
}

#[tokio::test]
async fn the_right_client_gets_in_with_x25519mlkem768() {
    let served = Served::start().await;
    let groups = vec![kx_group::X25519, kx_group::X25519MLKEM768, kx_group::SECP256R1];
    let group =
        connect(&served, client(groups, Some(&mesh_identity(&served, Workload::Gateway)))).await.unwrap();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn no_certificate_is_refused() {
    let served = Served::start().await;
    connect(&served, client(vec![kx_group::X25519MLKEM768], None)).await.unwrap_err();
}

#[tokio::test]
async fn classical_key_exchange_is_refused() {
    let served = Served::start().await;
    let issued = mesh_identity(&served, Workload::Gateway);
    for group in [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1] {
        let error = connect(&served, client(vec![group], Some(&issued))).await.unwrap_err();
        assert!(error.to_string().contains("HandshakeFailure"), "{error}");
    }
}

#[tokio::test]
async fn another_authority_is_refused() {
    let served = Served::start().await;
    let (_, issued) = issue("portal.test", served.mesh.clock.as_ref());
    connect(&served, client(vec![kx_group::X25519MLKEM768], Some(&issued))).await.unwrap_err();
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let served = Served::start().await;
    let issued = mesh_identity(&served, Workload::Gateway);
    connect(&served, client(vec![kx_group::X25519MLKEM768], Some(&issued))).await.unwrap();
    served.mesh.clock.advance(portal_mesh::ca::MAX_LEAF_LIFE + Duration::from_secs(1));
    let error = connect(&served, client(vec![kx_group::X25519MLKEM768], Some(&issued))).await.unwrap_err();
    assert!(error.to_string().contains("CertificateExpired"), "{error}");
}

#[tokio::test]
async fn an_ecdsa_certificate_is_refused() {
    let served = Served::start().await;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI("spiffe://portal.test/gateway".try_into().unwrap())];
    let issued = Issued {
        certificate_pem: params.self_signed(&key).unwrap().pem(),
        private_key_pem: key.serialize_pem().into(),
    };
    connect(&served, client(vec![kx_group::X25519MLKEM768], Some(&issued))).await.unwrap_err();
}

#[tokio::test]
async fn plaintext_is_refused() {
    let served = Served::start().await;
    let mut tcp = TcpStream::connect(served.running.local_addr()).await.unwrap();
    tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await.unwrap();
    // At most a TLS alert (content type 21); never an HTTP/2 frame.
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    assert_eq!(served.calls(), 0);
}

#[tokio::test]
async fn a_client_refuses_the_wrong_workload() {
    use portal_proto::consent::v1::GetPurposeRequest;
    use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
    let served = Served::start().await;
    let misled = served.mesh.channel(Workload::Gateway, Workload::Valuation, served.running.local_addr());
    let status =
        PurposeServiceClient::new(misled).get_purpose(GetPurposeRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(served.calls(), 0);
}

#[tokio::test]
async fn handshakes_are_counted_by_what_they_agreed_on() {
    let served = Served::start().await;
    let count = |labels: &str| {
        let line = format!("portal_tls_handshakes_total{{{labels}}} ");
        let text = served.metrics.encode().unwrap();
        text.lines().find_map(|found| found.strip_prefix(line.as_str())?.parse().ok()).unwrap_or(0)
    };
    let accepted =
        r#"listener="mesh",outcome="accepted",version="1.3",group="X25519MLKEM768",signature="ML-DSA-65""#;
    let failed = |outcome: &str| {
        count(&format!(r#"listener="mesh",outcome="{outcome}",version="none",group="none",signature="none""#))
    };
    let issued = mesh_identity(&served, Workload::Gateway);
    connect(&served, client(vec![kx_group::X25519MLKEM768], Some(&issued))).await.unwrap();
    connect(&served, client(vec![kx_group::X25519MLKEM768], None)).await.unwrap_err();
    connect(&served, client(vec![kx_group::X25519], Some(&issued))).await.unwrap_err();
    drop(TcpStream::connect(served.running.local_addr()).await.unwrap());
    for _ in 0..100 {
        if failed("broken_off") > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((count(accepted), failed("refused"), failed("broken_off")), (1, 2, 1));
    let days = served.metrics.encode().unwrap();
    let days = days.lines().find(|line| line.starts_with("portal_certificate_days_left")).unwrap();
    assert_eq!(days, r#"portal_certificate_days_left{certificate="consent",algorithm="ML-DSA-65"} 1.0"#);
}
