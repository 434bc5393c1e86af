//! What goes on beside the calls: keys, data migrations, integrity scans. A service runs it in the background; a command
//! opens it alone.

use std::sync::Arc;

use portal_core::Workload;
use portal_core::id::TenantId;
use portal_crypto::envelope::Scope;
use portal_keys::{Ambient, Keys, Replies};
use portal_mesh::{Host, Running, task};
use portal_store::sealed::{RowDigests, Sealing};
use portal_store::{Database, migrate};
use portal_upkeep::migration::{Finality, Migrations};
use portal_upkeep::rpc::Operators;
use portal_upkeep::scan::Scans;

use crate::config::Config;
use crate::migration;
use crate::service::StartError;
use crate::store::email_index::EmailIndexer;
use crate::store::{Seals, moving, scanned};

/// The data of auth, and what is done to it as a whole.
pub struct Upkeep {
    /// The keys.
    pub keys: Keys,
    /// The data, with the schema of this version.
    pub database: Database,
    /// Moves rows to new forms.
    pub migrations: Migrations,
    /// Checks rows.
    pub scans: Scans,
    engines: portal_upkeep::Host,
    pub(crate) seals: Seals,
    pub(crate) sealing: Sealing,
    pub(crate) emails: EmailIndexer,
}

impl Upkeep {
    /// Opens the keys and the database, and brings both schemas up to date. In a new installation the data migrations
    /// are committed at once: nothing ever stands there in the clear.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn open(config: &Config, host: &Host) -> Result<Self, StartError> {
        let keys = open_keys(config, host).await?;
        let store_metrics = host.metrics.shared(portal_store::Metrics::register);
        let entropy = Arc::clone(&host.entropy);
        // What is blanked when a data migration is committed is gone from SQLite's file too.
        let database = config.database.clone().with_secure_delete();
        let database = Database::connect(&database, entropy, store_metrics.clone()).await?;
        migrate::up::<migration::Migrations>(&database).await?;
        let sealing = Sealing::new(Arc::clone(&host.entropy), &store_metrics);
        let digests = RowDigests::new(keys.digest_key().clone(), &store_metrics);
        let finality = Finality::open(&keys).await?;
        let seals = Seals::new(sealing.clone(), digests, moving::SEAL, &finality);
        let emails = EmailIndexer::new(keys.clone(), keys.service_secret());
        let engines = portal_upkeep::Host {
            service: Workload::Auth,
            database: database.clone(),
            clock: Arc::clone(&host.clock),
            entropy: Arc::clone(&host.entropy),
            metrics: host.metrics.shared(portal_upkeep::Metrics::register),
        };
        let migrations = moving::migrations(&keys, &seals, &emails);
        let migrations = Migrations::new(&engines, config.migrations.clone(), finality, migrations);
        let scans = Scans::new(&engines, config.integrity.clone(), scanned::tables(&keys, &seals));
        migrations.settle().await?;
        Ok(Self { keys, database, migrations, scans, engines, seals, sealing, emails })
    }

    /// Answers operators.
    pub(crate) fn operators(&self, replies: &Replies) -> Operators {
        let keys = (self.keys.clone(), replies.clone());
        let (migrations, scans) = (self.migrations.clone(), self.scans.clone());
        Operators::new::<migration::Migrations>(self.engines.clone(), keys, migrations, scans)
    }

    /// Does it in the background, until `running` stops.
    pub(crate) fn run(self, running: &mut Running) {
        let Self { keys, migrations, scans, emails, .. } = self;
        let (moves, stop) = (migrations.clone(), running.drain().started());
        running.own(task::spawn("auth-migrations", async move { moves.run(stop).await }));
        let stop = running.drain().started();
        running.own(task::spawn("auth-scans", async move { scans.run(stop).await }));
        let stop = running.drain();
        running.own(task::spawn("auth-reindex", reindex::run(emails, migrations, stop)));
        running.at_last(async move { keys.close().await });
    }
}

async fn open_keys(config: &Config, host: &Host) -> Result<Keys, StartError> {
    let store_metrics = host.metrics.shared(portal_store::Metrics::register);
    let metrics = host.metrics.shared(|registry| portal_keys::Metrics::register(registry, store_metrics));
    let scope = Scope { service: Workload::Auth, tenant: TenantId::DEFAULT };
    let (clock, entropy) = (Arc::clone(&host.clock), Arc::clone(&host.entropy));
    Ok(Keys::open(&config.keys, scope, Ambient { clock, entropy, metrics }).await?)
}

mod reindex {
    //! Starts the migration that indexes accounts anew, whenever their index has got another key.

    use std::time::Duration;

    use portal_mesh::Drain;
    use portal_upkeep::migration::Migrations;
    use portal_upkeep::migration::engine::Operation;

    use crate::store::email_index::EmailIndexer;
    use crate::store::moving::REINDEX;

    /// How often it is looked which key is active: that costs nothing, it is at hand.
    const INTERVAL: Duration = Duration::from_secs(1);

    pub(super) async fn run(emails: EmailIndexer, migrations: Migrations, drain: Drain) {
        let stopping = drain.started();
        tokio::pin!(stopping);
        let mut seen = None;
        loop {
            match emails.column_keys().await {
                Ok(keys) if seen != Some(keys.active().generation()) => {
                    if start(&migrations).await {
                        seen = Some(keys.active().generation());
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the keys of the index of accounts can't be had"),
            }
            tokio::select! {
                () = &mut stopping => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// Starts it if there is anything to do; says whether that is settled.
    async fn start(migrations: &Migrations) -> bool {
        let planned = match migrations.plan(REINDEX, None).await {
            Ok(planned) => planned,
            Err(error) => {
                tracing::debug!(%error, "accounts are not indexed anew now");
                return false;
            }
        };
        if planned.progress.step_total == 0 {
            return true;
        }
        match migrations.apply(REINDEX, Operation::Start { max_rows_per_second: None }).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "accounts could not be indexed anew");
                false
            }
        }
    }
}
