//! Aliases of tokens, with a client of our own: what is sent is seen, and may be anything.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portal_core::{Role, Workload};
use portal_mesh::task;
use portal_mesh::token::TokenError;
use portal_proto::consent::v1::CreatePurposeRequest;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_testkit::TestUser;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tonic::{Code, Status};

use crate::fixture::Served;
use crate::refusals::{client, mesh_identity};

const ALIAS: &str = "portal-token-alias";

/// A connection of a workload.
struct Raw(SendRequest<Full<Bytes>>);

impl Raw {
    async fn connect(served: &Served, workload: Workload) -> Self {
        let config = client(vec![kx_group::X25519MLKEM768], Some(&mesh_identity(served, workload)));
        let tcp = TcpStream::connect(served.running.local_addr()).await.unwrap();
        let name = ServerName::try_from("consent").unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        let (requests, driver) = handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
        task::spawn("test-connection", async move { drop(driver.await) });
        Self(requests)
    }

    /// Calls CreatePurpose with these headers: how it ended, and the alias that was given.
    async fn call(&mut self, headers: &[(&str, &str)]) -> (Code, Option<String>) {
        let mut request = Request::post("https://consent/portal.consent.v1.PurposeService/CreatePurpose")
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(Bytes::from_static(&[0; 5]))).unwrap();
        let (parts, body) = self.0.send_request(request).await.unwrap().into_parts();
        let trailers = body.collect().await.unwrap().trailers().cloned();
        let of = |headers: &HeaderMap| Status::from_header_map(headers).map(|status| status.code());
        let code = of(&parts.headers).or_else(|| of(&trailers?)).unwrap();
        let alias = parts.headers.get(ALIAS).map(|alias| alias.to_str().unwrap().to_owned());
        (code, alias)
    }
}

fn bearer(served: &Served, user: &TestUser) -> String {
    format!("Bearer {}", served.mesh.token(user, Workload::Consent, Duration::from_secs(240)))
}

#[tokio::test]
async fn a_alias_is_as_good_as_its_token_and_no_better() {
    let served = Served::start().await;
    let controller = bearer(&served, &TestUser::with_roles(&[Role::Controller]));
    let officer = bearer(&served, &TestUser::with_roles(&[Role::Controller, Role::Officer]));
    let mut gateway = Raw::connect(&served, Workload::Gateway).await;
    let (code, first) = gateway.call(&[("authorization", &controller)]).await;
    assert_eq!(code, Code::Ok);
    let first = first.expect("an alias is given");
    let (_, second) = gateway.call(&[("authorization", &officer)]).await;
    assert_ne!(second.expect("another one"), first);
    assert_eq!(gateway.call(&[(ALIAS, &first)]).await, (Code::Ok, None));
    for unknown in ["0", "77", "-1", "x", ""] {
        assert_eq!(gateway.call(&[(ALIAS, unknown)]).await, (Code::Unauthenticated, None), "{unknown}");
    }
    // A token that is not good is not saved by an alias that is.
    let both = [("authorization", "Bearer forged"), (ALIAS, first.as_str())];
    assert_eq!(gateway.call(&both).await, (Code::Unauthenticated, None));

    let mut another = Raw::connect(&served, Workload::Gateway).await;
    assert_eq!(another.call(&[(ALIAS, &first)]).await, (Code::Unauthenticated, None), "another connection");
    let mut valuation = Raw::connect(&served, Workload::Valuation).await;
    assert_eq!(valuation.call(&[(ALIAS, &first)]).await, (Code::PermissionDenied, None));

    served.mesh.clock.advance(Duration::from_secs(300));
    assert_eq!(gateway.call(&[(ALIAS, &first)]).await, (Code::Unauthenticated, None), "expired");
    assert_eq!(served.calls(), 3);
}

#[tokio::test]
async fn a_refused_token_is_given_no_alias() {
    let served = Served::start().await;
    let mut gateway = Raw::connect(&served, Workload::Gateway).await;
    let elsewhere = served.mesh.token(&TestUser::subject(), Workload::Auth, Duration::from_secs(240));
    let elsewhere = format!("Bearer {elsewhere}");
    assert_eq!(gateway.call(&[("authorization", &elsewhere)]).await, (Code::Unauthenticated, None));
}

#[tokio::test]
async fn calls_of_many_on_one_connection_are_not_mixed_up() {
    let served = Served::start().await;
    let gateway = served.channel(Workload::Gateway);
    let users = [&[Role::Controller][..], &[Role::Subject], &[Role::Operator]].map(TestUser::with_roles);
    let clients = users
        .each_ref()
        .map(|user| PurposeServiceClient::new(served.mesh.call_as(user, Workload::Consent, &gateway)));
    for round in 0..20 {
        let calls = clients.clone().map(|mut client| async move {
            client.create_purpose(CreatePurposeRequest::default()).await.map_err(|status| status.code())
        });
        let answers = futures_util::future::join_all(calls).await;
        let [controller, others @ ..] = &answers[..] else { panic!("three") };
        assert!(controller.is_ok(), "{round}: {controller:?}");
        for other in others {
            assert_eq!(other.as_ref().err(), Some(&Code::PermissionDenied), "{round}");
        }
    }
    assert_eq!(served.calls(), 20);
}

/// Counts what goes to the server through it, in bytes.
async fn counting_proxy(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    task::spawn("test-proxy", async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(to).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let count = Arc::clone(&counted);
            task::spawn("test-proxy-out", async move {
                let mut buffer = vec![0; 16_384];
                while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                    count.fetch_add(read, Ordering::SeqCst);
                    to_server.write_all(&buffer[..read]).await.unwrap();
                }
            });
            task::spawn("test-proxy-back", async move {
                drop(tokio::io::copy(&mut from_server, &mut to_client).await);
            });
        }
    });
    (address, count)
}

/// What a call costs on the way to the server: the token's 5 KB on the first one of a connection, next to nothing after it.
#[tokio::test]
async fn a_token_crosses_a_connection_once() {
    let served = Served::start().await;
    let (address, count) = counting_proxy(served.running.local_addr()).await;
    let gateway = served.mesh.channel(Workload::Gateway, Workload::Consent, address);
    let user = TestUser::with_roles(&[Role::Controller]);
    let token = served.mesh.token(&user, Workload::Consent, Duration::from_secs(240));
    let mut client = PurposeServiceClient::new(gateway);
    // The connection is there before anything is counted.
    client.create_purpose(CreatePurposeRequest::default()).await.unwrap_err();
    let mut bytes = Vec::new();
    for _ in 0..12 {
        let mut request = tonic::Request::new(CreatePurposeRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        // Acknowledgements of what came before are not of this call.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let before = count.load(Ordering::SeqCst);
        client.create_purpose(request).await.unwrap();
        bytes.push(count.load(Ordering::SeqCst) - before);
    }
    println!("token {} bytes; calls {bytes:?} bytes", token.len());
    assert!((4_800..6_000).contains(&token.len()), "{}", token.len());
    let (first, later) = bytes.split_first().unwrap();
    // Huffman coding makes six bits of most characters of base64url.
    assert!((3_500..6_500).contains(first), "{bytes:?}");
    assert!(later.iter().all(|bytes| *bytes < 400), "{bytes:?}");
}

/// A token that names its holder is of no use to anybody else, whoever may present tokens.
#[tokio::test]
async fn a_token_is_good_for_its_holder_alone() {
    let served = Served::start().await;
    let user = TestUser::with_roles(&[Role::Controller]);
    let held_by = |holder: &str| {
        let token = served.mesh.token_held_by(holder, &user, Workload::Consent, Duration::from_secs(240));
        format!("Bearer {token}")
    };
    let mut gateway = Raw::connect(&served, Workload::Gateway).await;
    for stolen in [
        "spiffe://portal.test/valuation",
        "spiffe://portal.test/auth",
        "spiffe://other.test/gateway",
        "spiffe://portal.test/gateway/x",
        "gateway",
    ] {
        // The second time it would be remembered.
        for _ in 0..2 {
            let answer = gateway.call(&[("authorization", &held_by(stolen))]).await;
            assert_eq!(answer, (Code::Unauthenticated, None), "{stolen}");
        }
    }
    let own = held_by("spiffe://portal.test/gateway");
    assert_eq!(gateway.call(&[("authorization", &own)]).await.0, Code::Ok);
    for thief in [Workload::Valuation, Workload::Auth] {
        let mut connection = Raw::connect(&served, thief).await;
        assert_eq!(connection.call(&[("authorization", &own)]).await, (Code::PermissionDenied, None));
        // The claim alone refuses it too, wherever somebody else than the gateway may present tokens.
        let verifier = served.verifier();
        let token = own.strip_prefix("Bearer ").unwrap();
        assert!(matches!(verifier.verify(token, thief).await, Err(TokenError::WrongHolder)));
        assert!(verifier.verify(token, Workload::Gateway).await.is_ok());
        assert!(matches!(verifier.verify(token, thief).await, Err(TokenError::WrongHolder)), "remembered");
    }
    assert_eq!(served.calls(), 1);
}
