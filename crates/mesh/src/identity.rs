//! The identity of a process: its workload certificate and what it accepts of others.
//!
//! Invariants of every connection inside the mesh: TLS 1.3; key exchange X25519MLKEM768 (RFC 10024) and nothing else;
//! certificates signed ML-DSA-65 (RFC 9881) and nothing else; both sides prove a SPIFFE id of the same trust domain, and
//! the client checks that it reached the workload it meant. No resumption, so a change of trust takes hold at once.
//! The files are watched: a renewed certificate or root is used for new connections without dropping a call.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use portal_core::{Clock, Timestamp, TrustDomain, Workload};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::Host;
use crate::certificate::{Algorithm, Facts, Pair, Untimely};
use crate::config::{ConfigError, IdentityConfig, read};
use crate::reload::{self, Reloaded};
use crate::svid::{self, SvidError};
use crate::verifier::{PeerVerifier, mesh_provider};

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
    /// The certificate breaks a rule of X.509-SVIDs, and peers would refuse it.
    #[error("identity.certificate_file")]
    Svid(#[source] SvidError),
    /// A root breaks a rule of X.509-SVIDs, or is of another trust domain.
    #[error("identity.trust_bundle_file")]
    Root(#[source] SvidError),
    /// The certificate has expired or is not valid yet, and peers would refuse it.
    #[error("identity.certificate_file")]
    Time(#[from] Untimely),
    /// Key and certificate do not fit each other, or their algorithm is not ML-DSA-65.
    #[error("the certificate and key can't be used")]
    Tls(#[from] rustls::Error),
}

/// The identity of this process.
pub struct Identity {
    workload: Workload,
    trust_domain: TrustDomain,
    clock: Arc<dyn Clock>,
    files: IdentityConfig,
    material: ArcSwap<Material>,
}

struct Material {
    pem: Pem,
    not_after: Timestamp,
    server: Arc<ServerConfig>,
    clients: Vec<(Workload, Arc<ClientConfig>)>,
}

#[derive(Clone, Eq, PartialEq)]
struct Pem {
    own: Pair,
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
            files: config.clone(),
            material: ArcSwap::from_pointee(material),
        });
        reload::watch(workload.name(), &identity, host.metrics.tls(), Arc::clone(&host.clock));
        Ok(identity)
    }

    /// Every problem of the files that `config` names, for someone who is about to start `workload` with it.
    #[must_use]
    pub fn problems(
        config: &IdentityConfig,
        workload: Workload,
        clock: &Arc<dyn Clock>,
    ) -> Vec<IdentityError> {
        let checked = config.trust_domain().map_err(IdentityError::from).and_then(|trust_domain| {
            Material::build(Pem::read(config)?, workload, &trust_domain, clock).map(drop)
        });
        checked.err().into_iter().collect()
    }

    /// Reads the files again; new connections use them if they changed and are usable. Says whether they did.
    ///
    /// # Errors
    /// As [`Self::load`]; what was loaded before stays in use.
    pub fn reload(&self) -> Result<bool, IdentityError> {
        let pem = Pem::read(&self.files)?;
        let new = pem != self.material.load().pem;
        if new {
            let material = Material::build(pem, self.workload, &self.trust_domain, &self.clock)?;
            self.material.store(Arc::new(material));
        }
        Ok(new)
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

    /// What a connection is accepted with.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.material.load().server)
    }

    /// What a connection to `to` is made with.
    #[must_use]
    pub fn client_config(&self, to: Workload) -> Option<Arc<ClientConfig>> {
        let material = self.material.load();
        material.clients.iter().find(|(workload, _)| *workload == to).map(|(_, config)| Arc::clone(config))
    }
}

impl Reloaded for Identity {
    type Error = IdentityError;

    fn look(&self) -> (bool, Vec<IdentityError>) {
        match self.reload() {
            Ok(new) => (new, Vec::new()),
            Err(error) => (false, vec![error]),
        }
    }

    fn not_after(&self) -> Vec<(Algorithm, Timestamp)> {
        vec![(Algorithm::MlDsa65, self.material.load().not_after)]
    }
}

impl Pem {
    fn read(config: &IdentityConfig) -> Result<Self, IdentityError> {
        let own = Pair::read(&config.certificate_file, &config.private_key_file)?;
        Ok(Self { own, bundle: read(&config.trust_bundle_file)? })
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        self.own.chain().ok_or(IdentityError::Pem("certificate_file"))
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        self.own.key().ok_or(IdentityError::Pem("private_key_file"))
    }

    /// The roots of the trust domain. A bundle is that of one trust domain: what another one signs is not ours to believe.
    fn roots(&self, trust_domain: &TrustDomain) -> Result<RootCertStore, IdentityError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.bundle.as_bytes()) {
            let certificate = certificate.map_err(|_| IdentityError::Pem("trust_bundle_file"))?;
            svid::check_authority(&certificate, trust_domain).map_err(IdentityError::Root)?;
            roots.add(certificate)?;
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
        let (chain, roots) = (pem.chain()?, Arc::new(pem.roots(trust_domain)?));
        let (leaf, intermediates) = chain.split_first().ok_or(IdentityError::Pem("certificate_file"))?;
        match svid::chain(leaf, intermediates, trust_domain) {
            Ok(named) if named == workload => {}
            Ok(_) | Err(SvidError::Stranger) => {
                return Err(IdentityError::OtherWorkload { expected: trust_domain.spiffe_id(workload) });
            }
            Err(error) => return Err(IdentityError::Svid(error)),
        }
        let facts = Facts::of(leaf).ok_or(IdentityError::Pem("certificate_file"))?;
        facts.check_time(clock.as_ref())?;
        let time = Arc::new(MeshTime(Arc::clone(clock)));
        let server = server_config(&pem, chain.clone(), trust_domain, &roots, Arc::clone(&time))?;
        let client = |to: Workload| {
            let config = client_config(&pem, chain.clone(), trust_domain, to, &roots, Arc::clone(&time))?;
            Ok::<_, IdentityError>((to, Arc::new(config)))
        };
        let clients = Workload::ALL.into_iter().map(client).collect::<Result<_, _>>()?;
        Ok(Self { server: Arc::new(server), clients, not_after: facts.not_after, pem })
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
pub(crate) struct MeshTime(pub(crate) Arc<dyn Clock>);

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
