//! The configuration of the consent service: the sections that every service has, where decisions come from, and what
//! holds for all purposes of the organisation.

use std::time::Duration;

use portal_keys::KeysConfig;
use portal_mesh::config::{
    AuthorizationConfig, ConfigError, IdentityConfig, ServerConfig, TelemetryConfig, UpstreamsConfig,
};
use portal_store::DatabaseConfig;
use portal_upkeep::{IntegrityConfig, MigrationConfig};
use serde::Deserialize;

use crate::domain::record::{Organisation, Party, PartyRole, Record};
use crate::domain::terms::{List, is_jurisdiction, is_place};

/// How consent can be withdrawn in any installation.
const WITHDRAWAL: &str = "At any time in the console, or by WithdrawConsent";

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
    /// Where decisions come from.
    #[serde(default)]
    pub decisions: DecisionConfig,
    /// When its data is checked, and how fast.
    #[serde(default)]
    pub integrity: IntegrityConfig,
    /// What holds for every purpose that does not say otherwise. Without it each purpose has to name its controller.
    #[serde(default)]
    pub organisation: Option<OrganisationConfig>,
    /// Whether people are asked again.
    #[serde(default)]
    pub renewal: RenewalConfig,
    /// Who may call what, beside Portal's own policies.
    #[serde(default)]
    pub authorization: AuthorizationConfig,
    /// What is logged; read by the process.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// Where decisions come from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionConfig {
    /// What is asked.
    #[serde(default)]
    pub source: Source,
}

/// What is asked for a decision.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The database, each time. For as long as replicas of a version run that does not write to the ledger.
    Database,
    /// What the process keeps in memory of every consent, which is exact, and takes some 100 bytes for each.
    #[default]
    Snapshot,
}

/// `[organisation]`: the controller, and what purposes that leave it out say when they are published.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrganisationConfig {
    /// Its identifier, such as its address on the web.
    pub party_id: String,
    /// Its name.
    pub name: String,
    /// Its postal address.
    pub address: String,
    /// Its e-mail address. This, a telephone number or an address on the web is needed.
    pub email: String,
    /// Its telephone number.
    pub phone: String,
    /// Its address on the web.
    pub url: String,
    /// Its country (ISO 3166-1 alpha-2).
    pub country: String,
    /// The jurisdiction of purposes.
    pub jurisdiction: String,
    /// Where data is stored.
    pub storage_locations: Vec<String>,
    /// How data is stored and deleted.
    pub storage_conditions: String,
    /// Until when data is kept.
    pub retention_event: String,
    /// How consent is withdrawn, if otherwise than in any installation.
    pub withdrawal_method: String,
    /// Where data comes from.
    pub data_source: String,
    /// Rights of the subjects.
    pub rights: Vec<String>,
}

/// `[renewal]`: whether people are asked again when their consent has ended by itself.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewalConfig {
    /// How many days the request stands, 1 to 3,650. Nobody is asked again by itself if it is not set.
    #[serde(default)]
    pub request_days: Option<u32>,
}

impl RenewalConfig {
    /// How long a request stands.
    pub(crate) fn term(self) -> Result<Option<Duration>, ConfigError> {
        const DAY: Duration = Duration::from_secs(86_400);
        match self.request_days {
            Some(0 | 3_651..) => {
                let problem = "must be from 1 to 3,650".to_owned();
                Err(ConfigError::Invalid { key: "renewal.request_days", problem })
            }
            days => Ok(days.map(|days| DAY * days)),
        }
    }
}

impl Config {
    /// What holds for every purpose.
    pub(crate) fn organisation(&self) -> Result<Organisation, ConfigError> {
        let mut organisation = match &self.organisation {
            Some(config) => config.parse()?,
            None => Organisation::default(),
        };
        if organisation.record.withdrawal_method.is_empty() {
            WITHDRAWAL.clone_into(&mut organisation.record.withdrawal_method);
        }
        Ok(organisation)
    }
}

impl OrganisationConfig {
    fn parse(&self) -> Result<Organisation, ConfigError> {
        let needed = [
            ("organisation.party_id", &self.party_id),
            ("organisation.name", &self.name),
            ("organisation.address", &self.address),
        ];
        let missing = needed.into_iter().find(|(_, value)| value.is_empty()).map(|(key, _)| key);
        let unreachable = [&self.email, &self.phone, &self.url].into_iter().all(String::is_empty);
        if let Some(key) = missing.or(unreachable.then_some("organisation.email")) {
            return Err(ConfigError::Invalid { key, problem: "must be set".to_owned() });
        }
        let terms = [
            ("organisation.rights", self.rights.iter().all(|term| List::Rights.has(term))),
            ("organisation.storage_locations", self.storage_locations.iter().all(|place| is_place(place))),
            (
                "organisation.jurisdiction",
                self.jurisdiction.is_empty() || is_jurisdiction(&self.jurisdiction),
            ),
        ];
        if let Some((key, _)) = terms.into_iter().find(|(_, fits)| !fits) {
            let problem = "must be terms or codes of the standard lists".to_owned();
            return Err(ConfigError::Invalid { key, problem });
        }
        let controller = Party {
            id: self.party_id.clone(),
            name: self.name.clone(),
            role: PartyRole::Controller,
            address: self.address.clone(),
            email: self.email.clone(),
            phone: self.phone.clone(),
            url: self.url.clone(),
            country: self.country.clone(),
        };
        let record = Record {
            parties: vec![controller],
            storage_locations: self.storage_locations.clone(),
            storage_conditions: self.storage_conditions.clone(),
            retention_event: self.retention_event.clone(),
            withdrawal_method: self.withdrawal_method.clone(),
            data_source: self.data_source.clone(),
            rights: self.rights.clone(),
            ..Record::default()
        };
        Ok(Organisation { record, jurisdiction: self.jurisdiction.clone() })
    }
}
