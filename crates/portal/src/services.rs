//! The four services behind one match: what differs between them is their configuration.

use std::path::Path;
use std::sync::Arc;

use portal_core::{Clock, SystemClock, Workload};
use portal_keys::Keys;
use portal_ledger::Log;
use portal_mesh::config::{AuthorizationConfig, TelemetryConfig};
use portal_mesh::edge::EdgeTls;
use portal_mesh::{Host, Identity, Running};
use portal_store::Database;
use portal_upkeep::erasure::Erasures;
use portal_upkeep::indexes::Indexes;
use portal_upkeep::migration::Migrations;

use crate::config::{Unusable, load, parse};

/// A service's configuration.
pub enum Config {
    Auth(Box<portal_auth::Config>),
    Consent(Box<portal_consent::Config>),
    Gateway(Box<portal_gateway::Config>),
    Valuation(Box<portal_valuation::Config>),
}

/// The keys and the data of a service that a command works on.
pub struct Opened {
    pub keys: Keys,
    pub database: Database,
    pub migrations: Migrations,
    pub indexes: Indexes,
    pub log: Log,
}

impl Opened {
    /// What is opened of a service without blind indexes.
    fn without_indexes(keys: Keys, database: Database, migrations: Migrations, log: Log) -> Self {
        let indexes = Indexes::new(&keys, &database, Vec::new());
        Self { keys, database, migrations, indexes, log }
    }

    /// Erases people.
    pub fn erasures(&self) -> Erasures {
        Erasures::new(&self.keys, &self.migrations, &self.indexes)
    }

    /// Ends what goes on in the background and closes both databases.
    pub async fn close(self) {
        self.keys.close().await;
        self.database.close().await;
    }
}

impl Config {
    /// Reads the configuration of `workload`.
    pub fn load(workload: Workload, file: &Path, environment: &[(String, String)]) -> anyhow::Result<Self> {
        Ok(match workload {
            Workload::Auth => Self::Auth(Box::new(load(file, environment)?)),
            Workload::Consent => Self::Consent(Box::new(load(file, environment)?)),
            Workload::Gateway => Self::Gateway(Box::new(load(file, environment)?)),
            Workload::Valuation => Self::Valuation(Box::new(load(file, environment)?)),
        })
    }

    /// Reads the configuration of `workload` from text, without the environment.
    pub fn parse(workload: Workload, text: &str) -> anyhow::Result<Self> {
        Ok(match workload {
            Workload::Auth => Self::Auth(Box::new(parse(text, &[])?)),
            Workload::Consent => Self::Consent(Box::new(parse(text, &[])?)),
            Workload::Gateway => Self::Gateway(Box::new(parse(text, &[])?)),
            Workload::Valuation => Self::Valuation(Box::new(parse(text, &[])?)),
        })
    }

    /// `[server]`.
    pub const fn server(&self) -> &portal_mesh::config::ServerConfig {
        match self {
            Self::Auth(config) => &config.server,
            Self::Consent(config) => &config.server,
            Self::Gateway(config) => &config.server,
            Self::Valuation(config) => &config.server,
        }
    }

    /// `[authorization]`; the gateway decides nothing.
    const fn authorization(&self) -> Option<&AuthorizationConfig> {
        match self {
            Self::Auth(config) => Some(&config.authorization),
            Self::Consent(config) => Some(&config.authorization),
            Self::Gateway(_) => None,
            Self::Valuation(config) => Some(&config.authorization),
        }
    }

    /// What is wrong with the folder of policies.
    pub fn policy_problem(&self) -> Option<String> {
        let checked = self.authorization().map(portal_mesh::authorization::authority)?;
        checked.err().map(|error| error.to_string())
    }

    /// What is wrong with the certificate files.
    fn certificate_problems(&self, workload: Workload) -> Vec<String> {
        let identity = match self {
            Self::Auth(config) => &config.identity,
            Self::Consent(config) => &config.identity,
            Self::Gateway(config) => &config.identity,
            Self::Valuation(config) => &config.identity,
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let tell = |error: anyhow::Error| format!("{error:#}");
        let own = Identity::problems(identity, workload, &clock).into_iter().map(|error| tell(error.into()));
        let edge = match self {
            Self::Gateway(config) => config.edge_tls.as_ref(),
            Self::Auth(_) | Self::Consent(_) | Self::Valuation(_) => None,
        };
        let edge = edge.map_or_else(Vec::new, |files| EdgeTls::problems(files, &clock));
        own.chain(edge.into_iter().map(|error| tell(error.into()))).collect()
    }

    /// `[telemetry]`.
    pub const fn telemetry(&self) -> &TelemetryConfig {
        match self {
            Self::Auth(config) => &config.telemetry,
            Self::Consent(config) => &config.telemetry,
            Self::Gateway(config) => &config.telemetry,
            Self::Valuation(config) => &config.telemetry,
        }
    }

    /// `[database]`; the gateway has none.
    pub const fn database(&self) -> Option<&portal_store::DatabaseConfig> {
        match self {
            Self::Auth(config) => Some(&config.database),
            Self::Consent(config) => Some(&config.database),
            Self::Gateway(_) => None,
            Self::Valuation(config) => Some(&config.database),
        }
    }

    /// `[keys]`; the gateway has none.
    pub const fn keys(&self) -> Option<&portal_keys::KeysConfig> {
        match self {
            Self::Auth(config) => Some(&config.keys),
            Self::Consent(config) => Some(&config.keys),
            Self::Gateway(_) => None,
            Self::Valuation(config) => Some(&config.keys),
        }
    }

    /// The same, but data migrations as fast as they go: for a command that knows that no service is running.
    #[must_use]
    pub fn alone(mut self) -> Self {
        let migrations = portal_upkeep::MigrationConfig::alone();
        match &mut self {
            Self::Auth(config) => config.migrations = migrations,
            Self::Consent(config) => config.migrations = migrations,
            Self::Gateway(_) => {}
            Self::Valuation(config) => config.migrations = migrations,
        }
        self
    }

    /// Opens the service's keys and data without serving them; the gateway has none.
    pub async fn open(&self, host: &Host) -> anyhow::Result<Option<Opened>> {
        Ok(Some(match self {
            Self::Auth(config) => {
                let portal_auth::Upkeep { keys, database, migrations, indexes, log, .. } =
                    portal_auth::Upkeep::open(config, host).await?;
                Opened { keys, database, migrations, indexes, log }
            }
            Self::Consent(config) => {
                let portal_consent::Upkeep { keys, database, migrations, log, .. } =
                    portal_consent::Upkeep::open(config, host).await?;
                Opened::without_indexes(keys, database, migrations, log)
            }
            Self::Gateway(_) => return Ok(None),
            Self::Valuation(config) => {
                let portal_valuation::Upkeep { keys, database, migrations, log, .. } =
                    portal_valuation::Upkeep::open(config, host).await?;
                Opened::without_indexes(keys, database, migrations, log)
            }
        }))
    }

    /// Starts the service.
    pub async fn start(self, host: Host) -> anyhow::Result<Running> {
        Ok(match self {
            Self::Auth(config) => portal_auth::Service::start(*config, host).await?,
            Self::Consent(config) => portal_consent::Service::start(*config, host).await?,
            Self::Gateway(config) => portal_gateway::Service::start(*config, host).await?,
            Self::Valuation(config) => portal_valuation::Service::start(*config, host).await?,
        })
    }
}

/// Checks the configuration of `workload` in `file`, with the certificate files and the policies that it names if `files`.
pub fn check(
    workload: Workload,
    file: &Path,
    environment: &[(String, String)],
    files: bool,
) -> anyhow::Result<()> {
    let config = Config::load(workload, file, environment)?;
    let mut problems = if files { config.certificate_problems(workload) } else { Vec::new() };
    problems.extend(files.then(|| config.policy_problem()).flatten());
    Ok(Unusable::unless_none(problems)?)
}
