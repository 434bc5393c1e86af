//! The gateway's configuration file.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use ipnet::IpNet;
use portal_mesh::config::{EdgeTlsConfig, IdentityConfig, ServerConfig, TelemetryConfig, UpstreamsConfig};
use serde::Deserialize;

const MAX_PROOFS: NonZeroUsize = NonZeroUsize::new(200_000).unwrap();

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the edge listens, and its admin port.
    pub server: ServerConfig,
    /// The workload certificate.
    pub identity: IdentityConfig,
    /// Addresses of auth, consent and valuation.
    pub upstreams: UpstreamsConfig,
    /// What the outside may do.
    #[serde(default)]
    pub edge: EdgeConfig,
    /// The certificates that clients are shown. Without it the edge speaks plain HTTP, for something in front of it that
    /// ends TLS.
    #[serde(default)]
    pub edge_tls: Option<EdgeTlsConfig>,
    /// What is logged.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// `[edge]`: what the outside may do.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeConfig {
    /// Origins (`https://app.example.org`) whose pages may call the gateway from a browser. Default: none but its own.
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// The mails that auth writes as files, as a page: for a portal on one machine, whose gateway listens on loopback. Default:
    /// none.
    #[serde(default)]
    pub mailbox: Option<MailboxConfig>,
    /// Connections open at a time; more are not accepted until one closes. Default 4096.
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// Used proofs of possession (DPoP) that are remembered for two minutes, about 100 bytes each; by one key a third of them, or little
    /// more. When there are as many, further ones are refused. Default 200000.
    #[serde(default = "default_max_proofs")]
    pub max_proofs: NonZeroUsize,
    /// Where browsers and clients reach the gateway, such as `https://portal.example.org`: the issuer of OpenID Connect.
    /// Without it there are no OAuth endpoints, unless the gateway listens on loopback. Default: none.
    #[serde(default)]
    pub public_url: Option<String>,
    /// Networks (`10.0.0.0/8`) of the proxies in front of the gateway: from these, `x-forwarded-for` is believed. Without
    /// them everybody behind a proxy is one client, and shares its limits. Default: none.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
}

/// `[edge.mailbox]`: mails as a page.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailboxConfig {
    /// The folder where auth writes them instead of sending them.
    pub directory: PathBuf,
    /// File with the key, of 32 characters or more: the page is at `/mailbox/<key>`, and whoever reads it can sign in as anybody.
    pub key_file: PathBuf,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            cors_origins: Vec::new(),
            mailbox: None,
            max_connections: default_max_connections(),
            max_proofs: MAX_PROOFS,
            public_url: None,
            trusted_proxies: Vec::new(),
        }
    }
}

const fn default_max_connections() -> usize {
    4_096
}

const fn default_max_proofs() -> NonZeroUsize {
    MAX_PROOFS
}
