//! What all parts of the hierarchy share, and how it is opened.

use std::sync::Arc;
use std::time::Duration;

use portal_core::id::{EpochId, Id};
use portal_core::{Clock, Entropy, Timestamp};
use portal_crypto::envelope::Scope;
use portal_crypto::key::KeyBytes;
use portal_crypto::wrapped::KeyContext;
use portal_store::{Database, migrate};

use crate::cache::Cache;
use crate::epochs::{Active, Epochs};
use crate::error::Stored;
use crate::scrub::ScrubDue;
use crate::seals::Seals;
use crate::secrets::Secrets;
use crate::store::epochs::EpochRow;
use crate::store::events::Event;
use crate::store::migration::Migrations;
use crate::store::state::{KeyEvent, KeyState};
use crate::store::{epochs, events, head};
use crate::window::Window;
use crate::wrapping::{Root, unavailable};
use crate::{KeysConfig, KeysError, Metrics, Provider};

/// What a process lends its keys.
#[derive(Clone)]
pub struct Ambient {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes keys and nonces.
    pub entropy: Arc<dyn Entropy>,
    /// Counts.
    pub metrics: Metrics,
}

/// The keys of one service and tenant.
pub(crate) struct Hierarchy {
    pub(crate) scope: Scope,
    pub(crate) ttl: Duration,
    /// How long an epoch wraps new keys.
    pub(crate) epoch_time: Duration,
    /// How long a backup of the key database is kept.
    pub(crate) backup_retention: Duration,
    pub(crate) database: Database,
    pub(crate) root: Root,
    pub(crate) epochs: Epochs,
    pub(crate) secrets: Secrets,
    pub(crate) cache: Cache,
    pub(crate) seals: Seals,
    pub(crate) scrub_due: ScrubDue,
    /// Open while erasures elsewhere are followed closely enough.
    pub(crate) trust: Window,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Metrics,
}

impl Hierarchy {
    pub(crate) async fn open(config: &KeysConfig, scope: Scope, ambient: Ambient) -> Result<Self, KeysError> {
        let Ambient { clock, entropy, metrics } = ambient;
        let suites = config.suites()?;
        let database = config.database.clone().with_secure_delete();
        let database = Database::connect(&database, Arc::clone(&entropy), metrics.database.clone()).await?;
        migrate::up::<Migrations>(&database).await?;
        claim(&database, scope).await?;
        let provider =
            Provider::open(config, Arc::clone(&clock), Arc::clone(&entropy)).await.map_err(unavailable)?;
        let root = Root { provider, suites, metrics: metrics.clone() };
        let base = Base { scope, database: &database, root: &root, clock: &*clock, entropy: &*entropy };
        let active = base.first_epoch().await?;
        let secrets = Secrets::open(&base, config.import_service_secret_file.as_deref()).await?;
        let epochs = Epochs::default();
        epochs.set_active(Some(active));
        Ok(Self {
            scope,
            ttl: config.cache_ttl,
            epoch_time: config.epoch,
            backup_retention: config.backup_retention,
            database,
            root,
            epochs,
            secrets,
            cache: Cache::new(config.cache_max_subjects, config.cache_ttl),
            seals: Seals::default(),
            scrub_due: ScrubDue::default(),
            trust: Window::default(),
            clock,
            entropy,
            metrics,
        })
    }

    /// What making and opening keys under the root needs.
    pub(crate) fn base(&self) -> Base<'_> {
        Base {
            scope: self.scope,
            database: &self.database,
            root: &self.root,
            clock: &*self.clock,
            entropy: &*self.entropy,
        }
    }

    /// The epoch that wraps new keys, as last seen or as it is stored.
    pub(crate) async fn active_epoch(&self) -> Result<Active, KeysError> {
        match self.epochs.active() {
            Some(active) => Ok(active),
            None => self.reload_active_epoch().await,
        }
    }

    /// The epoch that wraps new keys, as it is stored.
    pub(crate) async fn reload_active_epoch(&self) -> Result<Active, KeysError> {
        let active = self.base().first_epoch().await?;
        self.epochs.set_active(Some(active));
        Ok(active)
    }

    pub(crate) fn event(&self, kind: KeyEvent, key: impl ToString) -> Event {
        Event::new(kind, key, self.clock.now(), &*self.entropy)
    }
}

/// The parts of a hierarchy that are there before all of it is.
#[derive(Clone, Copy)]
pub(crate) struct Base<'a> {
    pub(crate) scope: Scope,
    pub(crate) database: &'a Database,
    pub(crate) root: &'a Root,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) entropy: &'a dyn Entropy,
}

impl Base<'_> {
    /// The active epoch, after making one if there is none. Of two processes that make the first one at once, one takes
    /// the other's.
    async fn first_epoch(&self) -> Result<Active, KeysError> {
        loop {
            let tenant = self.scope.tenant;
            let found = self
                .database
                .read("active_epoch", |tx| async move { epochs::active(&tx, tenant).await })
                .await?;
            if let Some(row) = found {
                return Ok(Active { id: row.id, since: row.created });
            }
            let row = &self.new_epoch().await?;
            let event = &Event::new(KeyEvent::Created, row.id, row.created, self.entropy);
            self.database
                .run_tx("first_epoch", |tx| async move {
                    if epochs::insert(&tx, tenant, row).await? {
                        events::add(&tx, tenant, event, 1).await?;
                        head::announce(&tx, tenant).await?;
                    }
                    Ok::<_, KeysError>(())
                })
                .await?;
        }
    }

    /// A new epoch key, wrapped by the provider and not yet stored.
    pub(crate) async fn new_epoch(&self) -> Result<EpochRow, KeysError> {
        let now = self.clock.now();
        let id = EpochId::generate(now, self.entropy);
        let key = KeyBytes::generate(self.entropy);
        let wrapped = self.root.wrap(&KeyContext::epoch(self.scope, id), &key).await;
        let (root, record) = wrapped.map_err(|failure| failure.of(Stored::EpochKey, id))?;
        Ok(EpochRow {
            id,
            state: KeyState::Active,
            root,
            record: Some(record),
            created: now,
            retired: None,
            destroyed: None,
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

async fn claim(database: &Database, scope: Scope) -> Result<(), KeysError> {
    let owner = database
        .run_tx("claim_key_database", |tx| async move { head::claim(&tx, scope.tenant, scope.service).await })
        .await?;
    if owner == scope.service.name() { Ok(()) } else { Err(KeysError::Foreign { owner }) }
}
