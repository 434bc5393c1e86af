//! Clients of the edge: HTTP/1.1, HTTP/2 and bare bytes.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::body::Body;
use tower::Service;

/// An answer, all of it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Answer {
    /// The whole of a response.
    pub async fn of(response: Response<hyper::body::Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let collected = tokio::time::timeout(Duration::from_secs(20), body.collect()).await.unwrap().unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Self { status: parts.status.as_u16(), headers: parts.headers, body: collected.to_bytes(), trailers }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The reason in the first detail of a JSON error.
    pub fn reason(&self) -> String {
        self.json()["details"][0]["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// The field of the first violation of a JSON error.
    pub fn field(&self) -> String {
        self.json()["details"][1]["fieldViolations"][0]["field"].as_str().unwrap_or_default().to_owned()
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Http {
    One,
    Two,
}

/// A client with one connection per request.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub address: SocketAddr,
    pub http: Http,
}

impl Client {
    pub const fn one(address: SocketAddr) -> Self {
        Self { address, http: Http::One }
    }

    pub const fn two(address: SocketAddr) -> Self {
        Self { address, http: Http::Two }
    }

    pub async fn response(&self, request: Request<Full<Bytes>>) -> Response<hyper::body::Incoming> {
        let stream = TokioIo::new(TcpStream::connect(self.address).await.unwrap());
        let (mut parts, body) = request.into_parts();
        let authority = self.address.to_string();
        match self.http {
            Http::One => {
                parts.headers.insert("host", authority.parse().unwrap());
                let (mut sender, connection) = http1::handshake(stream).await.unwrap();
                portal_mesh::task::spawn("client", async move { drop(connection.await) });
                sender.send_request(Request::from_parts(parts, body)).await.unwrap()
            }
            Http::Two => {
                let path = parts.uri.path_and_query().unwrap().as_str();
                parts.uri = format!("http://{authority}{path}").parse().unwrap();
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
                portal_mesh::task::spawn("client", async move { drop(connection.await) });
                sender.send_request(Request::from_parts(parts, body)).await.unwrap()
            }
        }
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        Answer::of(self.response(request).await).await
    }

    pub async fn json(&self, method: Method, path: &str, token: Option<&str>, body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        self.send(request.body(Full::from(body.to_owned())).unwrap()).await
    }

    pub async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.json(Method::GET, path, token, "").await
    }

    /// Sends bytes and reads until the gateway closes the connection.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        drop(tokio::time::timeout(Duration::from_secs(10), read).await.unwrap());
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// A channel of generated clients over HTTP/2.
#[derive(Clone)]
pub struct Channel {
    authority: String,
    sender: http2::SendRequest<Body>,
}

impl Channel {
    /// Without TLS.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), address).await
    }

    /// Over a stream to `address`.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: SocketAddr,
    ) -> Self {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        portal_mesh::task::spawn("client", async move { drop(connection.await) });
        Self { authority: address.to_string(), sender }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        *request.uri_mut() = Uri::builder()
            .scheme("http")
            .authority(self.authority.as_str())
            .path_and_query(path)
            .build()
            .unwrap();
        Box::pin(self.sender.send_request(request))
    }
}

/// `message` in gRPC framing.
pub fn framed(message: &impl prost::Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

/// The frames of a gRPC-Web body: flag and content.
pub fn frames(mut body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        frames.push((body[0], body[5..5 + length].to_vec()));
        body = &body[5 + length..];
    }
    frames
}
