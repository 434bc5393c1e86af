//! Forms that are posted to servers outside: those that an operator has named, and no others.
//!
//! Invariants: TLS 1.3, with X25519MLKEM768 where the server knows it, checked against the system's roots or those of a file;
//! without TLS only on this machine. A redirect is an answer like any other, and is not followed; of an answer only the
//! status is read; settings of the environment for proxies are not heeded. Each post has a connection and a time limit of its
//! own: no server keeps another one waiting.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use portal_core::Clock;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_native_certs::{CertificateResult, load_native_certs};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::{ConfigError, read};
use crate::edge::client::{EdgeClient, Http};

/// From the look-up of the name to the answer's status.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes that are read of an answer: its head has to be among them.
const MAX_ANSWER: usize = 8 * 1_024;

/// Why there is no answer. Holds nothing of what was posted, and nothing of what came back.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unanswered {
    /// The URI names no server, or one elsewhere without TLS.
    #[error("the URI is not https, or http on this machine")]
    Address,
    /// There is no connection: no such name, nobody there, a certificate that is not believed.
    #[error("the server can't be reached: {0}")]
    Connect(io::ErrorKind),
    /// What came back is not HTTP.
    #[error("the server does not answer in HTTP")]
    Http,
    /// It takes too long.
    #[error("the server takes too long")]
    Late,
}

/// Posts forms.
pub struct Outbound(EdgeClient);

impl Outbound {
    /// One that believes the roots in `ca_file` alone, or those of the system.
    ///
    /// # Errors
    /// [`ConfigError`] naming `key` if the file can't be used.
    pub fn new(
        ca_file: Option<&Path>,
        key: &'static str,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, ConfigError> {
        let invalid = |problem: &str| ConfigError::Invalid { key, problem: problem.to_owned() };
        let mut roots = RootCertStore::empty();
        if let Some(file) = ca_file {
            for root in CertificateDer::pem_slice_iter(read(file)?.as_bytes()) {
                let root = root.map_err(|_| invalid("must hold certificates in PEM"))?;
                roots.add(root).map_err(|_| invalid("holds a certificate that can't be used"))?;
            }
            if roots.is_empty() {
                return Err(invalid("holds no certificate"));
            }
        } else {
            roots = system_roots(load_native_certs(), key);
        }
        let client = EdgeClient::with_roots(roots, Http::One, Arc::clone(clock));
        Ok(Self(client.map_err(|_| invalid("can't be used"))?))
    }

    /// Posts `form` (`application/x-www-form-urlencoded`) to `uri`, and says with what status it is answered.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn post_form(&self, uri: &str, form: String) -> Result<StatusCode, Unanswered> {
        let posted = tokio::time::timeout(PATIENCE, self.post(uri, form));
        posted.await.map_err(|_| Unanswered::Late)?
    }

    async fn post(&self, uri: &str, form: String) -> Result<StatusCode, Unanswered> {
        let uri: Uri = uri.parse().map_err(|_| Unanswered::Address)?;
        let (scheme, host) = uri.scheme_str().zip(uri.host()).ok_or(Unanswered::Address)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let unreached = |error: io::Error| Unanswered::Connect(error.kind());
        let port = |usual| uri.port_u16().unwrap_or(usual);
        match scheme {
            "https" => {
                let tcp = TcpStream::connect((host, port(443))).await.map_err(unreached)?;
                let stream = self.0.connect(tcp, host).await.map_err(unreached)?;
                exchange(stream, request(&uri, form)?).await
            }
            "http" => {
                let tcp = TcpStream::connect((host, port(80))).await.map_err(unreached)?;
                if !tcp.peer_addr().map_err(unreached)?.ip().to_canonical().is_loopback() {
                    return Err(Unanswered::Address);
                }
                exchange(tcp, request(&uri, form)?).await
            }
            _ => Err(Unanswered::Address),
        }
    }
}

/// The roots of the system. Without any nobody is believed, and there may be nobody to post to: that is said, and no error.
fn system_roots(loaded: CertificateResult, key: &'static str) -> RootCertStore {
    for error in loaded.errors {
        tracing::warn!(%error, "roots of the system can't be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        tracing::warn!(
            key,
            "the system has no root certificates: nobody is reached by https unless the key names some"
        );
    }
    roots
}

fn request(uri: &Uri, form: String) -> Result<Request<Full<Bytes>>, Unanswered> {
    let authority = uri.authority().ok_or(Unanswered::Address)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, authority.as_str())
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::CONNECTION, "close")
        .body(Full::from(form))
        .map_err(|_| Unanswered::Address)
}

/// Sends the request over a connection of its own, and drops that with the status: what else is answered is not read.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, Unanswered> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_ANSWER);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|_| Unanswered::Http)?;
    let (mut sent, mut connection) = (pin!(sender.send_request(request)), pin!(connection));
    let answered = tokio::select! {
        biased;
        answered = sent.as_mut() => answered,
        // An answer may be the last that a connection had.
        _ = connection.as_mut() => sent.await,
    };
    answered.map(|answer| answer.status()).map_err(|_| Unanswered::Http)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;

    use portal_core::{SystemClock, SystemEntropy};

    use super::*;
    use crate::edge::authority::EdgeAuthority;

    /// The roots that were found, and what is logged of them.
    fn read(loaded: CertificateResult) -> (usize, String) {
        #[derive(Clone, Default)]
        struct Log(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Log {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let roots = tracing::subscriber::with_default(subscriber, || system_roots(loaded, "some.key"));
        let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        (roots.len(), logged)
    }

    #[test]
    fn a_system_without_roots_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("roots.pem");
        let load = || rustls_native_certs::load_certs_from_paths(Some(&file), None);
        let (found, logged) = read(load());
        assert!(found == 0 && logged.contains("can't be read") && logged.contains("some.key"), "{logged}");
        std::fs::write(&file, "").unwrap();
        let (found, logged) = read(load());
        assert!(found == 0 && logged.contains("no root certificates"), "{logged}");
        let authority =
            EdgeAuthority::create(crate::Algorithm::EcdsaP256, &SystemClock, &SystemEntropy).unwrap();
        std::fs::write(&file, authority.certificate_pem()).unwrap();
        assert_eq!(read(load()), (1, String::new()));
    }
}
