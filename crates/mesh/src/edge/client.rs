//! A client of the edge, for commands of our own: TLS as the edge speaks it, with roots from a file.

use std::io;
use std::sync::Arc;

use portal_core::Clock;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{HTTP_1, HTTP_2, provider};
use crate::identity::MeshTime;

/// The one that is guessed first comes first.
const GROUPS: &[&dyn SupportedKxGroup] = &[kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1];

/// A stream to the edge.
pub type EdgeClientStream = tokio_rustls::client::TlsStream<TcpStream>;

/// Which HTTP a client speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

/// What connections to the edge are made with.
pub struct EdgeClient(TlsConnector);

impl EdgeClient {
    /// A client that believes the roots in `roots_pem`, at the time that `clock` shows.
    ///
    /// # Errors
    /// `InvalidInput` if there are no roots in it that can be used.
    pub fn new(roots_pem: &str, http: Http, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let invalid = |problem: &str| io::Error::new(io::ErrorKind::InvalidInput, problem);
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(roots_pem.as_bytes()) {
            let certificate = certificate.map_err(|_| invalid("the roots are not PEM"))?;
            roots.add(certificate).map_err(|_| invalid("a root can't be used"))?;
        }
        if roots.is_empty() {
            return Err(invalid("there is no root certificate"));
        }
        Self::with_roots(roots, http, clock)
    }

    /// A client that believes `roots`.
    pub(crate) fn with_roots(roots: RootCertStore, http: Http, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let mut config = ClientConfig::builder_with_details(provider(GROUPS), Arc::new(MeshTime(clock)))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let protocol = match http {
            Http::One => HTTP_1,
            Http::Two => HTTP_2,
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Makes `tcp` a connection to `name`: a host or an IP address, which the certificate has to be for.
    ///
    /// # Errors
    /// `InvalidInput` if the name can't be one of a server, else as the handshake.
    pub async fn connect(&self, tcp: TcpStream, name: &str) -> io::Result<EdgeClientStream> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the name can't be one of a server"))?;
        self.0.connect(name, tcp).await
    }
}
