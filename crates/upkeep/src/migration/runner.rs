//! The batches: one process at a time, each batch in one transaction with the lease, the record and the place reached.
//!
//! A transaction of a batch begins by renewing the lease, so that a process that lost it commits nothing; then it reads
//! the record, so that what an operator decided holds from the next batch on; then it does the rows; and then it writes
//! the place. Whatever is counted over a whole table is counted in a read of its own, never in such a transaction.

use std::error::Error as _;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use portal_keys::KeysError;
use portal_store::{Lease, ReadTx, StoreError, Tx, leases};
use tokio::time::Instant;

use super::engine::{Inner, Migrations};
use super::pace::Pace;
use super::state::{Record, Step};
use super::{Batch, DataMigration, MigrationError, Progress, table};
use crate::Page;

/// What only one process of a service does at a time.
const LEASE: &str = "data-migration";
/// How often a process without the lease looks whether there is something to do.
const POLL: Duration = Duration::from_secs(1);
/// The pause after an error that may pass.
const BACKOFF: Duration = Duration::from_millis(500);

/// So many rows are left to the step that verifies.
const STRAGGLERS: u64 = 1_000;

/// What a look at the tables led to.
enum Outcome {
    /// A batch was done.
    Batch(Done),
    /// A pass over all rows has ended: is there anything left?
    Ended(Active),
    /// Nothing is to be done.
    Idle,
    /// Somebody else has the lease.
    Lost,
    /// A step has not been counted yet.
    Uncounted(Active),
}

/// A batch that was committed.
pub(super) struct Done {
    pub(super) migration: &'static str,
    pub(super) step: Step,
    pub(super) rows: u64,
    pub(super) rate: Option<u32>,
    /// How long its transaction held what it had locked, without the time that it waited to begin.
    pub(super) held: Duration,
}

/// A migration that is under way.
#[derive(Clone)]
struct Active {
    migration: Arc<dyn DataMigration>,
    record: Record,
    step: Step,
}

/// An error, and which migration it stops.
struct Stopped {
    migration: Option<&'static str>,
    error: MigrationError,
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self { migration: None, error: error.into() }
    }
}

impl Migrations {
    /// Works on whatever an operator has started, here or in another process, until `stop` resolves; the batch under way
    /// is ended then. Run it as a task of every process of the service.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            match self.0.turn(&mut stop).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "data migrations can't be looked at"),
            }
            tokio::select! {
                () = &mut stop => return,
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Works until nothing is to be done, or another process is doing it.
    ///
    /// # Errors
    /// [`StoreError`] if the tables can't be read.
    pub async fn run_until_idle(&self) -> Result<(), StoreError> {
        let mut never = pin!(std::future::pending());
        self.0.turn(&mut never).await.map(drop)
    }
}

impl Inner {
    /// Takes the lease if there is something to do, and does it. Says whether it was told to stop.
    async fn turn<F: Future<Output = ()>>(&self, stop: &mut Pin<&mut F>) -> Result<bool, StoreError> {
        let active = self.database.read("look_for_migration", |tx| async move { self.active(&tx).await });
        if active.await?.is_none() {
            return Ok(false);
        }
        if let Err(error) = self.finality.refresh().await {
            tracing::warn!(%error, "a data migration waits for the keys");
            return Ok(false);
        }
        let (now, time, holder) = (self.clock.now(), self.config.lease(), self.holder);
        let acquire = self.database.run_tx("lease_migration", |tx| async move {
            leases::acquire(&tx, LEASE, holder, now, time).await
        });
        let Some(lease) = acquire.await? else { return Ok(false) };
        let stopped = self.work(&lease, stop).await;
        let lease = &lease;
        let release =
            self.database.run_tx("release_migration", |tx| async move { leases::release(&tx, lease).await });
        if let Err(error) = release.await {
            // It runs out by itself; but who was told to stop must not wait to be told again.
            tracing::warn!(%error, "the lease of data migrations could not be given back");
        }
        Ok(stopped)
    }

    async fn work<F: Future<Output = ()>>(&self, lease: &Lease, stop: &mut Pin<&mut F>) -> bool {
        let mut pace = Pace::new(self.config.batch());
        // Rows that the present pass has done, if it began here.
        let mut pass = None;
        loop {
            let started = Instant::now();
            let looked = match self.ready().await {
                Ok(()) => self.look(lease, &pace).await,
                Err(stopped) => Err(stopped),
            };
            let wait = match looked {
                Ok(Outcome::Idle | Outcome::Lost) => return false,
                Ok(Outcome::Batch(done)) => {
                    pass = pass.map(|rows: u64| rows + done.rows);
                    let of = (done.migration, done.step);
                    self.metrics.migrations.batch(self.service, of, done.rows, started.elapsed());
                    pace.after(&done, started.elapsed())
                }
                Ok(Outcome::Uncounted(active)) => {
                    pass = Some(0);
                    self.or_stop(lease, self.count_step(lease, &active).await).await
                }
                Ok(Outcome::Ended(active)) => {
                    let fruitless = pass.replace(0) == Some(0);
                    self.or_stop(lease, self.end_pass(lease, &active, fruitless).await).await
                }
                Err(stopped) => self.or_stop(lease, Err(stopped)).await,
            };
            tokio::select! {
                biased;
                () = &mut *stop => return true,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// What the next batch may have to wait for is there.
    async fn ready(&self) -> Result<(), Stopped> {
        let active = self.database.read("look_for_migration", |tx| async move { self.active(&tx).await });
        let Some(active) = active.await? else { return Ok(()) };
        let ready = active.migration.ready().await;
        ready.map_err(|error| Stopped { migration: Some(active.migration.name()), error })
    }

    /// One batch, or what is to be done instead.
    async fn look(&self, lease: &Lease, pace: &Pace) -> Result<Outcome, Stopped> {
        let now = self.clock.now();
        self.database
            .run_batch("migration_batch", |tx| async move {
                if !leases::renew(&tx, lease, now, self.config.lease()).await? {
                    return Ok(Outcome::Lost);
                }
                let Some(active) = self.active(&tx).await? else { return Ok(Outcome::Idle) };
                let name = active.migration.name();
                let progress = table::progress(&tx, name).await?;
                if !progress.counted {
                    return Ok(Outcome::Uncounted(active));
                }
                if progress.at_end {
                    return Ok(Outcome::Ended(active));
                }
                let rate = self.config.rate(active.record.max_rows_per_second);
                let page = Page { after: progress.cursor.clone(), limit: pace.limit(rate) };
                let began = Instant::now();
                let batch = active.batch(&tx, &page).await;
                let batch = batch.map_err(|error| Stopped { migration: Some(name), error })?;
                let rows = batch.rows;
                let progress = progress.advance(active.step, batch, self.clock.now());
                table::save_progress(&tx, name, &progress).await?;
                let done = Done { migration: name, step: active.step, rows, rate, held: began.elapsed() };
                Ok(Outcome::Batch(done))
            })
            .await
    }

    /// Counts what a step has to do, before its first batch.
    async fn count_step(&self, lease: &Lease, active: &Active) -> Result<Duration, Stopped> {
        // From here on the new form alone is believed: noted before the first row loses its old one.
        let noted = self.note(active, &active.record).await;
        noted.map_err(|error| Stopped { migration: Some(active.migration.name()), error: error.into() })?;
        let count = self.count(&*active.migration, active.step);
        let Some(count) = self.beating(lease, active, count).await? else { return Ok(Duration::ZERO) };
        let (now, name) = (self.clock.now(), active.migration.name());
        self.unchanged(lease, active, |tx, _, progress| async move {
            table::save_progress(&tx, name, &progress.count(active.step, count, now)).await
        })
        .await?;
        Ok(Duration::ZERO)
    }

    /// Every row was looked at: the step has ended, unless there are rows that came behind the batches. A pass was
    /// fruitless if it had rows to look at and could do nothing for any of them: another one could not either.
    async fn end_pass(&self, lease: &Lease, active: &Active, fruitless: bool) -> Result<Duration, Stopped> {
        let (now, name, step) = (self.clock.now(), active.migration.name(), active.step);
        // A transaction that began before the state changed writes by the rules of the state before.
        let late = active.record.changed_at.plus(self.config.grace(step)).since(now);
        if !late.is_zero() {
            return Ok(late.min(POLL));
        }
        let left = match step {
            Step::Verify => 0,
            Step::Commit | Step::Move | Step::Undo => {
                let left = self.count(&*active.migration, step);
                let Some(left) = self.beating(lease, active, left).await? else { return Ok(Duration::ZERO) };
                left
            }
        };
        // While an earlier version of the service writes, there is always a row to move: verifying moves the last ones.
        let ended = left == 0 || step == Step::Move && (left < STRAGGLERS || fruitless);
        if ended {
            let noted = self.note(active, &active.record.clone().step_ended(now)).await;
            noted.map_err(|error| Stopped { migration: Some(name), error: error.into() })?;
        }
        self.unchanged(lease, active, |tx, record, progress| async move {
            if !ended {
                return table::save_progress(&tx, name, &progress.another_pass(step, left)).await;
            }
            let record = record.step_ended(now);
            let progress = record.state.active().map_or(progress.clone(), |next| progress.begin(next, now));
            table::save_record(&tx, &record).await?;
            table::save_progress(&tx, name, &progress).await
        })
        .await?;
        Ok(Duration::ZERO)
    }

    /// Runs `change` in a transaction, if the lease is still held and the migration is still where it was.
    async fn unchanged<F, Fut>(&self, lease: &Lease, active: &Active, change: F) -> Result<(), Stopped>
    where
        F: Fn(Tx, Record, Progress) -> Fut,
        Fut: Future<Output = Result<(), StoreError>>,
    {
        let (now, time, change) = (self.clock.now(), self.config.lease(), &change);
        let changed = self.database.run_tx("migration_step", |tx| async move {
            let held = leases::renew(&tx, lease, now, time).await?;
            let record = table::record(&tx, &active.record.name).await?;
            match record {
                Some(record) if held && record == active.record => {
                    let progress = table::progress(&tx, &record.name).await?;
                    change(tx, record, progress).await
                }
                _ => Ok(()),
            }
        });
        Ok(changed.await?)
    }

    /// Does `work`, which may take longer than the lease, and keeps the lease meanwhile; `None` if it was lost.
    async fn beating<T>(
        &self,
        lease: &Lease,
        active: &Active,
        work: impl Future<Output = Result<T, MigrationError>>,
    ) -> Result<Option<T>, Stopped> {
        let migration = Some(active.migration.name());
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done.map(Some).map_err(|error| Stopped { migration, error }),
                () = tokio::time::sleep(self.config.lease() / 3) => {}
            }
            let (now, time) = (self.clock.now(), self.config.lease());
            let renew = self
                .database
                .run_tx("renew_migration", |tx| async move { leases::renew(&tx, lease, now, time).await });
            if !renew.await? {
                return Ok(None);
            }
        }
    }

    /// How long to wait after `result`; an error that will not pass stops its migration.
    async fn or_stop(&self, lease: &Lease, result: Result<Duration, Stopped>) -> Duration {
        let Stopped { migration, error } = match result {
            Ok(wait) => return wait,
            Err(stopped) => stopped,
        };
        match migration {
            Some(name) if !error.is_retryable() => {
                tracing::error!(migration = name, %error, source = error.source(), "a data migration failed");
                self.metrics.migrations.failed(self.service, name, error.reason());
                match self.fail(lease, name, error.reason()).await {
                    Ok(()) => Duration::ZERO,
                    Err(error) => {
                        tracing::warn!(migration = name, %error, "a failure could not be noted");
                        BACKOFF
                    }
                }
            }
            _ => {
                tracing::warn!(migration, %error, source = error.source(), "a data migration waits");
                BACKOFF
            }
        }
    }

    async fn fail(&self, lease: &Lease, name: &str, reason: &str) -> Result<(), StoreError> {
        let (now, time) = (self.clock.now(), self.config.lease());
        let fail = self.database.run_tx("fail_migration", |tx| async move {
            if leases::renew(&tx, lease, now, time).await? {
                let record = table::record(&tx, name).await?;
                if let Some(record) = record.filter(|record| record.state.active().is_some()) {
                    table::save_record(&tx, &record.fail(reason, now)).await?;
                }
            }
            Ok(())
        });
        fail.await
    }

    /// The first migration that is under way: one at a time, in their order.
    async fn active(&self, tx: &ReadTx) -> Result<Option<Active>, StoreError> {
        let records = table::records(tx).await?;
        for migration in &self.migrations {
            let Some(record) = records.iter().find(|record| record.name == migration.name()) else {
                continue;
            };
            let record = self.heed(&**migration, record.clone())?;
            if let Some(step) = record.state.active() {
                return Ok(Some(Active { migration: Arc::clone(migration), record, step }));
            }
        }
        Ok(None)
    }

    /// Notes among the keys how far `record` is.
    async fn note(&self, active: &Active, record: &Record) -> Result<(), KeysError> {
        if active.migration.repeats() { Ok(()) } else { self.finality.note(record).await }
    }
}

impl Active {
    async fn batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        match self.step {
            Step::Commit => self.migration.commit_batch(tx, page).await,
            Step::Move => self.migration.move_batch(tx, page).await,
            Step::Undo => self.migration.undo_batch(tx, page).await,
            Step::Verify => self.migration.verify_batch(tx, page).await,
        }
    }
}
