//! `portal migrate`: the schema of one service's database.

use std::sync::Arc;

use portal_core::{SystemEntropy, Workload};
use portal_store::migrate::{self, MigrateError, Migration};
use portal_store::{Database, DatabaseConfig, Metrics};

use crate::cli::{MigrateCommand, MigrateTarget};
use crate::config::{self, Unusable};
use crate::services::Config;
use crate::{output, serve, up};

pub fn run(command: &MigrateCommand) -> anyhow::Result<()> {
    serve::runtime()?.block_on(async {
        let (target, steps) = match command {
            MigrateCommand::Status(target) | MigrateCommand::Up(target) => (target, 0),
            MigrateCommand::Down { target, steps } => (target, *steps),
        };
        // Before anything is opened: the gateway has no database, and must not get an empty one by asking.
        let schema = Schema::of(target.service)?;
        let database =
            Database::connect(&database(target)?, Arc::new(SystemEntropy), Metrics::default()).await?;
        match command {
            MigrateCommand::Status(_) => {}
            MigrateCommand::Up(_) => schema.up(&database).await?,
            MigrateCommand::Down { .. } => schema.down(&database, steps).await?,
        }
        for migration in schema.status(&database).await? {
            let state = if migration.applied { "applied" } else { "pending" };
            output::line(&format!("{state}  {}", migration.name));
        }
        database.close().await;
        Ok(())
    })
}

fn database(target: &MigrateTarget) -> anyhow::Result<DatabaseConfig> {
    let Some(file) = &target.config else {
        return Ok(up::database(&target.data_dir, target.service));
    };
    let config = Config::load(target.service, file, &config::environment())?;
    Ok(config.database().ok_or_else(no_database)?.clone())
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
