//! The configuration file of `portal valuation`.

use std::time::Duration;

use portal_keys::KeysConfig;
use portal_mesh::config::{
    AuthorizationConfig, IdentityConfig, ServerConfig, TelemetryConfig, UpstreamsConfig,
};
use portal_store::DatabaseConfig;
use portal_upkeep::{IntegrityConfig, MigrationConfig};
use serde::Deserialize;

/// Everything the valuation service is configured by.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub server: ServerConfig,
    /// Its workload certificate.
    pub identity: IdentityConfig,
    /// Its database.
    pub database: DatabaseConfig,
    /// Its keys, and who holds the root of them.
    pub keys: KeysConfig,
    /// Addresses of auth and consent.
    pub upstreams: UpstreamsConfig,
    /// Who may call what, beside Portal's own policies.
    #[serde(default)]
    pub authorization: AuthorizationConfig,
    /// What is logged.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// How valuations are run.
    #[serde(default)]
    pub jobs: JobsConfig,
    /// When its rows are checked.
    #[serde(default)]
    pub integrity: IntegrityConfig,
    /// How fast data migrations run.
    #[serde(default)]
    pub migrations: MigrationConfig,
}

/// `[jobs]`: how valuations are run.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobsConfig {
    /// How long a valuation waits for a consent service that does not answer before it fails, in seconds. Default 60.
    #[serde(default = "default_consent_patience_seconds")]
    pub consent_patience_seconds: u64,
}

impl JobsConfig {
    pub(crate) const fn consent_patience(self) -> Duration {
        Duration::from_secs(self.consent_patience_seconds)
    }
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self { consent_patience_seconds: default_consent_patience_seconds() }
    }
}

const fn default_consent_patience_seconds() -> u64 {
    60
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MINIMAL: &str = r#"
        [server]
        listen = "127.0.0.1:3002"
        [identity]
        certificate_file = "tls.crt"
        private_key_file = "tls.key"
        trust_bundle_file = "ca.crt"
        [database]
        url = "sqlite:valuation.db"
        [keys]
        provider = "file"
        root_key_file = "root-keys"
        database_url = "sqlite:valuation-keys.db"
        [upstreams]
        auth = "portal-auth:3001"
        consent = "portal-consent:3000"
    "#;

    #[test]
    fn defaults_and_unknown_keys() {
        let config: Config = toml::from_str(MINIMAL).unwrap();
        assert_eq!(config.jobs.consent_patience_seconds, 60);
        let jobs = format!("{MINIMAL}\n[jobs]\nconsent_patience_seconds = 5");
        let config: Config = toml::from_str(&jobs).unwrap();
        assert_eq!(config.jobs.consent_patience(), Duration::from_secs(5));
        assert!(toml::from_str::<Config>(&format!("{MINIMAL}\n[jobs]\npatience = 5")).is_err());
        assert!(toml::from_str::<Config>(&format!("{MINIMAL}\n[job]")).is_err());
        let upkeep = "[integrity]\nschedule = \"0 4 * * SUN\"\n[migrations]\nmax_rows_per_second = 100";
        assert!(toml::from_str::<Config>(&format!("{MINIMAL}\n{upkeep}")).is_ok());
        for unknown in ["[integrity]\nschedules = \"\"", "[migrations]\nrate = 1", "[secrets]\nfile = \"x\""]
        {
            assert!(toml::from_str::<Config>(&format!("{MINIMAL}\n{unknown}")).is_err(), "{unknown}");
        }
    }
}
