//! What a connection costs to make: `cargo bench -p portal-mesh`. Both sides of a mutual TLS 1.3 handshake in memory, on one
//! thread, by its processor time; ours is that of the mesh, as its listener and its channel make it, with every check of the
//! peer; the raw one is rustls with ECDSA P-256 certificates and its own checks. Ends with an error if a budget is not kept.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[expect(dead_code, reason = "only pairs of which one has a budget of time")]
#[path = "../../crypto/benches/paired/harness.rs"]
mod harness;

use std::process::ExitCode;
use std::sync::Arc;

use portal_core::{SystemClock, SystemEntropy, TrustDomain, Workload};
use portal_mesh::ca::{CertificateAuthority, MAX_LEAF_LIFE};
use portal_mesh::config::IdentityConfig;
use portal_mesh::{Host, Identity, Metrics, Readiness};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

/// Handshakes in a second of one core, both sides.
const RATE: f64 = 700.0;

type Configs = (Arc<ClientConfig>, Arc<ServerConfig>);

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ours = runtime.block_on(async { quantum_safe() });
    let classical = ecdsa(kx_group::X25519);
    let hybrid = ecdsa(kx_group::X25519MLKEM768);
    println!(
        "bytes, both ways: ours {}, ECDSA P-256 {}, with X25519MLKEM768 {}",
        shake(&ours),
        shake(&classical),
        shake(&hybrid)
    );
    harness::title();
    let measured = harness::pair("raw: ECDSA P-256, X25519", || shake(&ours), || shake(&classical));
    measured.nanos_at_most(1e9 / RATE);
    let measured = harness::pair("raw: ECDSA P-256, X25519MLKEM768", || shake(&ours), || shake(&hybrid));
    measured.nanos_at_most(1e9 / RATE);
    harness::verdict()
}

/// The gateway calls auth.
fn quantum_safe() -> Configs {
    let domain = TrustDomain::parse("portal.test").unwrap();
    let authority = CertificateAuthority::create(domain, &SystemClock, &SystemEntropy).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let host = Host {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        metrics: Metrics::default(),
        readiness: Readiness::default(),
    };
    let identity = |workload: Workload| {
        let issued = authority.issue(workload, MAX_LEAF_LIFE, &SystemClock, &SystemEntropy).unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(format!("{workload}-{name}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        let files = IdentityConfig {
            trust_domain: "portal.test".to_owned(),
            certificate_file: write("tls.crt", &issued.certificate_pem),
            private_key_file: write("tls.key", &issued.private_key_pem),
            trust_bundle_file: write("ca.crt", authority.certificate_pem()),
        };
        Identity::load(&files, workload, &host).unwrap()
    };
    let (client, server) = (identity(Workload::Gateway), identity(Workload::Auth));
    (client.client_config(Workload::Auth).unwrap(), server.server_config())
}

/// The same with certificates of one issuer, ECDSA P-256 throughout.
fn ecdsa(group: &'static dyn SupportedKxGroup) -> Configs {
    let generate = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut root = CertificateParams::default();
    root.distinguished_name.push(DnType::CommonName, "root");
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root_key = generate();
    let root_certificate = root.self_signed(&root_key).unwrap();
    let issuer = Issuer::new(root, root_key);
    let leaf = || {
        let mut leaf = CertificateParams::new(vec!["auth".to_owned()]).unwrap();
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = generate();
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    };
    let mut roots = RootCertStore::empty();
    roots.add(root_certificate.der().clone()).unwrap();
    let roots = Arc::new(roots);
    let provider = Arc::new(CryptoProvider { kx_groups: vec![group], ..default_provider() });
    let versions = &[&rustls::version::TLS13];
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
    let (chain, key) = leaf();
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    let (chain, key) = leaf();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    client.resumption = Resumption::disabled();
    (Arc::new(client), Arc::new(server))
}

/// A whole handshake; how many bytes were sent.
fn shake((client, server): &Configs) -> usize {
    let name = ServerName::try_from("auth").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut sent = 0;
    let mut wire = Vec::with_capacity(16 * 1_024);
    while client.is_handshaking() || server.is_handshaking() {
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        sent += wire.len();
        feed(&wire, |bytes| {
            server.read_tls(bytes).unwrap();
            server.process_new_packets().unwrap();
        });
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        sent += wire.len();
        feed(&wire, |bytes| {
            client.read_tls(bytes).unwrap();
            client.process_new_packets().unwrap();
        });
        wire.clear();
    }
    sent
}

fn feed(mut wire: &[u8], mut read: impl FnMut(&mut &[u8])) {
    while !wire.is_empty() {
        read(&mut wire);
    }
}
