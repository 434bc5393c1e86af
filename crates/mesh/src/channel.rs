//! Calls another service: one multiplexed connection, dialled when first needed and again when it is lost.
//!
//! A tower `Service`, so a generated tonic client takes it unchanged. The name is resolved anew at each connection. A
//! call leaves with the deadline and trace of the call being served ([`Context`]); a request that never left this process
//! is sent again once on a new connection, any other failure is the caller's to judge.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use portal_core::{Entropy, Workload};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use crate::alias::{Known, TOKEN_ALIAS, restore};
use crate::context::{Context, GRPC_TIMEOUT, TRACEPARENT, Trace, parse_timeout, timeout_header};
use crate::guard::{CALLER_HEADER, CALLER_WORKLOAD};
use crate::status::reason;
use crate::{Host, Identity, task};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Kept back at each hop, so that the answer of a call that timed out below still gets back in time.
const DEADLINE_MARGIN: Duration = Duration::from_millis(5);

/// A connection to one service, shared by its clones.
#[derive(Clone)]
pub struct MeshChannel {
    shared: Arc<Shared>,
    on_own_behalf: bool,
}

struct Shared {
    identity: Arc<Identity>,
    entropy: Arc<dyn Entropy>,
    to: Workload,
    address: String,
    authority: Authority,
    connection: Mutex<Option<Connection>>,
    /// Held while dialling, so that a burst of calls makes one connection.
    dialling: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Connection {
    requests: SendRequest<Body>,
    aliases: Arc<Known>,
}

impl Connection {
    /// Sends a request, with the alias of its token in the place of the token if it has one.
    async fn send(mut self, mut request: Request<Body>) -> Result<Response<Body>, Unanswered> {
        let token = self.aliases.shorten(request.headers_mut());
        match self.requests.try_send_request(request).await {
            Ok(mut response) => {
                self.aliases.learn(token, response.headers_mut());
                Ok(response.map(Body::new))
            }
            Err(mut error) => {
                let mut unsent = error.take_message();
                unsent.iter_mut().for_each(|request| restore(request.headers_mut(), token.as_ref()));
                Err(Unanswered { unsent, error: error.into_error() })
            }
        }
    }
}

/// There is no answer.
struct Unanswered {
    /// The request as it was, if nothing of it was sent: the connection had just closed.
    unsent: Option<Request<Body>>,
    error: hyper::Error,
}

impl MeshChannel {
    /// A channel to `to` at `address` (`host:port`). Nothing is dialled yet.
    #[must_use]
    pub fn new(identity: Arc<Identity>, to: Workload, address: &str, host: &Host) -> Self {
        let shared = Shared {
            identity,
            entropy: Arc::clone(&host.entropy),
            to,
            address: address.to_owned(),
            authority: Authority::from_static(to.name()),
            connection: Mutex::new(None),
            dialling: tokio::sync::Mutex::new(()),
        };
        Self { shared: Arc::new(shared), on_own_behalf: false }
    }

    /// The same connection for calls on this process's own behalf, without an end user.
    #[must_use]
    pub fn as_workload(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), on_own_behalf: true }
    }

    /// Sends one request.
    ///
    /// # Errors
    /// UNAVAILABLE if no connection can be made or it is lost, DEADLINE_EXCEEDED if the time is up.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        let deadline = self.prepare(&mut request)?;
        let exchange = self.shared.exchange(request);
        let Some(deadline) = deadline else { return exchange.await };
        tokio::time::timeout_at(deadline, exchange).await.map_err(|_| reason::DEADLINE.status())?
    }

    /// Sets what every request carries; returns when the answer must be there.
    fn prepare(&self, request: &mut Request<Body>) -> Result<Option<Instant>, Status> {
        let context = Context::current();
        let asked = parse_timeout(request.headers()).map_err(|_| reason::INTERNAL.status())?;
        let asked = asked.map(|timeout| Instant::now() + timeout);
        let ours = context.as_ref().and_then(|context| context.deadline);
        let deadline = asked.into_iter().chain(ours).min();
        if let Some(deadline) = deadline {
            let remaining =
                deadline.saturating_duration_since(Instant::now()).saturating_sub(DEADLINE_MARGIN);
            if remaining.is_zero() {
                return Err(reason::DEADLINE.status());
            }
            request.headers_mut().extend(timeout_header(remaining).map(|value| (GRPC_TIMEOUT_NAME, value)));
        }
        let entropy = self.shared.entropy.as_ref();
        let trace = context.map_or_else(
            || Trace::continue_from(request.headers(), entropy),
            |context| context.trace.child(entropy),
        );
        let headers = request.headers_mut();
        if let Some(parent) = trace.header() {
            headers.insert(TRACEPARENT, parent);
        }
        headers.remove(TOKEN_ALIAS);
        if self.on_own_behalf {
            headers.remove(header::AUTHORIZATION);
            headers.insert(CALLER_HEADER, HeaderValue::from_static(CALLER_WORKLOAD));
        } else {
            headers.remove(CALLER_HEADER);
        }
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(Scheme::HTTPS);
        uri.authority = Some(self.shared.authority.clone());
        *request.uri_mut() = Uri::from_parts(uri).map_err(|_| reason::INTERNAL.status())?;
        Ok(deadline)
    }
}

const GRPC_TIMEOUT_NAME: header::HeaderName = header::HeaderName::from_static(GRPC_TIMEOUT);

impl Shared {
    async fn exchange(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        match self.connection().await?.send(request).await {
            Ok(response) => Ok(response),
            Err(Unanswered { unsent: Some(request), .. }) => {
                let again = self.connection().await?.send(request).await;
                again.map_err(|unanswered| self.unavailable(&unanswered.error))
            }
            Err(unanswered) => Err(self.unavailable(&unanswered.error)),
        }
    }

    fn unavailable(&self, error: &dyn std::error::Error) -> Status {
        tracing::warn!(upstream = %self.to, error = %Chain(error), "no answer from upstream");
        reason::UPSTREAM_UNAVAILABLE.status()
    }

    fn open(&self) -> Option<Connection> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.as_ref().filter(|connection| !connection.requests.is_closed()).cloned()
    }

    async fn connection(&self) -> Result<Connection, Status> {
        if let Some(connection) = self.open() {
            return Ok(connection);
        }
        let _dialling = self.dialling.lock().await;
        if let Some(connection) = self.open() {
            return Ok(connection);
        }
        let dialled = tokio::time::timeout(CONNECT_TIMEOUT, self.dial()).await;
        let connection = match dialled {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(self.unavailable(&error)),
            Err(elapsed) => return Err(self.unavailable(&elapsed)),
        };
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
        Ok(connection)
    }

    async fn dial(&self) -> Result<Connection, DialError> {
        let tcp = TcpStream::connect(self.address.as_str()).await?;
        tcp.set_nodelay(true)?;
        let config = self.identity.client_config(self.to).ok_or(DialError::NoIdentity)?;
        let name = ServerName::try_from(self.to.name()).map_err(|_| DialError::NoIdentity)?;
        let tls = TlsConnector::from(config).connect(name, tcp).await?;
        let (requests, driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_header_list_size(16 * 1_024)
            .handshake(TokioIo::new(tls))
            .await?;
        let to = self.to;
        task::spawn("mesh-connection", async move {
            if let Err(error) = driver.await {
                tracing::debug!(upstream = %to, %error, "connection closed");
            }
        });
        Ok(Connection { requests, aliases: Arc::default() })
    }
}

#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("can't connect")]
    Io(#[from] std::io::Error),
    #[error("HTTP/2 handshake failed")]
    Http2(#[from] hyper::Error),
    #[error("this process has no identity for the upstream")]
    NoIdentity,
}

/// Shows an error with its sources.
pub(crate) struct Chain<'error>(pub(crate) &'error dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl Service<Request<Body>> for MeshChannel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let channel = self.clone();
        Box::pin(async move { channel.send(request).await })
    }
}
