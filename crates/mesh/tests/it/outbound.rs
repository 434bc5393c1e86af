//! Forms that are posted to servers outside: whom is believed, what is read, and for how long.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portal_core::{Clock, SystemClock, SystemEntropy};
use portal_mesh::config::{ConfigError, EdgeTlsConfig};
use portal_mesh::edge::EdgeTls;
use portal_mesh::edge::authority::EdgeAuthority;
use portal_mesh::outbound::{Outbound, Unanswered};
use portal_mesh::{Algorithm, Host, Metrics, Readiness};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const KEY: &str = "oauth.client_ca_file";

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn authority() -> EdgeAuthority {
    EdgeAuthority::create(Algorithm::EcdsaP256, &SystemClock, &SystemEntropy).unwrap()
}

/// One that believes `authority` alone.
fn outbound(authority: &EdgeAuthority, directory: &Path) -> Outbound {
    let file = directory.join("roots.pem");
    std::fs::write(&file, authority.certificate_pem()).unwrap();
    Outbound::new(Some(&file), KEY, &clock()).unwrap()
}

/// A server with a certificate of `authority` for 127.0.0.1.
fn tls(authority: &EdgeAuthority, directory: &Path) -> Arc<EdgeTls> {
    let names = ["127.0.0.1".parse().unwrap()];
    let issued = authority.issue(&names, Duration::from_secs(3_600), &SystemClock, &SystemEntropy).unwrap();
    let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
    std::fs::write(&certificate, issued.certificate_pem).unwrap();
    std::fs::write(&key, issued.private_key_pem.as_bytes()).unwrap();
    let config = EdgeTlsConfig {
        ecdsa_certificate_file: Some(certificate),
        ecdsa_private_key_file: Some(key),
        ml_dsa_certificate_file: None,
        ml_dsa_private_key_file: None,
    };
    let host = Host {
        clock: clock(),
        entropy: Arc::new(SystemEntropy),
        metrics: Metrics::default(),
        readiness: Readiness::default(),
    };
    EdgeTls::load(&config, &host).unwrap()
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Vec<u8>) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"a=b") {
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
    }
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
    String::from_utf8(request).unwrap()
}

/// A server that answers one connection in the clear, and its URI.
async fn plain(bytes: Vec<u8>) -> (String, JoinSet<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/told?x=1", listener.local_addr().unwrap());
    let mut served = JoinSet::new();
    served.spawn(async move { answer(listener.accept().await.unwrap().0, bytes).await });
    (uri, served)
}

#[tokio::test]
async fn a_form_is_posted_over_tls_to_who_is_believed() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, other) = (authority(), authority());
    let server = tls(&authority, directory.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let uri = format!("https://127.0.0.1:{port}/told");
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut requests = Vec::new();
        while requests.is_empty() {
            let stream = listener.accept().await.unwrap().0;
            if let Ok(accepted) = server.accept(stream).await {
                let said = b"HTTP/1.1 204 No Content\r\n\r\n".to_vec();
                requests.push(answer(accepted.stream, said).await);
            }
        }
        requests.remove(0)
    });
    let stranger = outbound(&other, directory.path());
    let refused = stranger.post_form(&uri, "a=b".to_owned()).await;
    assert!(matches!(refused, Err(Unanswered::Connect(_))), "{refused:?}");
    let system = Outbound::new(None, KEY, &clock()).unwrap();
    assert!(matches!(system.post_form(&uri, "a=b".to_owned()).await, Err(Unanswered::Connect(_))));
    let believing = outbound(&authority, directory.path());
    let misnamed = format!("https://localhost:{port}/told");
    assert!(matches!(believing.post_form(&misnamed, "a=b".to_owned()).await, Err(Unanswered::Connect(_))));
    assert_eq!(believing.post_form(&uri, "a=b".to_owned()).await.unwrap(), 204);
    let request = serving.join_next().await.unwrap().unwrap();
    assert!(request.starts_with("POST /told HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{request}");
    assert!(request.contains("content-type: application/x-www-form-urlencoded\r\n"), "{request}");
}

#[tokio::test]
async fn of_an_answer_the_status_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let posting = outbound(&authority(), directory.path());
    let endless =
        [b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n".to_vec(), vec![b'x'; 8_000_000]].concat();
    let headless = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 100_000]].concat();
    for (said, expected) in [
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\n\r\n".to_vec(), Ok(302)),
        (endless, Ok(200)),
        (headless, Err(Unanswered::Http)),
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), Err(Unanswered::Http)),
        (Vec::new(), Err(Unanswered::Http)),
    ] {
        let (uri, mut serving) = plain(said).await;
        let status = posting.post_form(&uri, "a=b".to_owned()).await.map(|status| status.as_u16());
        assert_eq!(status, expected);
        serving.join_next().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn nobody_is_reached_in_the_clear_but_this_machine() {
    let directory = tempfile::tempdir().unwrap();
    let posting = outbound(&authority(), directory.path());
    for uri in ["ftp://127.0.0.1/", "/told", "http:///", "127.0.0.1:1"] {
        assert_eq!(posting.post_form(uri, String::new()).await, Err(Unanswered::Address), "{uri}");
    }
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let mine = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // No packet is sent: it says by which address others are reached.
    if mine.connect("192.0.2.1:9").is_ok() && !mine.local_addr().unwrap().ip().is_loopback() {
        let host = mine.local_addr().unwrap().ip();
        let uri = format!("http://{host}:{}/", listener.local_addr().unwrap().port());
        assert_eq!(posting.post_form(&uri, String::new()).await, Err(Unanswered::Address));
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = posting.post_form(&format!("http://{closed}/"), String::new()).await;
    assert!(matches!(refused, Err(Unanswered::Connect(_))), "{refused:?}");
}

#[tokio::test]
async fn who_says_nothing_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let posting = outbound(&authority(), directory.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://{}/", listener.local_addr().unwrap());
    let before = Instant::now();
    assert_eq!(posting.post_form(&uri, String::new()).await, Err(Unanswered::Late));
    assert!(before.elapsed() < Duration::from_secs(8));
}

#[test]
fn roots_that_are_none_are_refused_by_their_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("roots.pem");
    for text in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&file, text).unwrap();
        let refused = Outbound::new(Some(&file), KEY, &clock()).err();
        assert!(matches!(refused, Some(ConfigError::Invalid { key: KEY, .. })), "{text}");
    }
}
