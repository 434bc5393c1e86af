//! A client of the edge's JSON, for the demonstration: the same door as everybody's.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portal_mesh::task;
use serde_json::Value;
use tokio::net::TcpStream;

/// One connection to the edge.
pub struct Client {
    edge: SocketAddr,
    connection: SendRequest<Full<Bytes>>,
}

impl Client {
    pub async fn connect(edge: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(edge).await.context("can't reach the gateway")?;
        let (connection, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        task::spawn("demo-connection", async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "demo connection");
            }
        });
        Ok(Self { edge, connection })
    }

    /// Posts `body` to `path` with an access token, if given, and returns the answer.
    pub async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> anyhow::Result<Value> {
        let mut request = Request::post(format!("http://{}{path}", self.edge))
            .header(header::CONTENT_TYPE, "application/json");
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
