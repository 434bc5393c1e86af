//! Takes connections: a bounded number of handshakes at a time, each with a time limit, none of them blocking another.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use portal_core::Workload;
use rustls::NamedGroup;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::alias::Given;
use crate::certificate::Algorithm;
use crate::identity::Identity;
use crate::metrics::{Listener, Negotiated, TlsMetrics};
use crate::{svid, task};

pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_HANDSHAKES: usize = 64;
/// A failing `accept` (no file descriptors left, say) is tried again after this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who is at the other end of a connection, proven by its certificate.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The workload its SPIFFE id names.
    pub workload: Workload,
    /// The key exchange group.
    pub group: Option<NamedGroup>,
    /// Where it connects from.
    pub address: SocketAddr,
}

/// What is known of a connection.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) peer: Peer,
    pub(crate) aliases: Arc<Given>,
}

/// A connection whose other end is known.
pub(crate) struct MeshStream {
    stream: TlsStream<TcpStream>,
    connection: Connection,
}

/// Accepts connections until the returned stream is dropped.
pub(crate) fn accept(
    listener: TcpListener,
    identity: Arc<Identity>,
    metrics: TlsMetrics,
) -> impl Stream<Item = io::Result<MeshStream>> {
    let (ready, connections) = mpsc::channel(MAX_HANDSHAKES);
    task::spawn("mesh-accept", async move {
        let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        loop {
            let Ok(slot) = Arc::clone(&handshakes).acquire_owned().await else { return };
            let (tcp, address) = tokio::select! {
                () = ready.closed() => return,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "can't accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let (identity, metrics, ready) = (Arc::clone(&identity), metrics.clone(), ready.clone());
            task::spawn("mesh-handshake", async move {
                let shaken = handshake(tcp, address, &identity).await;
                metrics.handshake(Listener::Mesh, shaken.as_ref().map(MeshStream::negotiated));
                match shaken {
                    Ok(stream) => {
                        // The receiver is gone only when the server stops: the connection closes with it.
                        drop(ready.send(Ok(stream)).await);
                    }
                    Err(error) => {
                        tracing::info!(%address, %error, "refused a connection");
                    }
                }
                drop(slot);
            });
        }
    });
    ReceiverStream::new(connections)
}

async fn handshake(tcp: TcpStream, address: SocketAddr, identity: &Identity) -> io::Result<MeshStream> {
    tcp.set_nodelay(true)?;
    let acceptor = TlsAcceptor::from(identity.server_config());
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(tcp))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"))??;
    let (_, connection) = stream.get_ref();
    let workload = connection
        .peer_certificates()
        .and_then(<[_]>::first)
        .and_then(|leaf| svid::workload(leaf, identity.trust_domain()).ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::PermissionDenied, "the peer has no identity"))?;
    let group = connection.negotiated_key_exchange_group().map(rustls::crypto::SupportedKxGroup::name);
    let connection = Connection { peer: Peer { workload, group, address }, aliases: Arc::default() };
    Ok(MeshStream { stream, connection })
}

impl MeshStream {
    /// Both sides sign with ML-DSA-65: nothing else is accepted.
    fn negotiated(&self) -> Negotiated {
        Negotiated::of(self.stream.get_ref().1, Algorithm::MlDsa65)
    }
}

impl Connected for MeshStream {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        self.connection.clone()
    }
}

impl AsyncRead for MeshStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for MeshStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
