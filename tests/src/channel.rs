//! gRPC over HTTP/2 without TLS, as a client on the same machine speaks it, with every byte in the test's hands.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tower::{Service, ServiceExt};

use crate::Answer;

/// How long [`call`] waits for an answer to begin, and then for its end: a stream that stays open is given up.
const BEGIN: Duration = Duration::from_secs(10);
const END: Duration = Duration::from_secs(2);

/// One connection to the edge. Generated clients take it.
#[derive(Clone)]
pub struct Channel {
    sender: http2::SendRequest<Body>,
    address: SocketAddr,
    authorization: Option<HeaderValue>,
}

impl Channel {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens or it is not HTTP/2.
    pub async fn connect(address: SocketAddr) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Self::on(TcpStream::connect(address).await?, address).await
    }

    /// Connects from another address of the machine, as if it were somebody else's.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_from(
        local: IpAddr,
        address: SocketAddr,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(local, 0))?;
        Self::on(socket.connect(address).await?, address).await
    }

    async fn on(
        stream: TcpStream,
        address: SocketAddr,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        // It ends in error when the process is killed: that is seen by the calls on it.
        portal_mesh::task::spawn("test-connection", async move { drop(connection.await) });
        Ok(Self { sender, address, authorization: None })
    }

    /// The same connection with a bearer token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        let authorization = Some(HeaderValue::try_from(format!("Bearer {token}")).unwrap());
        Self { authorization, ..self.clone() }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path_and_query().cloned().unwrap();
        let uri = Uri::builder().scheme("http").authority(self.address.to_string()).path_and_query(path);
        *request.uri_mut() = uri.build().unwrap();
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        Box::pin(self.sender.send_request(request))
    }
}

/// `message` in gRPC's framing.
#[must_use]
pub fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

/// Calls the method at `path` with one message, whatever its bytes are. A stream that stays open is given up.
///
/// # Panics
/// If the connection fails.
pub async fn call<S, B>(service: S, path: &str, message: &[u8]) -> Answer
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: std::fmt::Debug,
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    call_with(service, path, frame(message), HeaderMap::new()).await
}

/// Calls the method at `path` with a body and headers as they are.
///
/// # Panics
/// If the connection fails.
pub async fn call_with<S, B>(service: S, path: &str, body: Bytes, headers: HeaderMap) -> Answer
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: std::fmt::Debug,
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let body = Body::new(Full::new(body).map_err(|never: Infallible| match never {}));
    let mut request =
        Request::post(path).header(header::CONTENT_TYPE, "application/grpc").body(body).unwrap();
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    request.headers_mut().extend(headers);
    let Ok(response) = tokio::time::timeout(BEGIN, service.oneshot(request)).await else {
        return Answer { http: http::StatusCode::OK, status: None, body: Bytes::new() };
    };
    let (parts, body) = response.unwrap_or_else(|error| panic!("{path}: {error:?}")).into_parts();
    let mut status = Status::from_header_map(&parts.headers);
    let mut read = BytesMut::new();
    let mut body = std::pin::pin!(body);
    let mut end = Instant::now() + BEGIN;
    while status.is_none() {
        match tokio::time::timeout_at(end, body.frame()).await {
            Ok(Some(frame)) => match frame.unwrap_or_else(|error| panic!("{path}: {error:?}")).into_data() {
                Ok(data) => {
                    if read.is_empty() {
                        end = Instant::now() + END;
                    }
                    read.put(data);
                }
                Err(frame) => status = frame.into_trailers().ok().and_then(|t| Status::from_header_map(&t)),
            },
            Ok(None) | Err(_) => break,
        }
    }
    Answer { http: parts.status, status, body: read.freeze() }
}
