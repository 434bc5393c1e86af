//! The database and the keys, opened.

use std::sync::Arc;

use anyhow::Context;
use portal_core::id::TenantId;
use portal_core::{SystemClock, SystemEntropy};
use portal_crypto::envelope::Scope;
use portal_keys::{Ambient, Keys};
use portal_legacy_import::importer::{Importer, Parts};
use portal_legacy_import::schema::Migrations;
use portal_store::migrate::{self, MigrateError};
use portal_store::{Database, Metrics};

use crate::config::Config;

/// The import's database, with the schema of this version.
pub async fn database(config: &Config) -> anyhow::Result<Database> {
    // What the import has let go of is gone from SQLite's file too.
    let connect = config.database.clone().with_secure_delete();
    let connect = Database::connect(&connect, Arc::new(SystemEntropy), Metrics::default());
    let database = connect.await.context("the database can't be opened")?;
    match migrate::up::<Migrations>(&database).await {
        Ok(()) => Ok(database),
        Err(error @ MigrateError::Newer { .. }) => Err(error).context(
            "this is the database of a service, or a newer version has used it: give the import one of its own",
        ),
        Err(error) => Err(error.into()),
    }
}

/// The import, with the keys of both systems.
pub async fn importer(config: &Config) -> anyhow::Result<Importer> {
    // First what is most often wrong and costs least to look at.
    let reader = config.reader()?;
    let database = database(config).await?;
    let scope = Scope { service: config.service, tenant: TenantId::DEFAULT };
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let ambient =
        Ambient { clock: clock.clone(), entropy: entropy.clone(), metrics: portal_keys::Metrics::default() };
    let keys = Keys::open(&config.keys, scope, ambient).await;
    let keys = keys.with_context(|| format!("the keys of {} can't be opened", config.service))?;
    Ok(Importer::new(Parts { database, keys, reader, clock, entropy }))
}
