//! The configuration of auth. Unknown keys are errors; secrets are named by their files only.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portal_core::Clock;
use portal_crypto::password::Cost;
use portal_keys::KeysConfig;
use portal_mesh::config::{
    AuthorizationConfig, ConfigError, IdentityConfig, ServerConfig, TelemetryConfig, UpstreamsConfig,
};
use portal_mesh::outbound::Outbound;
use portal_store::DatabaseConfig;
use portal_upkeep::{IntegrityConfig, MigrationConfig};
use serde::Deserialize;
use url::Url;
use webauthn_rs::{Webauthn, WebauthnBuilder};

use crate::app::attempts::{ApplicationQuotas, Quotas};
use crate::domain::Strength;

mod mail;

pub use mail::{InvalidMailConfig, MailConfig, SmtpConfig, SmtpTls, TransportConfig};

const LEAST_MEMORY_KIB: u32 = 19_456;
const LEAST_ITERATIONS: u32 = 2;
const ACCOUNT_PER_MINUTE: NonZeroU32 = NonZeroU32::new(30).unwrap();
const CLIENT_PER_MINUTE: NonZeroU32 = NonZeroU32::new(300).unwrap();
const QUESTIONS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(300).unwrap();
const GRANTS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(120).unwrap();
const USER_CODES_PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).unwrap();
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
    /// How mail leaves; none does without it.
    #[serde(default)]
    pub mail: Option<MailConfig>,
    /// How long a key signs tokens.
    #[serde(default)]
    pub tokens: TokenConfig,
    /// How much is done for applications, and how they are reached.
    #[serde(default)]
    pub oauth: OAuthConfig,
    /// For whom authenticators show codes.
    #[serde(default)]
    pub totp: TotpConfig,
    /// For whom passkeys are made; without it there are none.
    #[serde(default)]
    pub passkeys: Option<PasskeyConfig>,
    /// Who may call what, beside Portal's own policies.
    #[serde(default)]
    pub authorization: AuthorizationConfig,
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

/// `[oauth]`: how much is done for applications, at each replica, in a minute; and how those are reached that want to be told of
/// sign-outs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OAuthConfig {
    /// Requests that are kept for applications that have not proven who they are, from one client: an IPv4 address, or a /64 of
    /// IPv6.
    pub questions_per_minute: NonZeroU32,
    /// Tokens that one application gets for itself, and devices that it begins to connect.
    pub grants_per_minute: NonZeroU32,
    /// Codes of devices that are typed by people of one client.
    pub user_codes_per_minute: NonZeroU32,
    /// PEM file of the only roots that the certificates of applications are checked against. Those of the system if it is not set.
    pub client_ca_file: Option<PathBuf>,
}

impl Default for OAuthConfig {
    fn default() -> Self {
        Self {
            questions_per_minute: QUESTIONS_PER_MINUTE,
            grants_per_minute: GRANTS_PER_MINUTE,
            user_codes_per_minute: USER_CODES_PER_MINUTE,
            client_ca_file: None,
        }
    }
}

impl OAuthConfig {
    const fn quotas(&self) -> ApplicationQuotas {
        let &Self { questions_per_minute, grants_per_minute, user_codes_per_minute, .. } = self;
        ApplicationQuotas { questions_per_minute, grants_per_minute, user_codes_per_minute }
    }

    /// What posts to them.
    pub(crate) fn outbound(&self, clock: &Arc<dyn Clock>) -> Result<Outbound, ConfigError> {
        Outbound::new(self.client_ca_file.as_deref(), "oauth.client_ca_file", clock)
    }
}

/// `[tokens]`: the keys that sign them.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenConfig {
    /// After how many days a key that signs tokens is replaced, 1 to 365.
    pub rotation_days: u32,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self { rotation_days: 30 }
    }
}

impl TokenConfig {
    /// How long a key signs.
    pub(crate) fn life(self) -> Result<Duration, ConfigError> {
        let days = Some(self.rotation_days).filter(|days| (1..=365).contains(days));
        let problem = || "must be from 1 to 365".to_owned();
        let invalid = || ConfigError::Invalid { key: "tokens.rotation_days", problem: problem() };
        Ok(Duration::from_secs(u64::from(days.ok_or_else(invalid)?) * 86_400))
    }
}

/// `[totp]`: for whom authenticators show codes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TotpConfig {
    /// The name beside the codes, 1 to 64 characters.
    pub issuer: String,
}

impl Default for TotpConfig {
    fn default() -> Self {
        Self { issuer: "Portal".to_owned() }
    }
}

impl TotpConfig {
    fn issuer(&self) -> Result<String, ConfigError> {
        if self.issuer.is_empty() || self.issuer.chars().count() > 64 {
            let problem = "must have 1 to 64 characters".to_owned();
            return Err(ConfigError::Invalid { key: "totp.issuer", problem });
        }
        Ok(self.issuer.clone())
    }
}

/// `[passkeys]`: for whom passkeys are made. Whoever changes `rp_id` makes all that there are worthless.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasskeyConfig {
    /// The domain that passkeys are for: that of `origins`, or one above. Browsers take no IP address.
    pub rp_id: String,
    /// The name that browsers show.
    #[serde(default = "rp_name")]
    pub rp_name: String,
    /// The pages from which passkeys may be used, such as `https://portal.example.org`.
    pub origins: Vec<String>,
    /// Whether the ports of `origins` don't matter: for a laptop alone.
    #[serde(default)]
    pub any_port: bool,
}

fn rp_name() -> String {
    "Portal".to_owned()
}

impl PasskeyConfig {
    /// What makes and checks passkeys.
    fn webauthn(&self) -> Result<Webauthn, ConfigError> {
        let invalid = |key, problem: &str| ConfigError::Invalid { key, problem: problem.to_owned() };
        let of_rp = format!(".{}", self.rp_id);
        let origin = |text: &String| {
            let url = Url::parse(text).ok()?;
            let domain = url.domain()?;
            let ours = domain == self.rp_id || domain.ends_with(&of_rp);
            let safe = url.scheme() == "https" || (url.scheme() == "http" && domain == "localhost");
            let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
            (ours && safe && bare && url.username().is_empty()).then_some(url)
        };
        let wrong = "must be https origins of passkeys.rp_id or of domains below it (http for localhost)";
        let origins = self.origins.iter().map(origin).collect::<Option<Vec<_>>>();
        let origins = origins.ok_or_else(|| invalid("passkeys.origins", wrong))?;
        let first = origins.first().ok_or_else(|| invalid("passkeys.origins", "must name at least one"))?;
        let builder = WebauthnBuilder::new(&self.rp_id, first);
        let builder = builder.map_err(|_| invalid("passkeys.rp_id", "must be a domain"))?;
        let builder = builder.rp_name(&self.rp_name).allow_any_port(self.any_port);
        let builder = origins.iter().skip(1).fold(builder, WebauthnBuilder::append_allowed_origin);
        builder.build().map_err(|_| invalid("passkeys", "can't be used"))
    }
}

/// What the configuration decides, parsed.
pub(crate) struct Rules {
    /// What passwords are taken.
    pub(crate) passwords: PasswordRules,
    /// How much is done for applications.
    pub(crate) applications: ApplicationQuotas,
    /// How long a key signs tokens.
    pub(crate) signing_key_life: Duration,
    pub(crate) totp_issuer: String,
    pub(crate) webauthn: Option<Webauthn>,
}

impl Config {
    /// What the keys say, if they may.
    pub(crate) fn rules(&self) -> Result<Rules, ConfigError> {
        Ok(Rules {
            passwords: self.passwords.rules()?,
            applications: self.oauth.quotas(),
            signing_key_life: self.tokens.life()?,
            totp_issuer: self.totp.issuer()?,
            webauthn: self.passkeys.as_ref().map(PasskeyConfig::webauthn).transpose()?,
        })
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

    #[test]
    fn keys_that_sign_tokens_are_replaced_after_a_day_to_a_year() {
        let life = |text: &str| toml::from_str::<TokenConfig>(text).unwrap().life();
        assert_eq!(life("").unwrap(), Duration::from_secs(30 * 86_400));
        assert_eq!(life("rotation_days = 1").unwrap(), Duration::from_secs(86_400));
        for text in ["rotation_days = 0", "rotation_days = 366"] {
            let refused = matches!(life(text), Err(ConfigError::Invalid { key: "tokens.rotation_days", .. }));
            assert!(refused, "{text}");
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
        assert!(config.mail.is_none());
        let operator = format!("{MINIMAL}[operator]\nemail = \"a@b\"\npassword_file = \"p\"");
        assert!(toml::from_str::<Config>(&operator).unwrap().operator.is_some());
        for unknown in ["[edge]", "[operator]\nemail = \"a@b\"\npassword = \"12345678\""] {
            assert!(toml::from_str::<Config>(&format!("{MINIMAL}{unknown}")).is_err());
        }
    }
}
