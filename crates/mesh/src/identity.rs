//! The identity of a process: its workload certificate and what it accepts of others.
//!
//! Invariants of every connection inside the mesh: TLS 1.3; key exchange X25519MLKEM768 (RFC 10024) and nothing else;
//! certificates signed ML-DSA-65 (RFC 9881) and nothing else; both sides prove a SPIFFE id of the same trust domain, and
//! the client checks that it reached the workload it meant. No resumption, so a change of trust takes hold at once.
//! The files are watched: a renewed certificate or root is used for new connections without dropping a call.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use portal_core::{Clock, TrustDomain, Workload};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{ConfigError, IdentityConfig, read};
use crate::verifier::{PeerVerifier, mesh_provider, spiffe_id};
use crate::{Host, task};

/// How often the files are looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// The certificate files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The trust bundle has no certificate.
    #[error("the trust bundle has no certificate")]
    EmptyBundle,
    /// A file is not the PEM it must be.
    #[error("identity.{0} is not valid PEM of its kind")]
    Pem(&'static str),
    /// A file or the trust domain is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificate names another workload or trust domain.
    #[error("the certificate must be for {expected}")]
    OtherWorkload {
        /// The SPIFFE id that was expected.
        expected: String,
    },
    /// Key and certificate do not fit each other, or their algorithm is not ML-DSA-65.
    #[error("the certificate and key can't be used")]
    Tls(#[from] rustls::Error),
}

/// The identity of this process.
pub struct Identity {
    workload: Workload,
    trust_domain: TrustDomain,
    clock: Arc<dyn Clock>,
    material: ArcSwap<Material>,
}

struct Material {
    pem: Pem,
    server: Arc<ServerConfig>,
    clients: Vec<(Workload, Arc<ClientConfig>)>,
}

#[derive(Clone, Eq, PartialEq)]
struct Pem {
    certificate: String,
    private_key: zeroize::Zeroizing<String>,
    bundle: String,
}

impl Identity {
    /// Loads the files of `config` and watches them.
    ///
    /// # Errors
    /// [`IdentityError`] if a file is missing or is not a certificate of `workload` in the trust domain.
    pub fn load(
        config: &IdentityConfig,
        workload: Workload,
        host: &Host,
    ) -> Result<Arc<Self>, IdentityError> {
        let trust_domain = config.trust_domain()?;
        let material = Material::build(Pem::read(config)?, workload, &trust_domain, &host.clock)?;
        let identity = Arc::new(Self {
            workload,
            trust_domain,
            clock: Arc::clone(&host.clock),
            material: ArcSwap::from_pointee(material),
        });
        let watched = Arc::downgrade(&identity);
        let config = config.clone();
        task::spawn("identity-reload", async move {
            loop {
                tokio::time::sleep(RELOAD_INTERVAL).await;
                let Some(identity) = watched.upgrade() else { return };
                if let Err(error) = identity.reload(&config) {
                    tracing::warn!(%workload, %error, "kept the old certificate: the new files can't be used");
                }
            }
        });
        Ok(identity)
    }

    /// Reads the files again; new connections use them if they changed and are usable.
    ///
    /// # Errors
    /// As [`Self::load`]; what was loaded before stays in use.
    pub fn reload(&self, config: &IdentityConfig) -> Result<(), IdentityError> {
        let pem = Pem::read(config)?;
        if pem != self.material.load().pem {
            let material = Material::build(pem, self.workload, &self.trust_domain, &self.clock)?;
            self.material.store(Arc::new(material));
            tracing::info!(workload = %self.workload, "a new workload certificate is in use");
        }
        Ok(())
    }

    /// Which workload this process is.
    #[must_use]
    pub const fn workload(&self) -> Workload {
        self.workload
    }

    /// The trust domain of the mesh.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.material.load().server)
    }

    pub(crate) fn client_config(&self, to: Workload) -> Option<Arc<ClientConfig>> {
        let material = self.material.load();
        material.clients.iter().find(|(workload, _)| *workload == to).map(|(_, config)| Arc::clone(config))
    }
}

impl Pem {
    fn read(config: &IdentityConfig) -> Result<Self, IdentityError> {
        Ok(Self {
            certificate: read(&config.certificate_file)?,
            private_key: zeroize::Zeroizing::new(read(&config.private_key_file)?),
            bundle: read(&config.trust_bundle_file)?,
        })
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| IdentityError::Pem("certificate_file"))
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        PrivateKeyDer::from_pem_slice(self.private_key.as_bytes())
            .map_err(|_| IdentityError::Pem("private_key_file"))
    }

    fn roots(&self) -> Result<RootCertStore, IdentityError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.bundle.as_bytes()) {
            roots.add(certificate.map_err(|_| IdentityError::Pem("trust_bundle_file"))?)?;
        }
        if roots.is_empty() { Err(IdentityError::EmptyBundle) } else { Ok(roots) }
    }
}

impl Material {
    fn build(
        pem: Pem,
        workload: Workload,
        trust_domain: &TrustDomain,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, IdentityError> {
        let (chain, roots) = (pem.chain()?, Arc::new(pem.roots()?));
        let expected = trust_domain.spiffe_id(workload);
        if chain.first().and_then(|leaf| spiffe_id(leaf)) != Some(expected.clone()) {
            return Err(IdentityError::OtherWorkload { expected });
        }
        let time = Arc::new(MeshTime(Arc::clone(clock)));
        let server = server_config(&pem, chain.clone(), trust_domain, &roots, Arc::clone(&time))?;
        let client = |to: Workload| {
            let config = client_config(&pem, chain.clone(), trust_domain, to, &roots, Arc::clone(&time))?;
            Ok::<_, IdentityError>((to, Arc::new(config)))
        };
        let clients = Workload::ALL.into_iter().map(client).collect::<Result<_, _>>()?;
        Ok(Self { server: Arc::new(server), clients, pem })
    }
}

fn server_config(
    pem: &Pem,
    chain: Vec<CertificateDer<'static>>,
    trust_domain: &TrustDomain,
    roots: &Arc<RootCertStore>,
    time: Arc<MeshTime>,
) -> Result<ServerConfig, IdentityError> {
    let verifier = PeerVerifier::for_clients(trust_domain.clone(), roots)?;
    let mut config = ServerConfig::builder_with_details(mesh_provider(), time)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, pem.key()?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[expect(clippy::too_many_arguments, reason = "each is a part of one TLS configuration")]
fn client_config(
    pem: &Pem,
    chain: Vec<CertificateDer<'static>>,
    trust_domain: &TrustDomain,
    to: Workload,
    roots: &Arc<RootCertStore>,
    time: Arc<MeshTime>,
) -> Result<ClientConfig, IdentityError> {
    let verifier = PeerVerifier::for_server(trust_domain.clone(), to, roots);
    let mut config = ClientConfig::builder_with_details(mesh_provider(), time)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous() // the usual check is of DNS names; ours is of the chain and the SPIFFE id
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, pem.key()?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The injected clock, as rustls asks for it.
struct MeshTime(Arc<dyn Clock>);

impl std::fmt::Debug for MeshTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MeshTime")
    }
}

impl TimeProvider for MeshTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}
