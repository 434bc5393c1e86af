//! A client of the edge's JSON, for the demonstration: the same door as everybody's.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portal_core::SystemClock;
use portal_mesh::edge::client::{EdgeClient, Http};
use portal_mesh::task;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::files;

/// One connection to the edge.
pub struct Client {
    /// Scheme and authority.
    origin: String,
    connection: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects; over TLS if a file with its roots is given.
    pub async fn connect(edge: SocketAddr, roots: Option<&Path>) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(edge).await.context("can't reach the gateway")?;
        let Some(roots) = roots else {
            let connection = Self::speak(stream).await?;
            return Ok(Self { origin: format!("http://{edge}"), connection });
        };
        let roots = files::read(roots)?.context("the roots of the edge are missing")?;
        let tls = EdgeClient::new(&roots, Http::Two, Arc::new(SystemClock))?;
        let connection = Self::speak(tls.connect(stream, "localhost").await?).await?;
        Ok(Self { origin: format!("https://{edge}"), connection })
    }

    async fn speak(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let (connection, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        task::spawn("demo-connection", async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "demo connection");
            }
        });
        Ok(connection)
    }

    /// Posts `body` to `path` with an access token, if given, and returns the answer.
    pub async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> anyhow::Result<Value> {
        let mut request =
            Request::post(format!("{}{path}", self.origin)).header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body.to_string())))?;
        let response = self.connection.clone().send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        let answer: Value = serde_json::from_slice(&answer).context("the gateway's answer is not JSON")?;
        if !status.is_success() {
            bail!("{path} answered {status}: {}", answer.get("message").unwrap_or(&Value::Null));
        }
        Ok(answer)
    }
}
