//! The configuration of auth. Unknown keys are errors; secrets are named by their files only.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use portal_crypto::password::Cost;
use portal_keys::KeysConfig;
use portal_mesh::config::{ConfigError, IdentityConfig, ServerConfig, TelemetryConfig, UpstreamsConfig};
use portal_store::DatabaseConfig;
use portal_upkeep::{IntegrityConfig, MigrationConfig};
use serde::Deserialize;

use crate::app::attempts::Quotas;
use crate::domain::Strength;

const LEAST_MEMORY_KIB: u32 = 19_456;
const LEAST_ITERATIONS: u32 = 2;
const ACCOUNT_PER_MINUTE: NonZeroU32 = NonZeroU32::new(30).unwrap();
const CLIENT_PER_MINUTE: NonZeroU32 = NonZeroU32::new(300).unwrap();
const PER_CORE_AND_SECOND: NonZeroU32 = NonZeroU32::new(100).unwrap();

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
    /// What passwords are taken, and what they cost to hash.
    #[serde(default)]
    pub passwords: PasswordConfig,
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

/// `[passwords]`: what passwords are taken, what it costs to hash one (Argon2id), and how many are looked at. What was hashed at
/// another cost is hashed anew when its owner signs in next; until then a wrong password for that account takes as long as it did
/// before.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordConfig {
    /// Memory of one hash in KiB, 19,456 (the least that OWASP recommends) to 1,048,576.
    pub memory_kib: u32,
    /// Passes over it, 2 to 64.
    pub iterations: u32,
    /// Lanes, 1 to 16.
    pub parallelism: u32,
    /// How hard a new password must be to guess: a score of zxcvbn, 0 to 4. What breaches have made known is refused in any
    /// case.
    pub least_strength: u8,
    /// Attempts to sign in or to sign up with one e-mail address, at each replica, in a minute.
    pub account_per_minute: NonZeroU32,
    /// The same from one client: an IPv4 address, or a /64 of IPv6.
    pub client_per_minute: NonZeroU32,
    /// The same from everybody, in a second. 100 for each core if it is not set, about twice what a core hashes.
    pub per_second: Option<NonZeroU32>,
}

impl Default for PasswordConfig {
    fn default() -> Self {
        Self {
            memory_kib: LEAST_MEMORY_KIB,
            iterations: LEAST_ITERATIONS,
            parallelism: 1,
            least_strength: 2,
            account_per_minute: ACCOUNT_PER_MINUTE,
            client_per_minute: CLIENT_PER_MINUTE,
            per_second: None,
        }
    }
}

/// [`PasswordConfig`], parsed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PasswordRules {
    /// What a new hash costs.
    pub(crate) cost: Cost,
    /// How hard a new password must be to guess.
    pub(crate) least: Strength,
    /// How many are looked at.
    pub(crate) quotas: Quotas,
}

impl PasswordConfig {
    /// What the keys say, if they may.
    pub(crate) fn rules(self) -> Result<PasswordRules, ConfigError> {
        let quotas = Quotas {
            account_per_minute: self.account_per_minute,
            client_per_minute: self.client_per_minute,
            per_second: self.per_second.unwrap_or_else(|| {
                let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
                PER_CORE_AND_SECOND.saturating_mul(NonZeroU32::try_from(cores).unwrap_or(NonZeroU32::MIN))
            }),
        };
        Ok(PasswordRules { cost: self.cost()?, least: self.strength()?, quotas })
    }

    /// What a new hash costs.
    fn cost(self) -> Result<Cost, ConfigError> {
        let Self { memory_kib, iterations, parallelism, .. } = self;
        let invalid = |key, problem: &str| ConfigError::Invalid { key, problem: problem.to_owned() };
        if memory_kib < LEAST_MEMORY_KIB {
            return Err(invalid("passwords.memory_kib", "must be from 19,456 to 1,048,576"));
        }
        if iterations < LEAST_ITERATIONS {
            return Err(invalid("passwords.iterations", "must be from 2 to 64"));
        }
        let cost = Cost::new(memory_kib, iterations, parallelism);
        cost.map_err(|error| invalid("passwords", &error.to_string()))
    }

    /// How hard a new password must be to guess.
    fn strength(self) -> Result<Strength, ConfigError> {
        let problem = || "must be from 0 to 4".to_owned();
        let invalid = || ConfigError::Invalid { key: "passwords.least_strength", problem: problem() };
        Strength::new(self.least_strength).ok_or_else(invalid)
    }
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

    #[test]
    fn passwords_cost_no_less_than_the_least() {
        let cost = |text: &str| toml::from_str::<PasswordConfig>(text).unwrap().cost();
        assert_eq!(cost("").unwrap(), Cost::default());
        assert_eq!(cost("iterations = 3").unwrap(), Cost::new(19_456, 3, 1).unwrap());
        for (text, key) in [
            ("memory_kib = 19455", "passwords.memory_kib"),
            ("iterations = 1", "passwords.iterations"),
            ("parallelism = 17", "passwords"),
            ("parallelism = 0", "passwords"),
            ("memory_kib = 1048577", "passwords"),
        ] {
            assert!(
                matches!(cost(text), Err(ConfigError::Invalid { key: found, .. }) if found == key),
                "{text}"
            );
        }
    }

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
