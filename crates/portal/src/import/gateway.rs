//! A connection to the gateway on this machine, for generated clients.

use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Context as _;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::header::{self, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portal_mesh::task;
use tokio::net::TcpStream;
use tonic::body::Body;
use tower::Service;

use crate::config::Unusable;

/// Where the gateway is, and who calls.
pub struct Gateway {
    authority: Authority,
    authorization: HeaderValue,
}

impl Gateway {
    /// At `url`, with an access token.
    pub fn new(url: &str, token: &str) -> Result<Self, Unusable> {
        let uri: Option<Uri> = url.parse().ok().filter(|uri: &Uri| uri.scheme_str() == Some("http"));
        let authority = uri.and_then(|uri| uri.authority().cloned()).ok_or_else(|| {
            Unusable::one(format!("{url}: the gateway's address must be like http://127.0.0.1:8080"))
        })?;
        let authorization = HeaderValue::try_from(format!("Bearer {token}"));
        let mut authorization = authorization
            .map_err(|_| Unusable::one("the token can't be sent: it is not one line".to_owned()))?;
        authorization.set_sensitive(true);
        Ok(Self { authority, authorization })
    }

    /// A new connection. The token is never sent over a network in the clear: only to this machine.
    pub async fn connect(&self) -> anyhow::Result<Channel> {
        let address =
            (self.authority.host().trim_matches(['[', ']']), self.authority.port_u16().unwrap_or(80));
        let stream = TcpStream::connect(address).await.context("can't reach the gateway")?;
        if !stream.peer_addr()?.ip().is_loopback() {
            let problem =
                "the gateway must be on this machine: a token is not sent over a network in the clear";
            return Err(Unusable::one(problem.to_owned()).into());
        }
        stream.set_nodelay(true)?;
        let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        task::spawn("import-connection", async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "the connection to the gateway has ended");
            }
        });
        let (authority, authorization) = (self.authority.clone(), self.authorization.clone());
        Ok(Channel { sender, authority, authorization })
    }
}

/// One connection. Generated clients take it.
#[derive(Clone)]
pub struct Channel {
    sender: http2::SendRequest<Body>,
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
        parts.scheme = Some(hyper::http::uri::Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        request.headers_mut().insert(header::AUTHORIZATION, self.authorization.clone());
        Box::pin(self.sender.send_request(request))
    }
}
