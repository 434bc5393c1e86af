//! The edge over TLS: every protocol on the one port, and certificates that are renewed under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portal_core::{Clock, ManualClock, SystemEntropy};
use portal_mesh::Algorithm;
use portal_mesh::config::EdgeTlsConfig;
use portal_mesh::edge::authority::EdgeAuthority;
use portal_mesh::edge::client::{EdgeClient, EdgeClientStream, Http};
use portal_proto::consent::v1::consent_change_service_client::ConsentChangeServiceClient;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_proto::consent::v1::{GetPurposeRequest, ListPurposesRequest, WatchConsentChangesRequest};
use portal_testkit::TestMesh;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::{Answer, Channel, framed, frames};
use crate::fixture::Setup;
use crate::grpc::with_token;

const HOUR: Duration = Duration::from_secs(3_600);
const PURPOSES: &str = "/portal.consent.v1.PurposeService/ListPurposes";

/// A gateway with both certificates.
struct Secure {
    setup: Setup,
    files: EdgeTlsConfig,
    ml_dsa: EdgeAuthority,
    ecdsa: EdgeAuthority,
    clock: Arc<ManualClock>,
}

impl Secure {
    async fn start() -> Self {
        let mesh = TestMesh::start().await;
        let clock = Arc::clone(&mesh.clock);
        let make = |algorithm| EdgeAuthority::create(algorithm, clock.as_ref(), &SystemEntropy).unwrap();
        let (ml_dsa, ecdsa) = (make(Algorithm::MlDsa65), make(Algorithm::EcdsaP256));
        let files = EdgeTlsConfig {
            ml_dsa_certificate_file: Some(mesh.path("ml-dsa.crt")),
            ml_dsa_private_key_file: Some(mesh.path("ml-dsa.key")),
            ecdsa_certificate_file: Some(mesh.path("ecdsa.crt")),
            ecdsa_private_key_file: Some(mesh.path("ecdsa.key")),
        };
        renew(&files, &ml_dsa, &ecdsa, clock.as_ref());
        Self { setup: Setup::over_tls(mesh, files.clone()).await, files, ml_dsa, ecdsa, clock }
    }

    fn address(&self) -> SocketAddr {
        self.setup.address
    }

    fn client(&self, http: Http) -> EdgeClient {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        EdgeClient::new(self.ml_dsa.certificate_pem(), http, clock).unwrap()
    }

    async fn dial(&self, http: Http) -> EdgeClientStream {
        dial(&self.client(http), self.address()).await
    }

    async fn h2(&self) -> http2::SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.dial(Http::Two).await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        portal_mesh::task::spawn("client", async move { drop(connection.await) });
        sender
    }

    async fn h1(&self) -> http1::SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.dial(Http::One).await);
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        portal_mesh::task::spawn("client", async move { drop(connection.await) });
        sender
    }
}

async fn dial(client: &EdgeClient, address: SocketAddr) -> EdgeClientStream {
    client.connect(TcpStream::connect(address).await.unwrap(), "localhost").await.unwrap()
}

/// Puts new certificates into the files, one file after the other, as a program would that knows nothing of us.
fn renew(files: &EdgeTlsConfig, ml_dsa: &EdgeAuthority, ecdsa: &EdgeAuthority, clock: &dyn Clock) {
    let names = ["localhost".parse().unwrap()];
    let pairs = [
        (ml_dsa, &files.ml_dsa_certificate_file, &files.ml_dsa_private_key_file),
        (ecdsa, &files.ecdsa_certificate_file, &files.ecdsa_private_key_file),
    ];
    for (authority, certificate, key) in pairs {
        let issued = authority.issue(&names, HOUR, clock, &SystemEntropy).unwrap();
        std::fs::write(key.as_ref().unwrap(), issued.private_key_pem.as_bytes()).unwrap();
        std::fs::write(certificate.as_ref().unwrap(), &issued.certificate_pem).unwrap();
    }
}

fn request(method: &str, uri: String, content_type: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(uri).header("content-type", content_type);
    request.header("host", "localhost").body(Full::from(body)).unwrap()
}

#[tokio::test]
async fn every_protocol_is_spoken_over_tls() {
    let secure = Secure::start().await;
    secure.setup.world.user("alice", &[]);
    let address = secure.address();

    // gRPC, with a generated client.
    let channel = Channel::over(secure.dial(Http::Two).await, address).await;
    let get = GetPurposeRequest { purpose_id: "p".to_owned(), revision: 3 };
    let purpose = PurposeServiceClient::new(channel).get_purpose(with_token(get, "alice")).await.unwrap();
    assert_eq!(purpose.into_inner().purpose_id, "p");

    // gRPC-Web, JSON and the console over either HTTP.
    let list = framed(&ListPurposesRequest::default());
    let asked = [
        ("POST", PURPOSES, "application/grpc-web+proto", list),
        ("GET", "/v1/purposes", "", Vec::new()),
        ("GET", "/", "", Vec::new()),
    ];
    let mut answers = Vec::new();
    let (mut two, mut one) = (secure.h2().await, secure.h1().await);
    for (method, path, content_type, body) in asked {
        let over = request(method, format!("https://{address}{path}"), content_type, body.clone());
        answers.push(Answer::of(two.send_request(over).await.unwrap()).await);
        let over = request(method, path.to_owned(), content_type, body);
        answers.push(Answer::of(one.send_request(over).await.unwrap()).await);
    }
    for answer in &answers {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("strict-transport-security"), "max-age=31536000");
    }
    for web in &answers[..2] {
        let frames = frames(&web.body);
        assert_eq!(frames.len(), 2);
        assert!(String::from_utf8_lossy(&frames[1].1).contains("grpc-status: 0"));
    }
    for json in &answers[2..4] {
        assert_eq!(json.json()["nextPageToken"], "next");
    }
    for page in &answers[4..] {
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    }

    // In the clear nothing is answered.
    let plain = crate::client::Client::one(address).raw(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(!plain.contains("HTTP"), "{plain}");
    secure.setup.stop().await;
}

#[tokio::test]
async fn without_tls_nothing_is_said_of_it() {
    let setup = Setup::start().await;
    let answer = crate::client::Client::one(setup.address).get("/", None).await;
    assert_eq!((answer.status, answer.header("strict-transport-security")), (200, ""));
    setup.stop().await;
}

#[tokio::test]
async fn certificates_are_renewed_without_a_dropped_call() {
    const CALLERS: usize = 8;
    const RENEWALS: usize = 3;
    let secure = Secure::start().await;
    secure.setup.world.user("alice", &[]);
    let (address, client) = (secure.address(), Arc::new(secure.client(Http::Two)));

    let channel = Channel::over(secure.dial(Http::Two).await, address).await;
    let watch = WatchConsentChangesRequest { resume_token: "silence".to_owned(), ..Default::default() };
    let mut changes = ConsentChangeServiceClient::new(channel);
    let mut stream = changes.watch_consent_changes(with_token(watch, "alice")).await.unwrap().into_inner();
    for _ in 0..2 {
        stream.message().await.unwrap().unwrap();
    }

    // Half of the callers stay on one connection, the others make one for each call.
    let (over, called, dialled) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (over, called, dialled, client) =
            (Arc::clone(&over), Arc::clone(&called), Arc::clone(&dialled), Arc::clone(&client));
        callers.spawn(async move {
            let mut channel = Channel::over(dial(&client, address).await, address).await;
            while !over.load(Ordering::SeqCst) {
                if number % 2 == 0 {
                    channel = Channel::over(dial(&client, address).await, address).await;
                    dialled.fetch_add(1, Ordering::SeqCst);
                }
                let get = GetPurposeRequest { purpose_id: "p".to_owned(), revision: 1 };
                let mut purposes = PurposeServiceClient::new(channel.clone());
                purposes.get_purpose(with_token(get, "alice")).await.unwrap();
                called.fetch_add(1, Ordering::SeqCst);
            }
        });
    }

    let shown = async || {
        let stream = secure.dial(Http::Two).await;
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    for renewal in 0..RENEWALS {
        let (before, calls) = (shown().await, called.load(Ordering::SeqCst));
        renew(&secure.files, &secure.ml_dsa, &secure.ecdsa, secure.clock.as_ref());
        let mut now = before.clone();
        for _ in 0..100 {
            now = shown().await;
            if now != before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_ne!(now, before, "renewal {renewal}");
        assert!(called.load(Ordering::SeqCst) > calls, "calls went on");
    }
    over.store(true, Ordering::SeqCst);
    // Each unwraps its calls: that all have ended well is that none has failed.
    assert_eq!(callers.join_all().await.len(), CALLERS);
    assert!(dialled.load(Ordering::SeqCst) > 2 * RENEWALS, "new connections were made all the while");

    // The stream is as open as it was, until the gateway drains.
    let silent = tokio::time::timeout(Duration::from_millis(100), stream.message()).await;
    assert!(silent.is_err(), "{silent:?}");
    let metrics = secure.setup.host.metrics.encode().unwrap();
    assert!(!metrics.contains("listener=\"edge\",outcome=\"refused\""), "{metrics}");
    let (ended, ()) = tokio::join!(stream.message(), secure.setup.stop());
    assert_eq!(ended.unwrap_err().code(), tonic::Code::Unavailable);
}
