//! `portal migrate`: the schema of one service's database; and, in `data`, the rows in it.

pub mod data;

use std::sync::Arc;

use portal_core::{SystemEntropy, Workload};
use portal_store::migrate::{self, MigrateError, Migration};
use portal_store::{Database, DatabaseConfig, Metrics};

use crate::cli::{MigrateCommand, Target};
use crate::config::{self, Unusable};
use crate::services::Config;
use crate::{output, serve, up};

pub fn run(command: &MigrateCommand) -> anyhow::Result<()> {
    serve::runtime()?.block_on(async {
        let (target, change) = match command {
            MigrateCommand::Data { command } => return data::run(command).await,
            MigrateCommand::Down { target, steps } => (target, Change::Down(*steps)),
            MigrateCommand::Status(target) => (target, Change::None),
            MigrateCommand::Up(target) => (target, Change::Up),
        };
        // Before anything is opened: the gateway has no database, and must not get an empty one by asking.
        let schema = Schema::of(target.service)?;
        let database =
            Database::connect(&database(target)?, Arc::new(SystemEntropy), Metrics::default()).await?;
        match change {
            Change::Down(steps) => schema.down(&database, steps).await?,
            Change::None => {}
            Change::Up => schema.up(&database).await?,
        }
        for migration in schema.status(&database).await? {
            let state = if migration.applied { "applied" } else { "pending" };
            output::line(&format!("{state}  {}", migration.name));
        }
        database.close().await;
        Ok(())
    })
}

/// What is done to a schema.
enum Change {
    Down(u32),
    None,
    Up,
}

impl Target {
    /// The configuration of the service that is meant.
    pub fn config(&self) -> anyhow::Result<Config> {
        match &self.config {
            Some(file) => Config::load(self.service, file, &config::environment()),
            None => up::config(&self.data_dir, self.service),
        }
    }
}

fn database(target: &Target) -> anyhow::Result<DatabaseConfig> {
    if target.config.is_none() {
        return Ok(up::database(&target.data_dir, target.service));
    }
    Ok(target.config()?.database().ok_or_else(no_database)?.clone())
}

fn no_database() -> Unusable {
    Unusable::one("--service must be auth, consent or valuation: the gateway has no database".to_owned())
}

/// Whose schema.
enum Schema {
    Auth,
    Consent,
    Valuation,
}

impl Schema {
    fn of(workload: Workload) -> Result<Self, Unusable> {
        match workload {
            Workload::Auth => Ok(Self::Auth),
            Workload::Consent => Ok(Self::Consent),
            Workload::Gateway => Err(no_database()),
            Workload::Valuation => Ok(Self::Valuation),
        }
    }

    async fn up(&self, database: &Database) -> Result<(), MigrateError> {
        match self {
            Self::Auth => migrate::up::<portal_auth::Migrations>(database).await,
            Self::Consent => migrate::up::<portal_consent::Migrations>(database).await,
            Self::Valuation => migrate::up::<portal_valuation::Migrations>(database).await,
        }
    }

    async fn down(&self, database: &Database, steps: u32) -> Result<(), MigrateError> {
        match self {
            Self::Auth => migrate::down::<portal_auth::Migrations>(database, steps).await,
            Self::Consent => migrate::down::<portal_consent::Migrations>(database, steps).await,
            Self::Valuation => migrate::down::<portal_valuation::Migrations>(database, steps).await,
        }
    }

    async fn status(&self, database: &Database) -> Result<Vec<Migration>, MigrateError> {
        match self {
            Self::Auth => migrate::status::<portal_auth::Migrations>(database).await,
            Self::Consent => migrate::status::<portal_consent::Migrations>(database).await,
            Self::Valuation => migrate::status::<portal_valuation::Migrations>(database).await,
        }
    }
}
