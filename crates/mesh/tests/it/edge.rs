//! TLS for clients from outside: which certificate whom is shown, what is agreed on, what happens when files change.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portal_core::{Clock, ManualClock, SystemClock, SystemEntropy};
use portal_mesh::ca::{CaError, Issued};
use portal_mesh::config::EdgeTlsConfig;
use portal_mesh::edge::authority::{EdgeAuthority, EdgeName, MAX_LIFE};
use portal_mesh::edge::{EdgeTls, EdgeTlsError};
use portal_mesh::{Algorithm, Host, Metrics, Readiness, Untimely};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, NamedGroup, RootCertStore, SignatureScheme};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const HOUR: Duration = Duration::from_secs(3_600);

/// Two authorities, and a directory with what they issue.
struct House {
    ml_dsa: EdgeAuthority,
    ecdsa: EdgeAuthority,
    directory: TempDir,
    metrics: Metrics,
}

impl House {
    fn new() -> Self {
        let make = |algorithm| EdgeAuthority::create(algorithm, &SystemClock, &SystemEntropy).unwrap();
        let house = Self {
            ml_dsa: make(Algorithm::MlDsa65),
            ecdsa: make(Algorithm::EcdsaP256),
            directory: tempfile::tempdir().unwrap(),
            metrics: Metrics::default(),
        };
        house.put(Algorithm::MlDsa65, house.directory.path());
        house.put(Algorithm::EcdsaP256, house.directory.path());
        house
    }

    fn host(&self) -> Host {
        Host {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            metrics: self.metrics.clone(),
            readiness: Readiness::default(),
        }
    }

    fn authority(&self, algorithm: Algorithm) -> &EdgeAuthority {
        match algorithm {
            Algorithm::MlDsa65 => &self.ml_dsa,
            Algorithm::EcdsaP256 => &self.ecdsa,
        }
    }

    fn issue(&self, algorithm: Algorithm, clock: &dyn Clock) -> Issued {
        let names = ["localhost".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        self.authority(algorithm).issue(&names, HOUR, clock, &SystemEntropy).unwrap()
    }

    /// Puts a new certificate into `directory`; returns it.
    fn put(&self, algorithm: Algorithm, directory: &Path) -> Vec<u8> {
        write(algorithm, directory, &self.issue(algorithm, &SystemClock))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn files(&self, algorithms: &[Algorithm]) -> EdgeTlsConfig {
        files_in(self.directory.path(), algorithms)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        for authority in [&self.ml_dsa, &self.ecdsa] {
            roots
                .add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap())
                .unwrap();
        }
        roots
    }

    /// A client that verifies what `provider` can, of our roots.
    fn client(&self, provider: CryptoProvider, protocols: &[&str]) -> ClientConfig {
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config.resumption = Resumption::disabled();
        config
    }

    fn count(&self, line: &str) -> u64 {
        let text = self.metrics.encode().unwrap();
        let counted = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
        counted.unwrap_or(0)
    }

    fn handshakes(&self, outcome: &str, group: &str, signature: &str) -> u64 {
        let version = if outcome == "accepted" { "1.3" } else { "none" };
        self.count(&format!(
            "portal_tls_handshakes_total{{listener=\"edge\",outcome=\"{outcome}\",version=\"{version}\",\
             group=\"{group}\",signature=\"{signature}\"}}"
        ))
    }
}

fn write(algorithm: Algorithm, directory: &Path, issued: &Issued) -> Vec<u8> {
    std::fs::write(directory.join(format!("{algorithm}.crt")), &issued.certificate_pem).unwrap();
    std::fs::write(directory.join(format!("{algorithm}.key")), issued.private_key_pem.as_bytes()).unwrap();
    CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap().to_vec()
}

fn files_in(directory: &Path, algorithms: &[Algorithm]) -> EdgeTlsConfig {
    let file = |algorithm: Algorithm, kind: &str| {
        algorithms.contains(&algorithm).then(|| directory.join(format!("{algorithm}.{kind}")))
    };
    EdgeTlsConfig {
        ml_dsa_certificate_file: file(Algorithm::MlDsa65, "crt"),
        ml_dsa_private_key_file: file(Algorithm::MlDsa65, "key"),
        ecdsa_certificate_file: file(Algorithm::EcdsaP256, "crt"),
        ecdsa_private_key_file: file(Algorithm::EcdsaP256, "key"),
    }
}

const BOTH: &[Algorithm] = &[Algorithm::MlDsa65, Algorithm::EcdsaP256];

/// Says `h2` or `http/1.1` to each client, then what the client says.
async fn serve(tls: Arc<EdgeTls>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    portal_mesh::task::spawn("edge", async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let tls = Arc::clone(&tls);
            portal_mesh::task::spawn("client", async move {
                let Ok(mut accepted) = tls.accept(tcp).await else { return };
                let hello: &[u8] = if accepted.http2 { b"2" } else { b"1" };
                accepted.stream.write_all(hello).await.unwrap();
                let mut byte = [0];
                while accepted.stream.read(&mut byte).await.is_ok_and(|read| read == 1) {
                    accepted.stream.write_all(&byte).await.unwrap();
                }
            });
        }
    });
    address
}

/// A client with a connection: the certificate it was shown, the group, and which HTTP is spoken.
struct Connected {
    stream: TlsStream<TcpStream>,
    certificate: Vec<u8>,
    group: NamedGroup,
    http2: bool,
}

async fn connect(address: SocketAddr, config: ClientConfig) -> std::io::Result<Connected> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    let mut hello = [0];
    stream.read_exact(&mut hello).await?;
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates().unwrap()[0].to_vec();
    let group = connection.negotiated_key_exchange_group().unwrap().name();
    Ok(Connected { stream, certificate, group, http2: hello == *b"2" })
}

/// What a client verifies that knows `scheme` alone.
fn only(scheme: SignatureScheme) -> CryptoProvider {
    let provider = default_provider();
    let mapping = provider.signature_verification_algorithms.mapping;
    let at = mapping.iter().position(|(known, _)| *known == scheme).unwrap();
    let mapping = &mapping[at..=at];
    let algorithms = WebPkiSupportedAlgorithms { all: mapping[0].1, mapping };
    CryptoProvider { signature_verification_algorithms: algorithms, ..provider }
}

fn groups(groups: &[&'static dyn SupportedKxGroup]) -> CryptoProvider {
    CryptoProvider { kx_groups: groups.to_vec(), ..default_provider() }
}

#[tokio::test]
async fn a_client_is_shown_what_it_can_verify() {
    const ML_DSA: &[Algorithm] = &[Algorithm::MlDsa65];
    const ECDSA: &[Algorithm] = &[Algorithm::EcdsaP256];
    let of_today = || only(SignatureScheme::ECDSA_NISTP256_SHA256);
    let of_tomorrow = || only(SignatureScheme::ML_DSA_65);
    let table: [(&[Algorithm], CryptoProvider, Option<Algorithm>); 9] = [
        (BOTH, default_provider(), Some(Algorithm::MlDsa65)),
        (BOTH, of_tomorrow(), Some(Algorithm::MlDsa65)),
        (BOTH, of_today(), Some(Algorithm::EcdsaP256)),
        (ML_DSA, default_provider(), Some(Algorithm::MlDsa65)),
        (ML_DSA, of_today(), None),
        (ECDSA, default_provider(), Some(Algorithm::EcdsaP256)),
        (ECDSA, of_today(), Some(Algorithm::EcdsaP256)),
        (ECDSA, of_tomorrow(), None),
        (BOTH, only(SignatureScheme::ED25519), None),
    ];
    for (number, (has, client, shown)) in table.into_iter().enumerate() {
        let house = House::new();
        let address = serve(EdgeTls::load(&house.files(has), &house.host()).unwrap()).await;
        let connected = connect(address, house.client(client, &["h2"])).await;
        let Some(shown) = shown else {
            assert!(connected.is_err(), "{number}");
            assert_eq!(house.handshakes("refused", "none", "none"), 1, "{number}");
            continue;
        };
        let certificate = std::fs::read(house.file(&format!("{shown}.crt"))).unwrap();
        assert_eq!(
            connected.unwrap().certificate,
            CertificateDer::from_pem_slice(&certificate).unwrap().to_vec()
        );
        assert_eq!(house.handshakes("accepted", "X25519MLKEM768", shown.name()), 1, "{number}");
    }
}

#[tokio::test]
async fn post_quantum_key_exchange_is_preferred_and_classical_allowed() {
    let house = House::new();
    let address = serve(EdgeTls::load(&house.files(BOTH), &house.host()).unwrap()).await;
    let dial = async |offered: &[&'static dyn SupportedKxGroup]| {
        connect(address, house.client(groups(offered), &["h2"])).await.map(|connected| connected.group)
    };
    // The share that comes with the first flight is that of the first group: here the server has to ask for another.
    let guessed = dial(&[kx_group::X25519, kx_group::SECP256R1, kx_group::X25519MLKEM768]).await;
    assert_eq!(guessed.unwrap(), NamedGroup::X25519MLKEM768);
    assert_eq!(dial(&[kx_group::X25519]).await.unwrap(), NamedGroup::X25519);
    assert_eq!(dial(&[kx_group::SECP256R1]).await.unwrap(), NamedGroup::secp256r1);
    dial(&[kx_group::SECP384R1]).await.unwrap_err();
    for group in ["X25519MLKEM768", "X25519", "secp256r1"] {
        assert_eq!(house.handshakes("accepted", group, "ML-DSA-65"), 1, "{group}");
    }
    assert_eq!(house.handshakes("refused", "none", "none"), 1);
}

#[tokio::test]
async fn the_handshake_says_which_http() {
    let house = House::new();
    let address = serve(EdgeTls::load(&house.files(BOTH), &house.host()).unwrap()).await;
    let dial = async |protocols: &[&str]| {
        connect(address, house.client(default_provider(), protocols)).await.map(|connected| connected.http2)
    };
    assert!(dial(&["h2"]).await.unwrap());
    assert!(dial(&["http/1.1", "h2"]).await.unwrap(), "the server prefers HTTP/2");
    assert!(!dial(&["http/1.1"]).await.unwrap());
    assert!(!dial(&[]).await.unwrap());
    dial(&["spdy/3"]).await.unwrap_err();
}

#[tokio::test]
async fn what_is_no_handshake_ends_soon_and_is_counted() {
    let house = House::new();
    let address = serve(EdgeTls::load(&house.files(BOTH), &house.host()).unwrap()).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    drop(plain.read_to_end(&mut answer).await);
    assert!(answer.is_empty() || answer[0] == 21, "an alert at most: {answer:?}");
    drop(TcpStream::connect(address).await.unwrap());
    // From here on time passes only where everybody waits for it: the machine may be as slow as it likes.
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    drop(silent.read_to_end(&mut answer).await);
    let waited = begun.elapsed();
    // A timer rings on the next millisecond.
    assert!(waited > Duration::ZERO && waited <= Duration::from_millis(5_001), "{waited:?}");
    for outcome in ["refused", "broken_off", "timed_out"] {
        assert_eq!(house.handshakes(outcome, "none", "none"), 1, "{outcome}");
    }
}

#[tokio::test]
async fn renewed_files_are_used_and_broken_ones_are_not() {
    let house = House::new();
    // As a node mounts a Secret: a link to a directory with all files, replaced in one step.
    let mount = house.file("mount");
    std::fs::create_dir(&mount).unwrap();
    let generation = |number: u8| {
        let data = mount.join(format!("..{number}"));
        std::fs::create_dir(&data).unwrap();
        data
    };
    let swap = |data: &Path| {
        symlink(data.file_name().unwrap(), mount.join("..new")).unwrap();
        std::fs::rename(mount.join("..new"), mount.join("..data")).unwrap();
    };
    let first = generation(1);
    for algorithm in BOTH {
        house.put(*algorithm, &first);
        for kind in ["crt", "key"] {
            let name = format!("{algorithm}.{kind}");
            symlink(Path::new("..data").join(&name), mount.join(&name)).unwrap();
        }
    }
    swap(&first);
    let tls = EdgeTls::load(&files_in(&mount, BOTH), &house.host()).unwrap();
    let address = serve(Arc::clone(&tls)).await;
    let dial = async || connect(address, house.client(default_provider(), &["h2"])).await.unwrap();
    let mut open = dial().await;

    // Nobody tells it: it looks by itself.
    let second = generation(2);
    house.put(Algorithm::EcdsaP256, &second);
    let renewed = house.put(Algorithm::MlDsa65, &second);
    swap(&second);
    let mut shown = Vec::new();
    for _ in 0..100 {
        shown = dial().await.certificate;
        if shown == renewed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(shown, renewed);
    assert_eq!(house.count("portal_certificate_reloads_total{certificate=\"edge\",outcome=\"loaded\"}"), 1);

    // One of the two can't be used: it stays as it is, the other is renewed.
    let third = generation(3);
    let ecdsa = house.put(Algorithm::EcdsaP256, &third);
    std::fs::write(third.join("ML-DSA-65.crt"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    std::fs::copy(second.join("ML-DSA-65.key"), third.join("ML-DSA-65.key")).unwrap();
    swap(&third);
    let refused = "portal_certificate_reloads_total{certificate=\"edge\",outcome=\"refused\"}";
    for _ in 0..100 {
        if house.count(refused) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(house.count(refused) > 0, "{}", house.metrics.encode().unwrap());
    assert_eq!(dial().await.certificate, renewed);
    let of_today = only(SignatureScheme::ECDSA_NISTP256_SHA256);
    assert_eq!(connect(address, house.client(of_today, &["h2"])).await.unwrap().certificate, ecdsa);
    let (new, failed) = tls.reload();
    assert!(!new);
    let of_ml_dsa = EdgeTlsError::Pem("edge_tls.ml_dsa_certificate_file").to_string();
    let told = |failed: &[EdgeTlsError]| failed.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told(&failed), [of_ml_dsa.as_str()]);
    // Neither can: both are told.
    std::fs::write(third.join(format!("{}.crt", Algorithm::EcdsaP256)), "-----BEGIN CERTIFICATE-----\n")
        .unwrap();
    let of_ecdsa = EdgeTlsError::Pem("edge_tls.ecdsa_certificate_file").to_string();
    assert_eq!(told(&tls.reload().1), [of_ml_dsa, of_ecdsa]);

    // The connection of before all this is still good.
    open.stream.write_all(b"x").await.unwrap();
    let mut byte = [0];
    open.stream.read_exact(&mut byte).await.unwrap();
    assert_eq!(byte, *b"x");
}

#[tokio::test]
async fn the_days_left_are_told() {
    let house = House::new();
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let host = Host { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..house.host() };
    let _tls = EdgeTls::load(&house.files(BOTH), &host).unwrap();
    let days = |algorithm: Algorithm| -> f64 {
        let line = format!("portal_certificate_days_left{{certificate=\"edge\",algorithm=\"{algorithm}\"}} ");
        let text = house.metrics.encode().unwrap();
        text.lines().find_map(|found| found.strip_prefix(line.as_str())?.parse().ok()).unwrap()
    };
    for algorithm in BOTH {
        assert!((days(*algorithm) - 1.0 / 24.0).abs() < 0.001, "{}", days(*algorithm));
    }
    clock.advance(Duration::from_secs(25 * 3_600));
    for _ in 0..100 {
        if days(Algorithm::MlDsa65) < 0.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!((days(Algorithm::EcdsaP256) + 1.0).abs() < 0.001, "it is over: {}", days(Algorithm::EcdsaP256));
}

#[tokio::test]
async fn files_that_cannot_be_used_are_typed_errors_that_name_their_key() {
    let house = House::new();
    let clock = Arc::new(SystemClock) as Arc<dyn Clock>;
    let check = |files: EdgeTlsConfig, expected: &str, matches: fn(&EdgeTlsError) -> bool| {
        let error = EdgeTls::load(&files, &house.host()).err().unwrap();
        let problems = EdgeTls::problems(&files, &clock);
        assert!(matches(&error) && problems.iter().all(matches), "{error:?}, {problems:?}");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(error.to_string().contains(expected), "{error}");
    };
    let with = |change: &dyn Fn(&mut EdgeTlsConfig)| {
        let mut files = house.files(BOTH);
        change(&mut files);
        files
    };
    assert!(EdgeTls::problems(&house.files(BOTH), &clock).is_empty());
    let config = |error: &EdgeTlsError| matches!(error, EdgeTlsError::Config(_));
    check(EdgeTlsConfig::default(), "edge_tls", config);
    check(with(&|files| files.ecdsa_private_key_file = None), "edge_tls.ecdsa_private_key_file", config);
    check(with(&|files| files.ml_dsa_certificate_file = None), "edge_tls.ml_dsa_certificate_file", config);
    let nowhere = house.file("nowhere");
    check(with(&|files| files.ecdsa_private_key_file = Some(nowhere.clone())), "nowhere", config);

    let put = |name: &str, text: &str| {
        let path = house.file(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let pem = |error: &EdgeTlsError| matches!(error, EdgeTlsError::Pem(_));
    let empty = put("empty", "");
    check(
        with(&|files| files.ecdsa_certificate_file = empty.clone()),
        "edge_tls.ecdsa_certificate_file",
        pem,
    );
    check(
        with(&|files| files.ml_dsa_private_key_file = empty.clone()),
        "edge_tls.ml_dsa_private_key_file",
        pem,
    );

    for algorithm in BOTH {
        let other = house.issue(*algorithm, &SystemClock);
        let key = put("other.key", &other.private_key_pem);
        let mismatched = with(&|files| match algorithm {
            Algorithm::MlDsa65 => files.ml_dsa_private_key_file = key.clone(),
            Algorithm::EcdsaP256 => files.ecdsa_private_key_file = key.clone(),
        });
        check(mismatched, "can't be used together", |error| matches!(error, EdgeTlsError::Tls { .. }));
    }

    let algorithm = |error: &EdgeTlsError| matches!(error, EdgeTlsError::Algorithm { .. });
    let swapped = with(&|files| {
        files.ml_dsa_certificate_file = files.ecdsa_certificate_file.clone();
        files.ml_dsa_private_key_file = files.ecdsa_private_key_file.clone();
    });
    check(swapped, "must be one of ML-DSA-65", algorithm);
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
    let (certificate, key) = (put("p384.crt", &certificate), put("p384.key", &key.serialize_pem()));
    let p384 = with(&|files| {
        files.ecdsa_certificate_file = certificate.clone();
        files.ecdsa_private_key_file = key.clone();
    });
    check(p384, "must be one of ECDSA-P256", algorithm);

    let early = ManualClock::new(SystemClock.now().minus(24 * HOUR));
    write(Algorithm::EcdsaP256, house.directory.path(), &house.issue(Algorithm::EcdsaP256, &early));
    let expired =
        |error: &EdgeTlsError| matches!(error, EdgeTlsError::Time { source: Untimely::Expired, .. });
    check(house.files(BOTH), "edge_tls.ecdsa_certificate_file", expired);
    let late = ManualClock::new(SystemClock.now().plus(24 * HOUR));
    write(Algorithm::EcdsaP256, house.directory.path(), &house.issue(Algorithm::EcdsaP256, &late));
    let not_yet = |error: &EdgeTlsError| matches!(error, EdgeTlsError::Time { source: Untimely::NotYet, .. });
    check(house.files(BOTH), "edge_tls.ecdsa_certificate_file", not_yet);
}

#[tokio::test]
async fn the_authority_issues_for_names_and_a_bounded_time() {
    let house = House::new();
    let issue =
        |names: &[EdgeName], life| house.ecdsa.issue(names, life, &SystemClock, &SystemEntropy).map(drop);
    let name: EdgeName = "portal.example.org".parse().unwrap();
    issue(std::slice::from_ref(&name), MAX_LIFE).unwrap();
    assert!(matches!(issue(&[], HOUR), Err(CaError::NoName)));
    for life in [Duration::ZERO, MAX_LIFE + Duration::from_secs(1)] {
        assert!(matches!(issue(std::slice::from_ref(&name), life), Err(CaError::EdgeLife)));
    }
    // Each takes up its own root again, and no other's.
    for (algorithm, other) in [(BOTH[0], BOTH[1]), (BOTH[1], BOTH[0])] {
        let authority = house.authority(algorithm);
        let load = |algorithm| {
            let (root, key) = (authority.certificate_pem(), authority.private_key_pem());
            EdgeAuthority::load(algorithm, root.to_owned(), key.to_owned().into())
        };
        load(algorithm).unwrap();
        assert!(load(other).is_err());
    }
    // A certificate of the edge opens nothing in the mesh.
    let leaf = house.issue(Algorithm::MlDsa65, &SystemClock);
    let der = pem::parse(&leaf.certificate_pem).unwrap().into_contents();
    let (_, leaf) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert!(!leaf.is_ca());
    let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert!(!names.iter().any(|name| matches!(name, x509_parser::extensions::GeneralName::URI(_))));
}
