//! The integrity scans of a service: what operators see, and what they ask for.

use std::fmt;
use std::sync::Arc;

use portal_core::entropy::random_bytes;
use portal_core::id::{Id, OperationId};
use portal_core::{Clock, Entropy, Timestamp, Workload};
use portal_store::{Database, StoreError, Tx};
use tokio::sync::Notify;
use uuid::Uuid;

use super::report::{Report, ReportedFinding};
use super::{ScannedTable, table};
use crate::config::IntegrityConfig;
use crate::{Host, Metrics};

/// Why a scan was not started.
#[derive(Debug, thiserror::Error)]
pub enum ScanRefusal {
    /// One is running.
    #[error("a scan is running")]
    Running,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such table, or it is not scanned.
    #[error("there is no table of this name to scan")]
    UnknownTable {
        /// Which of the names.
        index: usize,
    },
}

/// The integrity scans of a service. Clones share their work.
#[derive(Clone)]
pub struct Scans(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) service: Workload,
    pub(super) database: Database,
    pub(super) tables: Vec<Arc<dyn ScannedTable>>,
    pub(super) ledgers: Vec<Arc<dyn ScannedTable>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) config: IntegrityConfig,
    pub(super) metrics: Metrics,
    /// Names this process among those that may hold the lease.
    pub(super) holder: Uuid,
    /// Scans that were due before are not caught up with if there never was one.
    pub(super) since: Timestamp,
    pub(super) wake: Notify,
}

impl fmt::Debug for Scans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scans").field(&self.tables()).finish()
    }
}

impl Scans {
    /// Scans of `tables`, in this order.
    #[must_use]
    pub fn new(host: &Host, config: IntegrityConfig, tables: Vec<Arc<dyn ScannedTable>>) -> Self {
        Self::with_ledger(host, config, tables, [])
    }

    /// Scans of `tables`, and then of the ledgers: their rows are leaves, and are counted apart.
    #[must_use]
    pub fn with_ledger(
        host: &Host,
        config: IntegrityConfig,
        tables: Vec<Arc<dyn ScannedTable>>,
        ledgers: impl IntoIterator<Item = Arc<dyn ScannedTable>>,
    ) -> Self {
        Self(Arc::new(Inner {
            service: host.service,
            database: host.database.clone(),
            tables,
            ledgers: ledgers.into_iter().collect(),
            clock: Arc::clone(&host.clock),
            entropy: Arc::clone(&host.entropy),
            config,
            metrics: host.metrics.clone(),
            holder: Uuid::from_bytes(random_bytes(&*host.entropy)),
            since: host.clock.now(),
            wake: Notify::new(),
        }))
    }

    /// The names of what is scanned, the ledgers last.
    #[must_use]
    pub fn tables(&self) -> Vec<&'static str> {
        self.0.tables.iter().chain(&self.0.ledgers).map(|table| table.table()).collect()
    }

    /// Starts a scan of `tables`, of all if none is named; the work is done by whichever process [runs](Self::run).
    ///
    /// # Errors
    /// [`ScanRefusal`].
    pub async fn start(
        &self,
        tables: &[String],
        max_rows_per_second: Option<u32>,
    ) -> Result<Report, ScanRefusal> {
        let started = self
            .0
            .database
            .run_tx("start_scan", |tx| async move { self.start_in(&tx, tables, max_rows_per_second).await });
        let report = started.await?;
        self.wake();
        Ok(report)
    }

    /// [`Self::start`] within a transaction of the caller, who calls [`Self::wake`] after it.
    ///
    /// # Errors
    /// [`ScanRefusal`].
    pub async fn start_in(
        &self,
        tx: &Tx,
        tables: &[String],
        max_rows_per_second: Option<u32>,
    ) -> Result<Report, ScanRefusal> {
        let known = self.tables();
        if let Some(index) = tables.iter().position(|name| !known.contains(&name.as_str())) {
            return Err(ScanRefusal::UnknownTable { index });
        }
        if table::running(tx).await?.is_some() {
            return Err(ScanRefusal::Running);
        }
        let named = |name: &&str| tables.is_empty() || tables.iter().any(|asked| asked == name);
        let tables = known.into_iter().filter(named).map(str::to_owned).collect();
        Ok(self.0.begin(tx, tables, max_rows_per_second).await?)
    }

    /// The report with this id, the newest one without; with its findings.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn report(
        &self,
        id: Option<Uuid>,
    ) -> Result<Option<(Report, Vec<ReportedFinding>)>, StoreError> {
        self.0
            .database
            .read("scan_report", |tx| async move {
                let report = match id {
                    Some(id) => table::find(&tx, id).await?,
                    None => table::newest(&tx).await?,
                };
                let Some(report) = report else { return Ok(None) };
                let findings = table::findings(&tx, report.id).await?;
                Ok(Some((report, findings)))
            })
            .await
    }

    /// Tells the task that runs that there may be something to do.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }
}

impl Inner {
    pub(super) async fn begin(
        &self,
        tx: &Tx,
        tables: Vec<String>,
        max_rows_per_second: Option<u32>,
    ) -> Result<Report, StoreError> {
        let now = self.clock.now();
        let id = OperationId::generate(now, &*self.entropy).uuid();
        let report = Report::begin(id, tables, max_rows_per_second, now);
        table::save(tx, &report).await?;
        table::forget_old(tx).await?;
        Ok(report)
    }
}
