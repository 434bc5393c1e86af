//! What goes on beside the calls: keys, data migrations, integrity scans. A service runs it in the background; a command
//! opens it alone.

use std::sync::Arc;

use portal_core::Workload;
use portal_core::id::TenantId;
use portal_crypto::envelope::Scope;
use portal_keys::{Ambient, Keys, Replies};
use portal_ledger::Log;
use portal_mesh::{Host, Running, task};
use portal_store::sealed::{RowDigests, Sealing};
use portal_store::{Database, migrate};
use portal_upkeep::audit::Audit;
use portal_upkeep::erasure::Erasures;
use portal_upkeep::indexes::Indexes;
use portal_upkeep::migration::{Finality, Migrations};
use portal_upkeep::own_keys::OwnKeys;
use portal_upkeep::rpc::Operators;
use portal_upkeep::scan::{Scans, shred_ledger};

use crate::config::Config;
use crate::migration;
use crate::service::StartError;
use crate::store::accounts::Accounts;
use crate::store::email_index::{EmailIndex, EmailIndexer};
use crate::store::signing_keys::SigningKeys;
use crate::store::{Cells, Seals, moving, scanned};

mod reindex;

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
    /// By what rows are found.
    pub indexes: Indexes,
    /// The log.
    pub log: Log,
    /// What happened.
    pub audit: Audit,
    engines: portal_upkeep::Host,
    pub(crate) seals: Seals,
    pub(crate) cells: Cells,
    pub(crate) sealing: Sealing,
    pub(crate) emails: EmailIndexer,
    pub(crate) signing: SigningKeys,
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
        let seals = Seals::new(sealing.clone(), digests.clone(), moving::SEAL, &finality);
        let cells = Cells::new(&keys, &host.entropy);
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
        let ledger = Some(shred_ledger(&keys));
        let audit = Audit::new(&engines, &keys, digests.clone());
        let signing = SigningKeys::new(&keys, digests.clone(), Arc::clone(&host.entropy));
        let mut tables = scanned::tables(&keys, &seals, &signing, &host.entropy, &cells);
        tables.push(Arc::new(audit.clone()));
        let scans = Scans::with_ledger(&engines, config.integrity.clone(), tables, ledger);
        migrations.settle().await?;
        let log_metrics = host.metrics.shared(portal_ledger::Metrics::register);
        let trust_domain = config.identity.trust_domain()?;
        let log = portal_upkeep::ledger::open(&engines, &keys, &trust_domain, log_metrics).await?;
        let indexes =
            Indexes::new(&keys, &database, vec![Arc::new(EmailIndex(Accounts::new(seals.clone())))]);
        Ok(Self {
            keys,
            database,
            migrations,
            scans,
            log,
            audit,
            indexes,
            engines,
            seals,
            cells,
            sealing,
            emails,
            signing,
        })
    }

    /// Erases people.
    #[must_use]
    pub fn erasures(&self) -> Erasures {
        Erasures::new(&self.keys, &self.migrations, &self.indexes)
    }

    /// Answers operators.
    pub(crate) fn operators(&self, replies: &Replies, own: Arc<dyn OwnKeys>) -> Operators {
        let keys = (self.keys.clone(), replies.clone(), self.indexes.clone(), Some(own));
        let (migrations, scans) = (self.migrations.clone(), (self.scans.clone(), self.log.clone()));
        Operators::with_indexes::<migration::Migrations>(self.engines.clone(), keys, migrations, scans)
    }

    /// Does it in the background, until `running` stops.
    pub(crate) fn run(self, running: &mut Running) {
        let Self { keys, migrations, scans, log, emails, .. } = self;
        let (moves, stop) = (migrations.clone(), running.drain().started());
        running.own(task::spawn("auth-migrations", async move { moves.run(stop).await }));
        let stop = running.drain().started();
        running.own(task::spawn("auth-scans", async move { scans.run(stop).await }));
        let stop = running.drain();
        running.own(task::spawn("auth-reindex", reindex::run(emails, migrations, stop)));
        let stop = running.drain();
        running.own(task::spawn("auth-ledger", async move { log.run(stop.started()).await }));
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
