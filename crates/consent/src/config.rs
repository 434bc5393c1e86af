//! The configuration of the consent service: the sections that every service has, and nothing of its own yet.

use portal_keys::KeysConfig;
use portal_mesh::config::{IdentityConfig, ServerConfig, TelemetryConfig, UpstreamsConfig};
use portal_store::DatabaseConfig;
use portal_upkeep::{IntegrityConfig, MigrationConfig};
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
    /// Its keys, which have a database of their own.
    pub keys: KeysConfig,
    /// Where auth is, which has the keys of tokens.
    pub upstreams: UpstreamsConfig,
    /// How fast data migrations run.
    #[serde(default)]
    pub migrations: MigrationConfig,
    /// When its data is checked, and how fast.
    #[serde(default)]
    pub integrity: IntegrityConfig,
    /// What is logged; read by the process.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}
