//! Limits, cross-origin rules, the console and the key set.

use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;

use crate::client::{Answer, Client};
use crate::fixture::{ORIGIN, Setup};

async fn from_origin(client: Client, method: Method, path: &str, origin: &str) -> Answer {
    let mut request = Request::builder().method(method.clone()).uri(path).header("origin", origin);
    if method == Method::OPTIONS {
        request = request
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,x-grpc-web,content-type");
    }
    client.send(request.body(Full::default()).unwrap()).await
}

#[tokio::test]
async fn headers_over_the_limit_are_431() {
    let setup = Setup::start().await;
    let long = "x".repeat(20 * 1_024);
    let one = Client::one(setup.address);
    let answer = one.raw(format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let request = Request::get("/").header("x-long", long.as_str()).body(Full::default()).unwrap();
    assert_eq!(Client::two(setup.address).send(request).await.status, 431);
    // Twelve KiB are within: a large token passes.
    let request = Request::get("/v1/purposes").header("x-long", "x".repeat(12 * 1_024));
    assert_eq!(one.send(request.body(Full::default()).unwrap()).await.status, 200);
    setup.stop().await;
}

/// By any protocol; and what a client says itself counts for nothing.
#[tokio::test]
async fn a_proxy_says_from_where_a_request_comes() {
    let setup = Setup::behind(&["127.0.0.0/8"]).await;
    for client in [Client::one(setup.address), Client::two(setup.address)] {
        for (path, body) in
            [("/v1/purposes", ""), ("/portal.consent.v1.PurposeService/ListPurposes", "\0\0\0\0\0")]
        {
            let mut request = Request::builder().uri(path).header("portal-client-address", "203.0.113.9");
            request = request.header("x-forwarded-for", "203.0.113.8, 198.51.100.7");
            if !body.is_empty() {
                request = request.method("POST").header("content-type", "application/grpc-web+proto");
            }
            let answer = client.send(request.body(Full::from(body)).unwrap()).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let seen = setup.world.client.lock().unwrap().take();
            assert_eq!(seen, Some("198.51.100.7".parse().unwrap()), "{path}");
        }
    }
    setup.stop().await;
}

#[tokio::test]
async fn garbage_is_refused_and_the_process_lives() {
    let setup = Setup::start().await;
    let client = Client::one(setup.address);
    for garbage in
        [&b"\x16\x03\x01\x00\x05hello"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxx", b"G\r\n\r\n"]
    {
        drop(client.raw(garbage).await);
        assert_eq!(client.get("/v1/purposes", None).await.status, 200);
    }
    setup.stop().await;
}

#[tokio::test]
async fn only_allowed_origins_get_cors_headers() {
    let setup = Setup::start().await;
    let client = Client::two(setup.address);
    let rpc = "/portal.consent.v1.PurposeService/ListPurposes";
    let preflight = from_origin(client, Method::OPTIONS, rpc, ORIGIN).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), ORIGIN);
    assert_eq!(preflight.header("access-control-max-age"), "7200");
    assert!(preflight.header("access-control-allow-methods").contains("POST"));
    for name in ["authorization", "content-type", "dpop", "x-grpc-web", "x-user-agent", "grpc-timeout"] {
        assert!(preflight.header("access-control-allow-headers").contains(name), "{name}");
    }
    let answer = from_origin(client, Method::GET, "/v1/purposes", ORIGIN).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, ORIGIN));
    for name in [
        "dpop-nonce",
        "www-authenticate",
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "portal-rows-withheld",
    ] {
        assert!(answer.header("access-control-expose-headers").contains(name), "{name}");
    }
    for (method, path) in [(Method::OPTIONS, rpc), (Method::GET, "/v1/purposes")] {
        let answer = from_origin(client, method, path, "https://evil.example").await;
        let cors = answer.headers.keys().filter(|name| name.as_str().starts_with("access-control-"));
        assert_eq!(cors.count(), 0, "{answer:?}");
        assert_eq!(answer.header("vary"), "origin");
    }
    setup.stop().await;
}

#[tokio::test]
async fn the_console_comes_with_a_strict_policy() {
    let setup = Setup::start().await;
    let client = Client::one(setup.address);
    let page = client.get("/", None).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("cache-control"), "no-cache");
    let html = String::from_utf8(page.body.to_vec()).unwrap();

    let again = Request::get("/").header("if-none-match", page.header("etag")).body(Full::default()).unwrap();
    let again = client.send(again).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let head = client.json(Method::HEAD, "/", None, "").await;
    assert_eq!((head.status, head.header("content-length")), (200, html.len().to_string().as_str()));

    let script = html.split("src=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let script = client.get(script.trim_start_matches('.'), None).await;
    assert_eq!((script.status, script.header("content-type")), (200, "text/javascript; charset=utf-8"));
    assert!(script.header("cache-control").contains("immutable"));

    for path in ["/../Cargo.toml", "/assets/", "/nothing.html", "/assets/%2e%2e/index.html"] {
        assert_eq!(client.get(path, None).await.status, 404, "{path}");
    }
    let answer = client.json(Method::POST, "/", None, "{}").await;
    assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"));
    setup.stop().await;
}

#[tokio::test]
async fn the_key_set_is_as_the_rfcs_have_it() {
    let setup = Setup::start().await;
    let answer = Client::one(setup.address).get("/.well-known/jwks.json", None).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/jwk-set+json"));
    let key = json!({"kid": "k", "kty": "AKP", "alg": "ML-DSA-65", "use": "sig", "pub": "__4"});
    assert_eq!(answer.json(), json!({"keys": [key]}));
    setup.stop().await;
}

#[tokio::test]
async fn readiness_and_metrics_are_the_hosts() {
    let setup = Setup::start().await;
    let client = Client::one(setup.address);
    client.get("/v1/purposes", None).await;
    assert!(setup.host.readiness.is_ready());
    let metrics = setup.host.metrics.encode().unwrap();
    assert!(metrics.contains("portal_gateway_requests_total{protocol=\"Json\"} 1"), "{metrics}");
    let host = setup.host.clone();
    setup.stop().await;
    assert!(!host.readiness.is_ready());
}
