//! The configuration sections that every process of the mesh shares.
//!
//! Secrets are never in the configuration itself, only the paths of the files that hold them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portal_core::{TrustDomain, Workload};
use serde::Deserialize;

/// `[server]`: where the process listens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Address of the service itself.
    pub listen: SocketAddr,
    /// Address of `/metrics`, `/livez` and `/readyz`; plain HTTP, not for the outside. Default `127.0.0.1:9464`.
    #[serde(default = "default_admin_listen")]
    pub admin_listen: SocketAddr,
    /// How long calls under way may take to finish after SIGTERM, in seconds. Default 20.
    #[serde(default = "default_drain_seconds")]
    pub drain_seconds: u64,
}

impl ServerConfig {
    /// How long a drain may take.
    #[must_use]
    pub const fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

fn default_admin_listen() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 9464))
}

const fn default_drain_seconds() -> u64 {
    20
}

/// `[identity]`: the workload certificate. The files are read again when they change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// The SPIFFE trust domain of the mesh. Default `portal.local`.
    #[serde(default = "default_trust_domain")]
    pub trust_domain: String,
    /// PEM file of the certificate: the leaf alone when the root issued it.
    pub certificate_file: PathBuf,
    /// PEM file of the private key (PKCS#8).
    pub private_key_file: PathBuf,
    /// PEM file of the roots that peers are checked against; more than one while they rotate.
    pub trust_bundle_file: PathBuf,
}

impl IdentityConfig {
    /// The trust domain, parsed.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] if it is no SPIFFE trust domain.
    pub fn trust_domain(&self) -> Result<TrustDomain, ConfigError> {
        TrustDomain::parse(&self.trust_domain).map_err(|error| ConfigError::Invalid {
            key: "identity.trust_domain",
            problem: error.to_string(),
        })
    }
}

/// `[edge_tls]`: the certificates that clients from outside are shown. Clients that can verify ML-DSA-65 get that one, all
/// others the ECDSA P-256 one; with only one of the two, everybody gets that. The files are read again when they change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeTlsConfig {
    /// PEM file of the ML-DSA-65 certificate: the leaf first, then what is between it and its root.
    #[serde(default)]
    pub ml_dsa_certificate_file: Option<PathBuf>,
    /// PEM file of its private key (PKCS#8).
    #[serde(default)]
    pub ml_dsa_private_key_file: Option<PathBuf>,
    /// PEM file of the ECDSA P-256 certificate: the leaf first, then what is between it and its root.
    #[serde(default)]
    pub ecdsa_certificate_file: Option<PathBuf>,
    /// PEM file of its private key (PKCS#8 or SEC 1).
    #[serde(default)]
    pub ecdsa_private_key_file: Option<PathBuf>,
}

fn default_trust_domain() -> String {
    "portal.local".to_owned()
}

/// `[upstreams]`: `host:port` of the services this process calls.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct UpstreamsConfig(BTreeMap<UpstreamName, String>);

#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "lowercase")]
enum UpstreamName {
    Auth,
    Consent,
    Valuation,
}

impl UpstreamsConfig {
    /// Upstreams by name; used where the addresses are only known at run time.
    #[must_use]
    pub fn new(addresses: &[(Workload, SocketAddr)]) -> Self {
        let entry = |(workload, address): &(Workload, SocketAddr)| {
            UpstreamName::of(*workload).map(|name| (name, address.to_string()))
        };
        Self(addresses.iter().filter_map(entry).collect())
    }

    /// The address of `workload`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] if it is not configured.
    pub fn address(&self, workload: Workload) -> Result<&str, ConfigError> {
        let missing = || ConfigError::Invalid {
            key: "upstreams",
            problem: format!("must name the address of {workload} as host:port"),
        };
        UpstreamName::of(workload).and_then(|name| self.0.get(&name)).map(String::as_str).ok_or_else(missing)
    }
}

impl UpstreamName {
    const fn of(workload: Workload) -> Option<Self> {
        match workload {
            Workload::Auth => Some(Self::Auth),
            Workload::Consent => Some(Self::Consent),
            Workload::Gateway => None,
            Workload::Valuation => Some(Self::Valuation),
        }
    }
}

/// `[authorization]`: who may call what, beside what Portal's own policies say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizationConfig {
    /// Folder with policies in Cedar, in files that end with `.cedar`; read at start. Without it Portal's own hold alone.
    #[serde(default)]
    pub policies: Option<PathBuf>,
}

/// `[telemetry]`: what is logged.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Filter of `tracing-subscriber`, for example `info` or `info,portal_auth=debug`. Default `info`.
    #[serde(default = "default_log")]
    pub log: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: default_log() }
    }
}

fn default_log() -> String {
    "info".to_owned()
}

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value is not what it must be.
    #[error("{key}: {problem}")]
    Invalid {
        /// The key, for example `identity.trust_domain`.
        key: &'static str,
        /// What it must be.
        problem: String,
    },
    /// A file that the configuration names can't be read.
    #[error("can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Reads a text file that the configuration names.
///
/// # Errors
/// [`ConfigError::Read`].
pub fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}
