//! A connection to the gateway, for generated clients: over TLS, or in the clear on this machine.

use std::io::ErrorKind;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::header::{self, HeaderValue};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portal_core::SystemClock;
use portal_mesh::edge::client::{EdgeClient, Http};
use portal_mesh::task;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::body::Body;
use tower::Service;

use crate::config::Unusable;
use crate::files;

/// Where the gateway is, and who calls.
pub struct Gateway {
    authority: Authority,
    authorization: HeaderValue,
    /// Without it the calls go in the clear.
    tls: Option<EdgeClient>,
}

impl Gateway {
    /// At `url`, with an access token; over https with the roots in `ca_file`.
    pub fn new(url: &str, token: &str, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let uri: Option<Uri> = url.parse().ok();
        let scheme = uri.as_ref().and_then(Uri::scheme_str);
        let roots = match (scheme, ca_file) {
            (Some("http"), None) => None,
            (Some("https"), Some(file)) => {
                let missing = || Unusable::one(format!("there is no {}", file.display()));
                Some(files::read(file)?.ok_or_else(missing)?)
            }
            (Some("https"), None) => {
                return Err(Unusable::one("https needs --ca-file, the roots to believe".to_owned()).into());
            }
            (Some("http"), Some(_)) => {
                return Err(Unusable::one("--ca-file is for a gateway over https".to_owned()).into());
            }
            _ => return Err(no_address(url).into()),
        };
        let authority = uri.and_then(|uri| uri.authority().cloned()).ok_or_else(|| no_address(url))?;
        let tls = roots
            .map(|roots| EdgeClient::new(&roots, Http::Two, Arc::new(SystemClock)))
            .transpose()
            .map_err(|error| Unusable::one(format!("--ca-file: {error}")))?;
        let authorization = HeaderValue::try_from(format!("Bearer {token}"));
        let mut authorization = authorization
            .map_err(|_| Unusable::one("the token can't be sent: it is not one line".to_owned()))?;
        authorization.set_sensitive(true);
        Ok(Self { authority, authorization, tls })
    }

    /// A new connection. The token is never sent over a network in the clear: only to this machine.
    pub async fn connect(&self) -> anyhow::Result<Channel> {
        let host = self.authority.host().trim_matches(['[', ']']);
        let usual = if self.tls.is_some() { 443 } else { 80 };
        let address = (host, self.authority.port_u16().unwrap_or(usual));
        let stream = TcpStream::connect(address).await.context("can't reach the gateway")?;
        stream.set_nodelay(true)?;
        let sender = match &self.tls {
            Some(tls) => speak(tls.connect(stream, host).await.map_err(|error| refused(&error))?).await?,
            None if stream.peer_addr()?.ip().is_loopback() => speak(stream).await?,
            None => {
                let problem = "the gateway must be on this machine, or over https: a token is not sent over a \
                               network in the clear";
                return Err(Unusable::one(problem.to_owned()).into());
            }
        };
        let scheme = if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let (authority, authorization) = (self.authority.clone(), self.authorization.clone());
        Ok(Channel { sender, scheme, authority, authorization })
    }
}

/// What does not believe the gateway now does not do so a second later, so that is not tried again.
fn refused(error: &std::io::Error) -> anyhow::Error {
    let problem = format!("no TLS with the gateway: {error}");
    match error.kind() {
        ErrorKind::InvalidData | ErrorKind::InvalidInput => Unusable::one(problem).into(),
        _ => anyhow::Error::msg(problem),
    }
}

fn no_address(url: &str) -> Unusable {
    Unusable::one(format!("{url}: the gateway's address must be like http://127.0.0.1:8080"))
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> anyhow::Result<http2::SendRequest<Body>> {
    let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    task::spawn("import-connection", async move {
        if let Err(error) = driver.await {
            tracing::debug!(%error, "the connection to the gateway has ended");
        }
    });
    Ok(sender)
}

/// One connection. Generated clients take it.
#[derive(Clone)]
pub struct Channel {
    sender: http2::SendRequest<Body>,
    scheme: Scheme,
    authority: Authority,
    authorization: HeaderValue,
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut parts = request.uri().clone().into_parts();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        request.headers_mut().insert(header::AUTHORIZATION, self.authorization.clone());
        Box::pin(self.sender.send_request(request))
    }
}
