//! The configuration of auth. Unknown keys are errors; secrets are named by their files only.

use std::path::PathBuf;

use portal_keys::KeysConfig;
use portal_mesh::config::{IdentityConfig, ServerConfig, TelemetryConfig, UpstreamsConfig};
use portal_store::DatabaseConfig;
use portal_upkeep::{IntegrityConfig, MigrationConfig};
use serde::Deserialize;

/// All sections.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub server: ServerConfig,
    /// Its workload certificate.
    pub identity: IdentityConfig,
    /// Its database.
    pub database: DatabaseConfig,
    /// Its keys, in a database of their own.
    pub keys: KeysConfig,
    /// When and how fast rows are checked.
    #[serde(default)]
    pub integrity: IntegrityConfig,
    /// How fast rows are moved to new forms.
    #[serde(default)]
    pub migrations: MigrationConfig,
    /// What is logged.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// The first operator; nothing is created without it.
    #[serde(default)]
    pub operator: Option<OperatorConfig>,
    /// Read for the sake of one layout of all files: auth calls nobody.
    #[serde(default)]
    pub upstreams: UpstreamsConfig,
}

/// `[operator]`: an account that is created at the start if there is none with this e-mail address. One that exists is
/// left as it is.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorConfig {
    /// What the operator signs in with.
    pub email: String,
    /// File with the password, 8 to 128 characters; a line break at its end is not part of it.
    pub password_file: PathBuf,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MINIMAL: &str = r#"
[server]
listen = "0.0.0.0:3001"
[identity]
certificate_file = "tls.crt"
private_key_file = "tls.key"
trust_bundle_file = "ca.crt"
[database]
url = "sqlite:auth.db"
[keys]
provider = "file"
root_key_file = "root-keys.json"
database_url = "sqlite:auth-keys.db"
"#;

    #[test]
    fn what_is_optional_may_be_left_out_and_what_is_unknown_is_refused() {
        let config: Config = toml::from_str(MINIMAL).unwrap();
        assert!(config.operator.is_none());
        let operator = format!("{MINIMAL}[operator]\nemail = \"a@b\"\npassword_file = \"p\"");
        assert!(toml::from_str::<Config>(&operator).unwrap().operator.is_some());
        for unknown in ["[edge]", "[operator]\nemail = \"a@b\"\npassword = \"12345678\""] {
            assert!(toml::from_str::<Config>(&format!("{MINIMAL}{unknown}")).is_err());
        }
    }
}
