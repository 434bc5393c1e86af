//! TLS for clients from outside: two certificates, chosen by what the client can do.
//!
//! Invariants: TLS 1.3 only; X25519MLKEM768 wherever the client knows it, at the cost of a round trip if it has guessed
//! another, else X25519 or P-256; the ML-DSA-65 certificate if the client says that it verifies such signatures, else the ECDSA
//! P-256 one; no resumption, so every connection is made with the certificates now in force. The files are watched: renewed
//! ones are used for new connections, and those that are open go on.

pub mod authority;
pub mod client;

use std::io;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use portal_core::{Clock, Timestamp};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{Acceptor, NoServerSessionStorage};
use rustls::{NamedGroup, ServerConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;

use crate::Host;
use crate::acceptor::HANDSHAKE_TIMEOUT;
use crate::certificate::{Algorithm, Facts, Pair, Untimely};
use crate::config::{ConfigError, EdgeTlsConfig};
use crate::identity::MeshTime;
use crate::metrics::{Listener, Negotiated, TlsMetrics};
use crate::reload::{self, Reloaded};

const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// The certificates for clients can't be used. Each names the key of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum EdgeTlsError {
    /// A file can't be read, or one of a pair is not named.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file is not PEM of its kind.
    #[error("{0} is not valid PEM of its kind")]
    Pem(&'static str),
    /// The certificate's key is of another algorithm.
    #[error("{key}: its key must be one of {expected}")]
    Algorithm {
        /// The key of the configuration.
        key: &'static str,
        /// The algorithm that it is for.
        expected: Algorithm,
    },
    /// The certificate has expired or is not valid yet.
    #[error("{key}")]
    Time {
        /// The key of the configuration.
        key: &'static str,
        /// Which of the two.
        #[source]
        source: Untimely,
    },
    /// Key and certificate do not fit each other.
    #[error("{key}: the certificate and its private key can't be used together")]
    Tls {
        /// The key of the configuration.
        key: &'static str,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// A stream to a client.
pub type EdgeStream = tokio_rustls::server::TlsStream<TcpStream>;

/// A connection that a client has made.
pub struct Accepted {
    /// What it sends and gets.
    pub stream: EdgeStream,
    /// Whether client and server agreed on HTTP/2; else it is HTTP/1.1.
    pub http2: bool,
}

/// Accepts clients with the certificates of the edge.
pub struct EdgeTls {
    files: EdgeTlsConfig,
    clock: Arc<dyn Clock>,
    metrics: TlsMetrics,
    held: ArcSwap<Held>,
}

/// At least one of the two.
struct Held {
    ml_dsa: Option<Certificate>,
    ecdsa: Option<Certificate>,
}

struct Certificate {
    algorithm: Algorithm,
    pair: Pair,
    not_after: Timestamp,
    /// For clients that know X25519MLKEM768: rustls takes the group that the client likes best, so no other is at hand.
    quantum_safe: Arc<ServerConfig>,
    classical: Arc<ServerConfig>,
}

impl EdgeTls {
    /// Loads the files of `config` and watches them.
    ///
    /// # Errors
    /// [`EdgeTlsError`], if none is named, or one can't be used.
    pub fn load(config: &EdgeTlsConfig, host: &Host) -> Result<Arc<Self>, EdgeTlsError> {
        let held = Held::read(config, &host.clock)?;
        let edge = Arc::new(Self {
            files: config.clone(),
            clock: Arc::clone(&host.clock),
            metrics: host.metrics.tls(),
            held: ArcSwap::from_pointee(held),
        });
        reload::watch("edge", &edge, host.metrics.tls(), Arc::clone(&host.clock));
        Ok(edge)
    }

    /// Every problem of the files that `config` names.
    #[must_use]
    pub fn problems(config: &EdgeTlsConfig, clock: &Arc<dyn Clock>) -> Vec<EdgeTlsError> {
        let [ml_dsa, ecdsa] = config.pairs();
        let problems = [ml_dsa, ecdsa].map(|named| named.read(clock).err());
        let none = config.none_named().then(none_named);
        problems.into_iter().chain([none]).flatten().collect()
    }

    /// Reads the files again; new connections use those that changed and are usable. Says whether there are any, and what is
    /// wrong with each of the others: a certificate that can't be replaced stays in use.
    pub fn reload(&self) -> (bool, Vec<EdgeTlsError>) {
        let before = self.held.load_full();
        let [ml_dsa, ecdsa] = self.files.pairs();
        let (ml_dsa, failed) = ml_dsa.renew(&self.clock, before.ml_dsa.as_ref());
        let (ecdsa, also_failed) = ecdsa.renew(&self.clock, before.ecdsa.as_ref());
        let held = Held { ml_dsa, ecdsa };
        let new = !held.is(&before);
        if new {
            self.held.store(Arc::new(held));
        }
        (new, failed.into_iter().chain(also_failed).collect())
    }

    /// Makes the connection of a client, in a bounded time.
    ///
    /// # Errors
    /// If the two can't agree, or the client breaks off or takes too long.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<Accepted> {
        let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.handshake(tcp))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"))
            .and_then(|shaken| shaken);
        self.metrics.handshake(Listener::Edge, shaken.as_ref().map(|(_, negotiated)| *negotiated));
        shaken.map(|(accepted, _)| accepted)
    }

    async fn handshake(&self, tcp: TcpStream) -> io::Result<(Accepted, Negotiated)> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
        let held = self.held.load_full();
        let certificate = held.choose(hello.client_hello().signature_schemes());
        let certificate = certificate.ok_or_else(|| io::Error::other("the edge has no certificate"))?;
        let config = certificate.config(hello.client_hello().named_groups().unwrap_or_default());
        let stream = hello.into_stream(config).await?;
        let (_, connection) = stream.get_ref();
        let http2 = connection.alpn_protocol() == Some(HTTP_2);
        let negotiated = Negotiated::of(connection, certificate.algorithm);
        Ok((Accepted { stream, http2 }, negotiated))
    }
}

impl Reloaded for EdgeTls {
    type Error = EdgeTlsError;

    fn look(&self) -> (bool, Vec<EdgeTlsError>) {
        self.reload()
    }

    fn not_after(&self) -> Vec<(Algorithm, Timestamp)> {
        self.held.load().each().map(|certificate| (certificate.algorithm, certificate.not_after)).collect()
    }
}

impl Held {
    fn read(config: &EdgeTlsConfig, clock: &Arc<dyn Clock>) -> Result<Self, EdgeTlsError> {
        if config.none_named() {
            return Err(none_named());
        }
        let [ml_dsa, ecdsa] = config.pairs();
        Ok(Self { ml_dsa: ml_dsa.read(clock)?, ecdsa: ecdsa.read(clock)? })
    }

    /// The certificate for a client that verifies `schemes`. One that verifies neither learns it from the handshake.
    fn choose(&self, schemes: &[SignatureScheme]) -> Option<&Certificate> {
        let usable = |certificate: &&Certificate| schemes.contains(&certificate.algorithm.scheme());
        self.each().find(usable).or_else(|| self.each().last())
    }

    /// The one that is preferred first.
    fn each(&self) -> impl Iterator<Item = &Certificate> {
        self.ml_dsa.iter().chain(&self.ecdsa)
    }

    fn is(&self, other: &Self) -> bool {
        self.each().map(|one| &one.pair).eq(other.each().map(|one| &one.pair))
    }
}

/// A pair of files that the configuration may name.
struct Named<'a> {
    algorithm: Algorithm,
    certificate_key: &'static str,
    private_key_key: &'static str,
    certificate: Option<&'a Path>,
    private_key: Option<&'a Path>,
}

impl EdgeTlsConfig {
    fn none_named(&self) -> bool {
        self.pairs().iter().all(|pair| pair.certificate.is_none() && pair.private_key.is_none())
    }

    fn pairs(&self) -> [Named<'_>; 2] {
        let ml_dsa = Named {
            algorithm: Algorithm::MlDsa65,
            certificate_key: "edge_tls.ml_dsa_certificate_file",
            private_key_key: "edge_tls.ml_dsa_private_key_file",
            certificate: self.ml_dsa_certificate_file.as_deref(),
            private_key: self.ml_dsa_private_key_file.as_deref(),
        };
        let ecdsa = Named {
            algorithm: Algorithm::EcdsaP256,
            certificate_key: "edge_tls.ecdsa_certificate_file",
            private_key_key: "edge_tls.ecdsa_private_key_file",
            certificate: self.ecdsa_certificate_file.as_deref(),
            private_key: self.ecdsa_private_key_file.as_deref(),
        };
        [ml_dsa, ecdsa]
    }
}

fn none_named() -> EdgeTlsError {
    let problem = "must name a certificate and its private key".to_owned();
    ConfigError::Invalid { key: "edge_tls", problem }.into()
}

impl Named<'_> {
    /// `None` if the configuration does not name it.
    fn pair(&self) -> Result<Option<Pair>, EdgeTlsError> {
        let missing = |key| {
            let problem = "missing: a certificate and its private key are named together".to_owned();
            EdgeTlsError::Config(ConfigError::Invalid { key, problem })
        };
        match (self.certificate, self.private_key) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(missing(self.certificate_key)),
            (Some(_), None) => Err(missing(self.private_key_key)),
            (Some(certificate), Some(private_key)) => Ok(Some(Pair::read(certificate, private_key)?)),
        }
    }

    fn read(&self, clock: &Arc<dyn Clock>) -> Result<Option<Certificate>, EdgeTlsError> {
        self.pair()?.map(|pair| self.certificate(pair, clock)).transpose()
    }

    /// What to use from now on: what the files hold if it is usable, else what was in use `before`, and why.
    fn renew(
        &self,
        clock: &Arc<dyn Clock>,
        before: Option<&Certificate>,
    ) -> (Option<Certificate>, Option<EdgeTlsError>) {
        let renewed = self.pair().and_then(|pair| match pair {
            Some(pair) if before.is_none_or(|before| before.pair != pair) => {
                self.certificate(pair, clock).map(Some)
            }
            _ => Ok(None),
        });
        match renewed {
            Ok(Some(certificate)) => (Some(certificate), None),
            Ok(None) => (before.map(Certificate::again), None),
            Err(error) => (before.map(Certificate::again), Some(error)),
        }
    }

    fn certificate(&self, pair: Pair, clock: &Arc<dyn Clock>) -> Result<Certificate, EdgeTlsError> {
        let key = self.certificate_key;
        let chain = pair.chain().ok_or(EdgeTlsError::Pem(key))?;
        let facts = chain.first().and_then(Facts::of).ok_or(EdgeTlsError::Pem(key))?;
        if facts.algorithm != Some(self.algorithm) {
            return Err(EdgeTlsError::Algorithm { key, expected: self.algorithm });
        }
        facts.check_time(clock.as_ref()).map_err(|source| EdgeTlsError::Time { key, source })?;
        let private_key = pair.key().ok_or(EdgeTlsError::Pem(self.private_key_key))?;
        let time = Arc::new(MeshTime(Arc::clone(clock)));
        let configs = |groups: &[&'static dyn SupportedKxGroup]| {
            server_config(groups, Arc::clone(&time), chain.clone(), private_key.clone_key())
                .map_err(|source| EdgeTlsError::Tls { key, source })
        };
        Ok(Certificate {
            algorithm: self.algorithm,
            quantum_safe: configs(&[kx_group::X25519MLKEM768])?,
            classical: configs(&[kx_group::X25519, kx_group::SECP256R1])?,
            not_after: facts.not_after,
            pair,
        })
    }
}

impl Certificate {
    fn again(&self) -> Self {
        let (quantum_safe, classical) = (Arc::clone(&self.quantum_safe), Arc::clone(&self.classical));
        Self { pair: self.pair.clone(), quantum_safe, classical, ..*self }
    }

    /// For a client that knows `groups`.
    fn config(&self, groups: &[NamedGroup]) -> Arc<ServerConfig> {
        let knows = groups.contains(&NamedGroup::X25519MLKEM768);
        Arc::clone(if knows { &self.quantum_safe } else { &self.classical })
    }
}

fn server_config(
    groups: &[&'static dyn SupportedKxGroup],
    time: Arc<MeshTime>,
    chain: Vec<CertificateDer<'static>>,
    private_key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_details(provider(groups), time)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, private_key)?;
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The cryptography of the edge: that of the mesh, but for the key exchange.
fn provider(groups: &[&'static dyn SupportedKxGroup]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: groups.to_vec(),
        ..default_provider()
    })
}
