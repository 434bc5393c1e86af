//! The configuration of the consent service: the sections that every service has, and nothing of its own yet.

use portal_mesh::config::{IdentityConfig, SecretsConfig, ServerConfig, TelemetryConfig, UpstreamsConfig};
use portal_store::DatabaseConfig;
use serde::Deserialize;

/// Configuration of the consent service. Unknown keys are errors.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub server: ServerConfig,
    /// Its workload certificate.
    pub identity: IdentityConfig,
    /// Its database.
    pub database: DatabaseConfig,
    /// Its secret.
    pub secrets: SecretsConfig,
    /// Where auth is, which has the keys of tokens.
    pub upstreams: UpstreamsConfig,
    /// What is logged; read by the process.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}
