//! Accepts connections and serves HTTP/1.1 and HTTP/2 on one port, within limits: over TLS if there are certificates for it,
//! else in the clear.
//!
//! Over TLS the handshake says which of the two a client speaks (ALPN); in the clear its first two bytes do (prior knowledge).
//! Both have a time limit. No limit here is a queue: a connection over the cap waits in the kernel's backlog, a stream over the
//! cap is refused by HTTP/2 itself.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use portal_mesh::Drain;
use portal_mesh::edge::EdgeTls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::body::Body;

use crate::route::Gateway;

/// Longest time for the header of a request, and longest time that an HTTP/1.1 connection may be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest time until the first two bytes of a connection.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest sum of the headers of a request; more is answered 431.
const MAX_HEADER_BYTES: u32 = 16 * 1_024;
const MAX_CONCURRENT_STREAMS: u32 = 128;
const MAX_PENDING_RESET_STREAMS: usize = 20;
const MAX_LOCAL_ERROR_RESETS: usize = 128;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A failing `accept` (no file descriptors left, say) is tried again after this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where clients come in.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    /// Without it they come in the clear.
    pub(crate) tls: Option<Arc<EdgeTls>>,
    pub(crate) max_connections: usize,
}

/// Accepts until the drain starts, then waits for the connections to finish.
pub(crate) async fn accept(door: Door, gateway: Arc<Gateway>, drain: Drain) {
    let Door { listener, tls, max_connections } = door;
    let slots = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    let mut stop = pin!(drain.clone().started());
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = next(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                let (tls, gateway, drain) = (tls.clone(), Arc::clone(&gateway), drain.clone());
                connections.spawn(async move {
                    gateway.metrics.connections.inc();
                    if let Err(error) = serve((stream, peer), tls.as_deref(), &gateway, drain).await {
                        tracing::debug!(%error, "a connection ended in error");
                    }
                    gateway.metrics.connections.dec();
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, IpAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer.ip(), slot))
}

#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("no request in time")]
    FirstBytes(#[from] tokio::time::error::Elapsed),
    #[error("HTTP")]
    Http(#[from] hyper::Error),
    #[error("the socket")]
    Io(#[from] io::Error),
}

async fn serve(
    (stream, peer): (TcpStream, IpAddr),
    tls: Option<&EdgeTls>,
    gateway: &Arc<Gateway>,
    drain: Drain,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let service = service_fn(move |request: Request<Incoming>| {
        let gateway = Arc::clone(gateway);
        async move { Ok::<_, Infallible>(gateway.serve(peer, request).await) }
    });
    if let Some(tls) = tls {
        let accepted = tokio::select! {
            () = drain.clone().started() => return Ok(()),
            accepted = tls.accept(stream) => accepted?,
        };
        return speak(accepted.stream, accepted.http2, service, drain).await;
    }
    let http2 = tokio::select! {
        () = drain.clone().started() => return Ok(()),
        http2 = tokio::time::timeout(FIRST_BYTES_TIMEOUT, starts_http2(&stream)) => http2??,
    };
    speak(stream, http2, service, drain).await
}

/// Serves a connection until it ends or the drain starts, then finishes what is under way. One branch per version, since the
/// two connections are two types.
async fn speak<S>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http2: bool,
    service: S,
    drain: Drain,
) -> Result<(), ConnectionError>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    let stream = TokioIo::new(stream);
    if http2 {
        let mut connection = pin!(http2_builder().serve_connection(stream, service));
        tokio::select! {
            served = connection.as_mut() => return Ok(served?),
            () = drain.started() => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    } else {
        let mut connection = pin!(http1_builder().serve_connection(stream, service));
        tokio::select! {
            served = connection.as_mut() => return Ok(served?),
            () = drain.started() => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    }
}

/// Whether the connection begins with HTTP/2's preface. No HTTP/1.1 method begins with `PR`.
async fn starts_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 2];
    loop {
        match stream.peek(&mut first).await? {
            0 => return Ok(false),
            1 if first.starts_with(b"P") => tokio::time::sleep(Duration::from_millis(5)).await,
            _ => return Ok(&first == b"PR"),
        }
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_header_size(MAX_HEADER_BYTES as usize)
        .max_buf_size(4 * MAX_HEADER_BYTES as usize);
    builder
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESET_STREAMS)
        .max_local_error_reset_streams(MAX_LOCAL_ERROR_RESETS)
        .initial_stream_window_size(256 * 1_024)
        .initial_connection_window_size(1_024 * 1_024)
        .max_send_buf_size(256 * 1_024)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}
