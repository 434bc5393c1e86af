//! The data migrations of a service: what operators see, and what they ask for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use portal_core::entropy::random_bytes;
use portal_core::{Clock, Timestamp, Workload};
use portal_store::{Corruption, Database, ReadTx, StoreError, Tx};
use tokio::sync::Notify;
use uuid::Uuid;

use super::state::{Record, State, Step, TransitionError};
use super::{DataMigration, Finality, MigrationError, Progress, table};
use crate::config::MigrationConfig;
use crate::{Host, Metrics};

/// A data migration and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Migration {
    /// What it changes, in a sentence.
    pub description: &'static str,
    /// Where it stands.
    pub record: Record,
    /// How far it is.
    pub progress: Progress,
}

impl Migration {
    /// The time that its present step still takes; `None` while it does not run or nothing is known yet.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.record.state.active().and_then(|_| self.progress.time_left())
    }
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Drop the old form: no way back.
    Commit,
    /// Stop after the present batch.
    Pause,
    /// Put everything back.
    RollBack,
    /// Begin or go on.
    Start {
        /// Most rows per second; `None` takes the configured rate.
        max_rows_per_second: Option<u32>,
    },
    /// Compare everything once more.
    Verify,
}

/// Why an operation was refused.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// Counting its rows failed.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// There is no migration of this name.
    #[error("there is no such data migration")]
    NotFound,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is in no state for it.
    #[error(transparent)]
    Transition(#[from] TransitionError),
}

/// The data migrations of a service. Clones share their work.
#[derive(Clone)]
pub struct Migrations(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) service: Workload,
    pub(super) database: Database,
    pub(super) migrations: Vec<Arc<dyn DataMigration>>,
    pub(super) finality: Finality,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: MigrationConfig,
    pub(super) metrics: Metrics,
    /// Names this process among those that may hold the lease.
    pub(super) holder: Uuid,
    pub(super) wake: Notify,
}

impl fmt::Debug for Migrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.migrations.iter().map(|migration| migration.name()).collect();
        f.debug_tuple("Migrations").field(&names).finish()
    }
}

impl Migrations {
    /// The migrations of a service, in the order in which they apply. They are looked at when [`Self::run`] runs.
    #[must_use]
    pub fn new(
        host: &Host,
        config: MigrationConfig,
        finality: Finality,
        migrations: Vec<Arc<dyn DataMigration>>,
    ) -> Self {
        Self(Arc::new(Inner {
            service: host.service,
            database: host.database.clone(),
            migrations,
            finality,
            clock: Arc::clone(&host.clock),
            config,
            metrics: host.metrics.clone(),
            holder: Uuid::from_bytes(random_bytes(&*host.entropy)),
            wake: Notify::new(),
        }))
    }

    /// To be called when the service starts, before it answers anybody: migrations that find nothing to move, as in a
    /// new installation, are committed at once, so that the old form is never written. What has no way back is noted
    /// among the keys.
    ///
    /// # Errors
    /// [`MigrationError::SetBack`] if a migration was further already; [`MigrationError`].
    pub async fn settle(&self) -> Result<(), MigrationError> {
        for migration in &self.0.migrations {
            if self.recorded(&**migration).await?.state == State::Pending
                && self.0.count(&**migration, Step::Move).await? == 0
            {
                self.settle_one(&**migration).await?;
            }
            if !migration.repeats() {
                self.0.finality.note(&self.recorded(&**migration).await?).await?;
            }
        }
        Ok(())
    }

    /// All of them, in the order in which they apply.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self) -> Result<Vec<Migration>, StoreError> {
        self.0
            .database
            .read("list_migrations", |tx| async move {
                let mut migrations = Vec::with_capacity(self.0.migrations.len());
                for migration in &self.0.migrations {
                    migrations.push(self.0.view(&tx, &**migration).await?);
                }
                Ok(migrations)
            })
            .await
    }

    /// The first one that is not committed: until it is, the old form of some rows may be there. Those that can be
    /// started again leave nothing behind.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn uncommitted(&self) -> Result<Option<&'static str>, StoreError> {
        let mut once = self.0.migrations.iter().filter(|migration| !migration.repeats());
        let all = self.list().await?;
        let committed = |name| all.iter().any(|found| found.record.name == name && found.record.committed);
        Ok(once.find(|migration| !committed(migration.name())).map(|migration| migration.name()))
    }

    /// Whether the one of this name is started again and again by the service itself: there is nothing to put back then.
    #[must_use]
    pub fn repeats(&self, name: &str) -> bool {
        self.registered(name).is_ok_and(DataMigration::repeats)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`OperationError::NotFound`], [`OperationError::Store`].
    pub async fn find(&self, name: &str) -> Result<Migration, OperationError> {
        let migration = self.registered(name)?;
        let read =
            self.0.database.read("find_migration", |tx| async move { self.0.view(&tx, migration).await });
        Ok(read.await?)
    }

    /// One of them with its rows counted and the time estimated that a start would take; nothing is written.
    ///
    /// # Errors
    /// [`OperationError`]; [`OperationError::Transition`] if it could not be started.
    pub async fn plan(
        &self,
        name: &str,
        max_rows_per_second: Option<u32>,
    ) -> Result<Migration, OperationError> {
        let migration = self.registered(name)?;
        let found = self.find(name).await?;
        let now = self.0.clock.now();
        let record = Record { max_rows_per_second, ..startable(migration, found.record, now).start(now)? };
        let count = self.0.count(migration, record.step).await?;
        let progress = found.progress.count(record.step, count, now);
        let rate = self.0.config.rate(max_rows_per_second).map_or(0.0, f64::from);
        let progress = Progress { rows_per_second: rate, step_done: 0, ..progress };
        Ok(Migration { record, progress, ..found })
    }

    /// Does what an operator asks for; the work itself is done by whichever process [runs](Self::run).
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn apply(&self, name: &str, operation: Operation) -> Result<Migration, OperationError> {
        let applied = self
            .0
            .database
            .run_tx("steer_migration", |tx| async move { self.apply_in(&tx, name, operation).await });
        let migration = applied.await?;
        self.wake();
        Ok(migration)
    }

    /// [`Self::apply`] within a transaction of the caller, who calls [`Self::wake`] after it.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn apply_in(
        &self,
        tx: &Tx,
        name: &str,
        operation: Operation,
    ) -> Result<Migration, OperationError> {
        let migration = self.registered(name)?;
        let Migration { record, progress, .. } = self.0.view(tx, migration).await?;
        let now = self.0.clock.now();
        let (before, step) = (record.state, record.step);
        let mut record = match operation {
            Operation::Commit => record.commit(now)?,
            Operation::Pause => record.pause(now)?,
            Operation::RollBack => record.roll_back(now)?,
            Operation::Start { .. } => startable(migration, record, now).start(now)?,
            Operation::Verify => record.verify(now)?,
        };
        if let Operation::Start { max_rows_per_second } = operation {
            record.max_rows_per_second = max_rows_per_second;
        }
        table::save_record(tx, &record).await?;
        let progress = match (before, record.state.active()) {
            (State::Paused | State::Failed, Some(now_does)) if now_does == step => progress.resume(now),
            (before, Some(now_does)) if before.active() != Some(now_does) => progress.begin(now_does, now),
            _ => progress,
        };
        table::save_progress(tx, migration.name(), &progress).await?;
        Ok(Migration { description: migration.description(), record, progress })
    }

    /// Tells the task that runs that there may be something to do.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    fn registered(&self, name: &str) -> Result<&dyn DataMigration, OperationError> {
        let found = self.0.migrations.iter().find(|migration| migration.name() == name);
        found.map(|migration| &**migration).ok_or(OperationError::NotFound)
    }

    /// Where it stands, when the service starts.
    async fn recorded(&self, migration: &dyn DataMigration) -> Result<Record, MigrationError> {
        let name = migration.name();
        let view =
            self.0.database.read("find_migration", |tx| async move { self.0.view(&tx, migration).await });
        match view.await {
            Ok(Migration { record, .. }) => Ok(record),
            Err(StoreError::Corrupt { cause: Corruption::LedgerMismatch, .. }) => {
                Err(MigrationError::SetBack { migration: name })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn settle_one(&self, migration: &dyn DataMigration) -> Result<(), MigrationError> {
        let now = self.0.clock.now();
        let settle = self.0.database.run_tx("settle_migration", |tx| async move {
            // Counted again in the transaction that decides: whoever writes the old form at the same time conflicts.
            let Migration { record, progress, .. } = self.0.view(&tx, migration).await?;
            if record.state == State::Pending && migration.count(&tx, Step::Move).await? == 0 {
                table::save_record(&tx, &record.settle(now)).await?;
                table::save_progress(&tx, migration.name(), &progress).await?;
            }
            Ok::<_, MigrationError>(())
        });
        settle.await
    }
}

impl Inner {
    pub(super) async fn view(
        &self,
        tx: &ReadTx,
        migration: &dyn DataMigration,
    ) -> Result<Migration, StoreError> {
        let name = migration.name();
        let record = self.heed(migration, table::record_or_pending(tx, name).await?)?;
        let progress = table::progress(tx, name).await?;
        Ok(Migration { description: migration.description(), record, progress })
    }

    /// `record` as it may be believed. One of a migration that repeats begins anew now and then, and decides nothing.
    pub(super) fn heed(&self, migration: &dyn DataMigration, record: Record) -> Result<Record, StoreError> {
        if migration.repeats() { Ok(record) } else { self.finality.heed(record) }
    }

    /// Counts on one state of the data, and in a transaction of its own: a serialisable one that has read the whole
    /// table conflicts with every live write until it ends.
    pub(super) async fn count(
        &self,
        migration: &dyn DataMigration,
        step: Step,
    ) -> Result<u64, MigrationError> {
        self.database.read("count_migration", |tx| async move { migration.count(&tx, step).await }).await
    }
}

/// What a start begins with: one that repeats begins anew when it is done.
fn startable(migration: &dyn DataMigration, record: Record, now: Timestamp) -> Record {
    if migration.repeats() && record.state == State::Done {
        Record::pending(&record.name, now)
    } else {
        record
    }
}
