//! What goes on beside the calls: keys, data migrations, integrity scans. A service runs it in the background; a command
//! opens it alone.

use std::sync::Arc;

use portal_core::Workload;
use portal_core::id::TenantId;
use portal_crypto::envelope::Scope;
use portal_keys::{Ambient, Keys, Replies, ServiceCells};
use portal_ledger::Log;
use portal_mesh::{Host, Running, task};
use portal_store::sealed::{RowDigests, Sealing};
use portal_store::{Database, migrate};
use portal_upkeep::indexes::Indexes;
use portal_upkeep::migration::{DataMigration, Finality, Migrations};
use portal_upkeep::rpc::Operators;
use portal_upkeep::scan::{Scans, shred_ledger};

use crate::config::Config;
use crate::error::StartError;
use crate::migration;
use crate::store::subjects::ReferenceIndex;
use crate::store::{Seals, moving, receipts, scanned};

/// The data of consent, and what is done to it as a whole. Clones share it.
#[derive(Clone)]
pub struct Upkeep {
    /// The keys.
    pub keys: Keys,
    /// The data, with the schema of this version.
    pub database: Database,
    /// Moves rows to new forms.
    pub migrations: Migrations,
    /// Checks rows.
    pub scans: Scans,
    /// The log.
    pub log: Log,
    /// By what subjects are found.
    pub indexes: Indexes,
    engines: portal_upkeep::Host,
    pub(crate) seals: Seals,
    pub(crate) sealing: Sealing,
}

impl Upkeep {
    /// Opens the keys and the database, and brings both schemas up to date. In a new installation the data migrations
    /// are committed at once: nothing ever stands there in the clear.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn open(config: &Config, host: &Host) -> Result<Self, StartError> {
        let store_metrics = host.metrics.shared(portal_store::Metrics::register);
        let keys = open_keys(config, host, &store_metrics).await?;
        let entropy = Arc::clone(&host.entropy);
        // What is blanked when a data migration is committed is gone from SQLite's file too.
        let database = config.database.clone().with_secure_delete();
        let database = Database::connect(&database, entropy, store_metrics.clone()).await?;
        migrate::up::<migration::Migrations>(&database).await?;
        let sealing = Sealing::new(Arc::clone(&host.entropy), &store_metrics);
        let digests = RowDigests::new(keys.digest_key().clone(), &store_metrics);
        let finality = Finality::open(&keys).await?;
        let receipts = ServiceCells::new(&keys, receipts::OF_SERVICE, Arc::clone(&host.entropy));
        let seals = Seals::new(sealing.clone(), receipts, digests, &finality);
        let engines = portal_upkeep::Host {
            service: Workload::Consent,
            database: database.clone(),
            clock: Arc::clone(&host.clock),
            entropy: Arc::clone(&host.entropy),
            metrics: host.metrics.shared(portal_upkeep::Metrics::register),
        };
        let migrations: Vec<Arc<dyn DataMigration>> = vec![Arc::new(moving::migration(&seals, &keys))];
        let migrations = Migrations::new(&engines, config.migrations.clone(), finality, migrations);
        let ledgers = [scanned::ledger(), shred_ledger(&keys)];
        let scans =
            Scans::with_ledger(&engines, config.integrity.clone(), scanned::tables(&seals, &keys), ledgers);
        migrations.settle().await?;
        let indexes = Indexes::new(&keys, &database, vec![Arc::new(ReferenceIndex(seals.clone()))]);
        let log_metrics = host.metrics.shared(portal_ledger::Metrics::register);
        let trust_domain = config.identity.trust_domain()?;
        let log = portal_upkeep::ledger::open(&engines, &keys, &trust_domain, log_metrics).await?;
        Ok(Self { keys, database, migrations, scans, indexes, log, engines, seals, sealing })
    }

    /// Answers operators.
    pub(crate) fn operators(&self, replies: &Replies) -> Operators {
        let keys = (self.keys.clone(), replies.clone(), self.indexes.clone(), None);
        let (migrations, scans) = (self.migrations.clone(), (self.scans.clone(), self.log.clone()));
        Operators::with_indexes::<migration::Migrations>(self.engines.clone(), keys, migrations, scans)
    }

    /// Does it in the background, until `running` stops.
    pub(crate) fn run(self, running: &mut Running) {
        let Self { keys, migrations, scans, log, .. } = self;
        let stop = running.drain();
        running.own(task::spawn("consent-migrations", async move { migrations.run(stop.started()).await }));
        let stop = running.drain();
        running.own(task::spawn("consent-scans", async move { scans.run(stop.started()).await }));
        let stop = running.drain();
        running.own(task::spawn("consent-ledger", async move { log.run(stop.started()).await }));
        running.at_last(async move { keys.close().await });
    }
}

async fn open_keys(
    config: &Config,
    host: &Host,
    store_metrics: &portal_store::Metrics,
) -> Result<Keys, StartError> {
    let metrics = |registry: &mut _| portal_keys::Metrics::register(registry, store_metrics.clone());
    let ambient = Ambient {
        clock: Arc::clone(&host.clock),
        entropy: Arc::clone(&host.entropy),
        metrics: host.metrics.shared(metrics),
    };
    let scope = Scope { service: Workload::Consent, tenant: TenantId::DEFAULT };
    Ok(Keys::open(&config.keys, scope, ambient).await?)
}
