//! The pages: one process at a time, each page read on one state of the data, and its findings kept in one transaction
//! with the lease and the place reached.

use std::collections::HashSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use portal_store::{Lease, StoreError, leases};
use tokio::time::Instant;

use super::engine::{Inner, Scans};
use super::report::{PageOf, Report, ScanState};
use super::{Checked, Finding, ScanError, ScannedTable, table};
use crate::Page;

/// What only one process of a service does at a time.
const LEASE: &str = "integrity-scan";
/// How long the lease lasts.
const LEASE_TIME: Duration = Duration::from_secs(15);
/// How often a process without the lease looks whether there is something to do.
const POLL: Duration = Duration::from_secs(5);
/// The pause after an error that may pass.
const BACKOFF: Duration = Duration::from_secs(1);
/// Rows of a page.
const PAGE: u32 = 256;

impl Scans {
    /// Begins scans by the schedule and works on whatever was begun, here or in another process, until `stop` resolves.
    /// Run it as a task of every process of the service.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            match self.0.turn(&mut stop).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "integrity scans can't be looked at"),
            }
            tokio::select! {
                () = &mut stop => return,
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Begins a scan if one is due, and works until none is running, or another process is doing it.
    ///
    /// # Errors
    /// [`StoreError`] if the tables can't be read.
    pub async fn run_until_idle(&self) -> Result<(), StoreError> {
        let mut never = pin!(std::future::pending());
        self.0.turn(&mut never).await.map(drop)
    }
}

impl Inner {
    async fn turn<F: Future<Output = ()>>(&self, stop: &mut Pin<&mut F>) -> Result<bool, StoreError> {
        self.begin_if_due().await?;
        let running = self.database.read("look_for_scan", |tx| async move { table::running(&tx).await });
        if running.await?.is_none() {
            return Ok(false);
        }
        let (now, holder) = (self.clock.now(), self.holder);
        let acquire = self.database.run_tx("lease_scan", |tx| async move {
            leases::acquire(&tx, LEASE, holder, now, LEASE_TIME).await
        });
        let Some(lease) = acquire.await? else { return Ok(false) };
        let stopped = self.work(&lease, stop).await;
        let lease = &lease;
        let release =
            self.database.run_tx("release_scan", |tx| async move { leases::release(&tx, lease).await });
        if let Err(error) = release.await {
            // It runs out by itself; but who was told to stop must not wait to be told again.
            tracing::warn!(%error, "the lease of integrity scans could not be given back");
        }
        Ok(stopped)
    }

    /// Begins a scan of everything if the schedule says so and no other process was faster.
    async fn begin_if_due(&self) -> Result<(), StoreError> {
        let Some(due) = self.config.schedule().last(self.clock.now()) else { return Ok(()) };
        let is_due = |newest: Option<Report>| due > newest.map_or(self.since, |newest| newest.started_at);
        let newest = self.database.read("newest_scan", |tx| async move { table::newest(&tx).await });
        if !is_due(newest.await?) {
            return Ok(());
        }
        let is_due = &is_due;
        let begin = self.database.run_tx("begin_scan", |tx| async move {
            if table::running(&tx).await?.is_none() && is_due(table::newest(&tx).await?) {
                let all = self.tables.iter().chain(&self.ledgers).map(|table| table.table().to_owned());
                self.begin(&tx, all.collect(), None).await?;
            }
            Ok(())
        });
        begin.await
    }

    async fn work<F: Future<Output = ()>>(&self, lease: &Lease, stop: &mut Pin<&mut F>) -> bool {
        loop {
            let wait = match self.step(lease).await {
                Ok(Some(wait)) => wait,
                Ok(None) => return false,
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "an integrity scan waits");
                    BACKOFF
                }
                Err(error) => {
                    tracing::error!(%error, source = std::error::Error::source(&error), "an integrity scan failed");
                    if let Err(error) = self.end(lease, false).await {
                        tracing::warn!(%error, "the end of a scan could not be noted");
                    }
                    BACKOFF
                }
            };
            tokio::select! {
                biased;
                () = &mut *stop => return true,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One page, and how long to wait after it. `None` if nothing is to be done here any more.
    async fn step(&self, lease: &Lease) -> Result<Option<Duration>, ScanError> {
        let started = Instant::now();
        let now = self.clock.now();
        let report = self.database.run_tx("renew_scan", |tx| async move {
            let held = leases::renew(&tx, lease, now, LEASE_TIME).await?;
            if held { table::running(&tx).await } else { Ok(None) }
        });
        let Some(report) = report.await? else { return Ok(None) };
        if !report.position.counted {
            self.count(lease, &report).await?;
            return Ok(Some(Duration::ZERO));
        }
        let Some(name) = report.tables.get(report.position.table) else {
            self.end(lease, true).await?;
            return Ok(None);
        };
        let Some((of, is_ledger)) = self.table_of(name) else {
            // A scan that an earlier version began names a table that this one does not have any more.
            let nothing = PageOf { rows: 0, unchecked: 0, next: None, findings: &[], is_ledger: false };
            self.keep(lease, &report, &nothing).await?;
            return Ok(Some(Duration::ZERO));
        };
        let page = Page { after: report.position.after.clone(), limit: PAGE };
        let checked = self.check(&*of, &page).await?;
        let page = PageOf {
            rows: checked.rows,
            unchecked: checked.unchecked,
            next: checked.next.as_deref(),
            findings: &checked.findings,
            is_ledger,
        };
        self.keep(lease, &report, &page).await?;
        self.metrics.scans.page(self.service, of.table(), checked.rows);
        for finding in &checked.findings {
            let Finding { table, row, column, cause } = finding;
            tracing::error!(table, row, column, %cause, "a row is corrupt");
            self.metrics.scans.finding(self.service, table, *cause);
        }
        if checked.unchecked > 0 {
            let (table, rows) = (of.table(), checked.unchecked);
            tracing::error!(table, rows, "rows could not be checked: their key is switched off");
        }
        let rate = self.config.rate(report.max_rows_per_second);
        Ok(Some(pause(checked.rows, started.elapsed(), rate)))
    }

    /// Checks a page, and a page with findings once more: only what both see is a fault.
    async fn check(&self, of: &dyn ScannedTable, page: &Page) -> Result<Checked, ScanError> {
        let check =
            || self.database.read("scan_page", move |tx| async move { of.check_page(&tx, page).await });
        let mut checked = check().await?;
        if !checked.findings.is_empty() {
            let again: HashSet<Finding> = check().await?.findings.into_iter().collect();
            checked.findings.retain(|finding| again.contains(finding));
        }
        Ok(checked)
    }

    async fn count(&self, lease: &Lease, report: &Report) -> Result<(), ScanError> {
        let named = |table: &&Arc<dyn ScannedTable>| report.tables.iter().any(|name| name == table.table());
        let mut rows = 0;
        for table in self.tables.iter().filter(named) {
            rows += self.database.read("count_scan", |tx| async move { table.count(&tx).await }).await?;
        }
        let now = self.clock.now();
        self.change(lease, |report| report.count(rows, now)).await?;
        Ok(())
    }

    /// The table of this name, and whether it is a ledger.
    fn table_of(&self, name: &str) -> Option<(Arc<dyn ScannedTable>, bool)> {
        let is = |table: &&Arc<dyn ScannedTable>| table.table() == name;
        let table = self.tables.iter().find(is).map(|table| (Arc::clone(table), false));
        table.or_else(|| self.ledgers.iter().find(is).map(|ledger| (Arc::clone(ledger), true)))
    }

    /// Keeps the findings of a page and the place after it.
    async fn keep(&self, lease: &Lease, of: &Report, page: &PageOf<'_>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let keep = self.database.run_tx("keep_scan_page", |tx| async move {
            if !leases::renew(&tx, lease, now, LEASE_TIME).await? {
                return Ok(());
            }
            if let Some(report) = table::running(&tx).await?.filter(|report| report == of) {
                table::add(&tx, report.id, report.finding_count, page.findings).await?;
                table::save(&tx, &report.advance(page, now)).await?;
            }
            Ok(())
        });
        keep.await
    }

    async fn end(&self, lease: &Lease, read_everything: bool) -> Result<(), StoreError> {
        let now = self.clock.now();
        let ended = self.change(lease, |report| report.end(read_everything, now)).await?;
        // Whoever waits for the last scan to be old must not be kept quiet by one that has not seen everything.
        if ended.is_some_and(|report| report.state != ScanState::Failed) {
            self.metrics.scans.ended(self.service, now);
        }
        Ok(())
    }

    /// Changes the report of the running scan, if the lease is still held.
    async fn change(
        &self,
        lease: &Lease,
        change: impl Fn(Report) -> Report,
    ) -> Result<Option<Report>, StoreError> {
        let (now, change) = (self.clock.now(), &change);
        let changed = self.database.run_tx("change_scan", |tx| async move {
            if leases::renew(&tx, lease, now, LEASE_TIME).await?
                && let Some(report) = table::running(&tx).await?
            {
                let report = change(report);
                table::save(&tx, &report).await?;
                return Ok(Some(report));
            }
            Ok(None)
        });
        changed.await
    }
}

fn pause(rows: u64, took: Duration, rate: Option<u32>) -> Duration {
    let Some(rate) = rate else { return Duration::ZERO };
    #[expect(clippy::cast_precision_loss, reason = "rows of one page")]
    let share = Duration::try_from_secs_f64(rows as f64 / f64::from(rate.max(1)));
    share.unwrap_or_default().saturating_sub(took)
}
