//! The `[keys]` section of a service's configuration.
//!
//! Invariants: it holds no secret, only the paths of the files that do; once it is parsed, exactly one provider is
//! named and has all that it needs, and none of another's.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use portal_crypto::suite::{Algorithm, Suites};
use portal_store::DatabaseConfig;
use serde::Deserialize;

use crate::KeysError;

/// How a service keeps its keys.
///
/// ```
/// let config: portal_keys::KeysConfig = toml::from_str(
///     r#"
///     provider = "file"
///     root_key_file = "/var/lib/portal/root-keys.json"
///     database_url = "sqlite:/var/lib/portal/consent-keys.db"
///     "#,
/// )?;
/// assert_eq!(config.cache_ttl.as_secs(), 60);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Section")]
pub struct KeysConfig {
    /// Who holds the root key: `provider` and the keys of that one.
    pub provider: ProviderConfig,
    /// How long a call of the provider may take: `provider_timeout_seconds`, 1 to 60, default 5.
    pub provider_timeout: Duration,
    /// The database of the sealed keys, apart from that of the data: `database_url` or `database_url_file`.
    pub database: DatabaseConfig,
    /// How long an opened subject key is used without asking again: `cache_ttl_seconds`, 1 to 60, default 60.
    pub cache_ttl: Duration,
    /// Opened subject keys held at most: `cache_max_subjects`, default 100,000.
    pub cache_max_subjects: usize,
    /// How long an epoch key seals new subject keys: `epoch_days`, 1 to 3,650, default 90.
    pub epoch: Duration,
    /// How long a backup of the key database is kept, which statements of erasure promise: `backup_retention_days`,
    /// 1 to 3,650, default 30.
    pub backup_retention: Duration,
    /// Algorithms, by their standard names, that are switched off: `disabled_algorithms`, default none. One that no
    /// service with this provider uses is refused when the keys are opened.
    pub disabled_algorithms: Vec<String>,
    /// A file with the plain service secret of an earlier version, which is sealed into the key database once:
    /// `import_service_secret_file`.
    pub import_service_secret_file: Option<PathBuf>,
}

/// Where the root key is.
#[derive(Clone, Debug)]
pub enum ProviderConfig {
    /// `provider = "file"`: a keyring file on this machine.
    File {
        /// The keyring: `root_key_file`. Mode 0600 or stricter, ours.
        root_key_file: PathBuf,
        /// The passphrase that seals it, on the first line: `passphrase_file`. Mode 0600 or stricter, ours.
        passphrase_file: Option<PathBuf>,
    },
    /// `provider = "pkcs11"`: AES keys that never leave a token.
    Pkcs11 {
        /// The token's shared library: `pkcs11_module`.
        module: PathBuf,
        /// Which token: `pkcs11_token_label`.
        token_label: String,
        /// The user's PIN, on the first line: `pkcs11_pin_file`. Mode 0600 or stricter, ours.
        pin_file: PathBuf,
        /// The label that all root keys have: `pkcs11_key_label`. Default `portal-root`.
        key_label: String,
    },
    /// `provider = "vault"`: the Transit engine of OpenBao or HashiCorp Vault.
    Vault {
        /// `https://host:port`, or `http://` on loopback: `vault_address`.
        address: String,
        /// The token, on the first line; read again when the server denies: `vault_token_file`.
        token_file: PathBuf,
        /// PEM file of the only roots that the server's certificate is checked against; needed for `https`:
        /// `vault_ca_file`.
        ca_file: Option<PathBuf>,
        /// Where the Transit engine is mounted: `vault_mount`. Default `transit`.
        mount: String,
        /// The name of the key: `vault_key`.
        key: String,
    },
}

impl ProviderConfig {
    /// The name in the configuration and in metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Pkcs11 { .. } => "pkcs11",
            Self::Vault { .. } => "vault",
        }
    }

    /// Whether a service with this provider ever asks for `algorithm`.
    const fn uses(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            // Fields and subject keys; kept replies; tokens, and those for clients outside; statements.
            Algorithm::Aes256Gcm
            | Algorithm::XAes256Gcm
            | Algorithm::MlDsa65
            | Algorithm::EcdsaP256
            | Algorithm::Ed25519
            | Algorithm::MlDsa65Ed25519 => true,
            Algorithm::XWing => matches!(self, Self::File { .. }),
            Algorithm::ProviderWrap => !matches!(self, Self::File { .. }),
            // Built and tested for what comes later.
            Algorithm::Cobblestone256 | Algorithm::MlKem768 | Algorithm::MlKem1024 => false,
            // Of the program that imports, which asks for them before it opens keys.
            Algorithm::Dilithium3Round3 | Algorithm::Kyber768Round3 => false,
        }
    }
}

impl KeysConfig {
    /// The algorithms that are switched on.
    ///
    /// # Errors
    /// [`KeysError::UnknownAlgorithm`]; [`KeysError::UnusedAlgorithm`] for one whose name changes nothing: whoever wrote it
    /// believes that something is off now.
    pub(crate) fn suites(&self) -> Result<Suites, KeysError> {
        let suites = Suites::all_but_named(self.disabled_algorithms.iter().map(String::as_str))?;
        let unused = |algorithm: &Algorithm| !suites.has(*algorithm) && !self.provider.uses(*algorithm);
        match Algorithm::ALL.into_iter().find(unused) {
            Some(algorithm) => Err(KeysError::UnusedAlgorithm(algorithm)),
            None => Ok(suites),
        }
    }
}

const DAY: u64 = 24 * 60 * 60;

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    provider: Name,
    database_url: Option<String>,
    database_url_file: Option<PathBuf>,
    provider_timeout_seconds: Option<u64>,
    cache_ttl_seconds: Option<u64>,
    cache_max_subjects: Option<usize>,
    epoch_days: Option<u64>,
    backup_retention_days: Option<u64>,
    #[serde(default)]
    disabled_algorithms: Vec<String>,
    import_service_secret_file: Option<PathBuf>,
    root_key_file: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    pkcs11_module: Option<PathBuf>,
    pkcs11_token_label: Option<String>,
    pkcs11_pin_file: Option<PathBuf>,
    pkcs11_key_label: Option<String>,
    vault_address: Option<String>,
    vault_token_file: Option<PathBuf>,
    vault_ca_file: Option<PathBuf>,
    vault_mount: Option<String>,
    vault_key: Option<String>,
}

#[derive(Clone, Copy, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Name {
    File,
    Pkcs11,
    Vault,
}

/// What is wrong with the section: every problem, each with the key it is about.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.0.join("; "))]
pub struct InvalidKeysConfig(Vec<String>);

impl TryFrom<Section> for KeysConfig {
    type Error = InvalidKeysConfig;

    fn try_from(section: Section) -> Result<Self, InvalidKeysConfig> {
        let mut problems = Vec::new();
        section.foreign_keys(&mut problems);
        let timeout = within(
            &mut problems,
            "provider_timeout_seconds",
            section.provider_timeout_seconds.unwrap_or(5),
            60,
        );
        let ttl = within(&mut problems, "cache_ttl_seconds", section.cache_ttl_seconds.unwrap_or(60), 60);
        let days = within(&mut problems, "epoch_days", section.epoch_days.unwrap_or(90), 3_650);
        let retention = within(
            &mut problems,
            "backup_retention_days",
            section.backup_retention_days.unwrap_or(30),
            3_650,
        );
        let database = section.database(&mut problems);
        let subjects = section.cache_max_subjects.unwrap_or(100_000);
        let disabled_algorithms = section.disabled_algorithms.clone();
        let import_service_secret_file = section.import_service_secret_file.clone();
        match (section.provider(&mut problems), database) {
            (Some(provider), Some(database)) if problems.is_empty() => Ok(Self {
                provider,
                provider_timeout: Duration::from_secs(timeout),
                database,
                cache_ttl: Duration::from_secs(ttl),
                cache_max_subjects: subjects,
                epoch: Duration::from_secs(days * DAY),
                backup_retention: Duration::from_secs(retention * DAY),
                disabled_algorithms,
                import_service_secret_file,
            }),
            _ => Err(InvalidKeysConfig(problems)),
        }
    }
}

impl Section {
    fn database(&self, problems: &mut Vec<String>) -> Option<DatabaseConfig> {
        match (&self.database_url, &self.database_url_file) {
            (Some(url), None) => Some(DatabaseConfig::from_url(url)),
            (None, Some(file)) => Some(DatabaseConfig::from_url_file(file)),
            (None, None) | (Some(_), Some(_)) => {
                problems.push("database_url, database_url_file: exactly one must be given".to_owned());
                None
            }
        }
    }

    fn provider(self, problems: &mut Vec<String>) -> Option<ProviderConfig> {
        match self.provider {
            Name::File => Some(ProviderConfig::File {
                root_key_file: needed(problems, "root_key_file", self.root_key_file)?,
                passphrase_file: self.passphrase_file,
            }),
            Name::Pkcs11 => {
                let module = needed(problems, "pkcs11_module", self.pkcs11_module);
                let token_label = needed(problems, "pkcs11_token_label", self.pkcs11_token_label);
                let pin_file = needed(problems, "pkcs11_pin_file", self.pkcs11_pin_file);
                let key_label = self.pkcs11_key_label.unwrap_or_else(|| "portal-root".to_owned());
                Some(ProviderConfig::Pkcs11 {
                    module: module?,
                    token_label: token_label?,
                    pin_file: pin_file?,
                    key_label,
                })
            }
            Name::Vault => {
                let address = needed(problems, "vault_address", self.vault_address);
                let token_file = needed(problems, "vault_token_file", self.vault_token_file);
                let mount = self.vault_mount.unwrap_or_else(|| "transit".to_owned());
                let key = needed(problems, "vault_key", self.vault_key);
                path_segments(problems, "vault_mount", &mount, true);
                path_segments(problems, "vault_key", key.as_deref().unwrap_or("x"), false);
                let address = address?;
                server(problems, &address, self.vault_ca_file.is_some());
                Some(ProviderConfig::Vault {
                    address,
                    token_file: token_file?,
                    ca_file: self.vault_ca_file,
                    mount,
                    key: key?,
                })
            }
        }
    }

    /// A key of another provider says that somebody expects something else to happen than what will.
    fn foreign_keys(&self, problems: &mut Vec<String>) {
        let given = [
            ("root_key_file", Name::File, self.root_key_file.is_some()),
            ("passphrase_file", Name::File, self.passphrase_file.is_some()),
            ("pkcs11_module", Name::Pkcs11, self.pkcs11_module.is_some()),
            ("pkcs11_token_label", Name::Pkcs11, self.pkcs11_token_label.is_some()),
            ("pkcs11_pin_file", Name::Pkcs11, self.pkcs11_pin_file.is_some()),
            ("pkcs11_key_label", Name::Pkcs11, self.pkcs11_key_label.is_some()),
            ("vault_address", Name::Vault, self.vault_address.is_some()),
            ("vault_token_file", Name::Vault, self.vault_token_file.is_some()),
            ("vault_ca_file", Name::Vault, self.vault_ca_file.is_some()),
            ("vault_mount", Name::Vault, self.vault_mount.is_some()),
            ("vault_key", Name::Vault, self.vault_key.is_some()),
        ];
        let foreign = given.into_iter().filter(|(_, of, given)| *given && *of != self.provider);
        problems.extend(foreign.map(|(key, ..)| format!("{key}: is of another provider")));
    }
}

fn needed<T>(problems: &mut Vec<String>, key: &str, value: Option<T>) -> Option<T> {
    if value.is_none() {
        problems.push(format!("{key}: missing"));
    }
    value
}

fn within(problems: &mut Vec<String>, key: &str, value: u64, most: u64) -> u64 {
    if value == 0 || value > most {
        problems.push(format!("{key}: must be 1 to {most}"));
        return 1;
    }
    value
}

/// What is put into a URL's path as it is.
fn path_segments(problems: &mut Vec<String>, key: &str, text: &str, several: bool) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let segment =
        |part: &str| !part.is_empty() && part.starts_with(|c: char| c != '.') && part.chars().all(allowed);
    if !text.split('/').all(segment) || (!several && text.contains('/')) {
        problems.push(format!("{key}: must be letters, digits, '-', '_' and '.'"));
    }
}

/// Keys travel to this server, so it is reached over TLS with named roots, or does not leave this machine.
fn server(problems: &mut Vec<String>, address: &str, has_ca: bool) {
    let (scheme, authority) = address.split_once("://").unwrap_or(("", ""));
    let authority = authority.trim_end_matches('/');
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
        problems.push("vault_address: must be https://host:port".to_owned());
    } else if scheme == "https" && !has_ca {
        problems.push("vault_ca_file: missing".to_owned());
    } else if scheme != "https" && !(scheme == "http" && loopback) {
        problems.push("vault_address: must be https://, or http:// on loopback".to_owned());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    const FILE: &str = "provider = 'file'\nroot_key_file = 'r'\ndatabase_url = 'sqlite:k'\n";
    const VAULT: &str =
        "provider = 'vault'\nvault_token_file = 't'\nvault_key = 'portal'\ndatabase_url = 'sqlite:k'\n";

    fn parse(text: &str) -> Result<KeysConfig, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn defaults_are_those_of_the_design() {
        let config = parse(FILE).unwrap();
        assert_eq!(config.provider_timeout, Duration::from_secs(5));
        assert_eq!(config.cache_ttl, Duration::from_secs(60));
        assert_eq!(config.cache_max_subjects, 100_000);
        assert_eq!(config.epoch, Duration::from_secs(90 * 86_400));
        assert_eq!(config.backup_retention, Duration::from_secs(30 * 86_400));
        assert!(config.disabled_algorithms.is_empty());
        assert!(config.import_service_secret_file.is_none());
        assert_eq!(config.provider.name(), "file");
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let check = |text: &str, expect: &str| assert_eq!(parse(text).unwrap_err(), expect, "{text}");
        check(
            "provider = 'file'\ncache_ttl_seconds = 61\nvault_key = 'x'",
            "vault_key: is of another provider; cache_ttl_seconds: must be 1 to 60; \
             database_url, database_url_file: exactly one must be given; root_key_file: missing",
        );
        check(
            "provider = 'pkcs11'\ndatabase_url = 'sqlite:k'",
            "pkcs11_module: missing; pkcs11_token_label: missing; pkcs11_pin_file: missing",
        );
        check(&format!("{FILE}provider_timeout_seconds = 0"), "provider_timeout_seconds: must be 1 to 60");
        check(&format!("{FILE}epoch_days = 0"), "epoch_days: must be 1 to 3650");
        check(
            &format!("{FILE}database_url_file = 'x'"),
            "database_url, database_url_file: exactly one must be given",
        );
        assert!(parse(&format!("{FILE}cache_ttl = 3")).unwrap_err().starts_with("unknown field"));
        assert!(parse(&FILE.replace("'file'", "'memory'")).unwrap_err().starts_with("unknown variant"));
    }

    #[test]
    fn keys_never_leave_the_machine_in_the_clear() {
        let check = |more: &str, expect: Option<&str>| {
            assert_eq!(parse(&format!("{VAULT}{more}")).err().as_deref(), expect, "{more}");
        };
        let not_tls = Some("vault_address: must be https://, or http:// on loopback");
        check("vault_address = 'https://vault:8200'\nvault_ca_file = 'ca.pem'", None);
        check("vault_address = 'https://vault:8200'", Some("vault_ca_file: missing"));
        for loopback in ["http://127.0.0.1:8200", "http://localhost:8200/", "http://[::1]:8200"] {
            check(&format!("vault_address = '{loopback}'"), None);
        }
        for elsewhere in
            ["http://vault:8200", "http://127.0.0.1.example.org:1", "ftp://127.0.0.1:1", "http://10.0.0.1"]
        {
            check(&format!("vault_address = '{elsewhere}'"), not_tls);
        }
        for malformed in
            ["vault:8200", "", "https://", "https://user@vault", "https://vault/path", "https://vault?x"]
        {
            check(
                &format!("vault_address = '{malformed}'"),
                Some("vault_address: must be https://host:port"),
            );
        }
    }

    #[test]
    fn a_name_of_a_key_is_no_path() {
        let check = |more: &str, good: bool| {
            let text = format!(
                "{}vault_address = 'http://127.0.0.1:1'\n{more}",
                VAULT.replace("vault_key = 'portal'\n", "")
            );
            assert_eq!(parse(&text).is_ok(), good, "{more}");
        };
        check("vault_key = 'portal-root_1.a'\nvault_mount = 'teams/privacy/transit'", true);
        for name in ["a/b", "../a", "", "a b", "a?b", "a%2fb", ".."] {
            check(&format!("vault_key = '{name}'"), false);
        }
        check("vault_key = 'a'\nvault_mount = 'a//b'", false);
        check("vault_key = 'a'\nvault_mount = '../sys'", false);
    }
}
