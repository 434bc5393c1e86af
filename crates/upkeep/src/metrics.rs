//! Every metric of this crate; names get the prefix `portal_`. Labels are names from the source, never data.
//!
//! | name | labels | counts |
//! |---|---|---|
//! | `data_migration_rows_total` | `service`, `migration`, `step` | rows that batches did |
//! | `data_migration_batch_duration_seconds` | `service`, `migration`, `step` | time of a batch |
//! | `data_migration_failures_total` | `service`, `migration`, `reason` | migrations that stopped by an error |
//! | `integrity_rows_checked_total` | `service`, `table` | rows that scans read |
//! | `integrity_findings_total` | `service`, `table`, `cause` | faults that scans found |
//! | `integrity_last_end_timestamp_seconds` | `service` | when the last scan ended that has checked everything |

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use portal_core::{Timestamp, Workload};
use portal_store::Corruption;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::migration::Step;

/// What data migrations and integrity scans did. Clones share their numbers.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) migrations: MigrationMetrics,
    pub(crate) scans: ScanMetrics,
}

#[derive(Clone, Debug)]
pub(crate) struct MigrationMetrics {
    rows: Family<Batch, Counter>,
    seconds: Family<Batch, Histogram, fn() -> Histogram>,
    failures: Family<Failure, Counter>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ScanMetrics {
    rows: Family<Table, Counter>,
    findings: Family<Finding, Counter>,
    last_end: Family<Service, Gauge<i64, AtomicI64>>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Batch {
    service: &'static str,
    migration: &'static str,
    step: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Failure {
    service: &'static str,
    migration: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Table {
    service: &'static str,
    table: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Finding {
    service: &'static str,
    table: &'static str,
    cause: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Service {
    service: &'static str,
}

impl Metrics {
    /// New metrics that `registry` shows.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { migrations, scans } = &metrics;
        let name = "data_migration_rows";
        registry.register(name, "Rows that batches of data migrations did", migrations.rows.clone());
        let name = "data_migration_batch_duration";
        let help = "Time of a batch of a data migration";
        registry.register_with_unit(name, help, Unit::Seconds, migrations.seconds.clone());
        let name = "data_migration_failures";
        registry.register(name, "Data migrations that stopped by an error", migrations.failures.clone());
        registry.register("integrity_rows_checked", "Rows that integrity scans read", scans.rows.clone());
        registry.register("integrity_findings", "Faults that integrity scans found", scans.findings.clone());
        let name = "integrity_last_end_timestamp";
        let help = "When the last integrity scan ended that has checked everything";
        registry.register_with_unit(name, help, Unit::Seconds, scans.last_end.clone());
        metrics
    }
}

impl Default for MigrationMetrics {
    fn default() -> Self {
        Self {
            rows: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 14))),
            failures: Family::default(),
        }
    }
}

impl MigrationMetrics {
    pub(crate) fn batch(&self, service: Workload, of: (&'static str, Step), rows: u64, took: Duration) {
        let (migration, step) = of;
        let labels = Batch { service: service.name(), migration, step: step.name() };
        self.rows.get_or_create(&labels).inc_by(rows);
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(crate) fn failed(&self, service: Workload, migration: &'static str, reason: &'static str) {
        self.failures.get_or_create(&Failure { service: service.name(), migration, reason }).inc();
    }
}

impl ScanMetrics {
    pub(crate) fn page(&self, service: Workload, table: &'static str, rows: u64) {
        self.rows.get_or_create(&Table { service: service.name(), table }).inc_by(rows);
    }

    pub(crate) fn finding(&self, service: Workload, table: &'static str, cause: Corruption) {
        let labels = Finding { service: service.name(), table, cause: cause.name() };
        self.findings.get_or_create(&labels).inc();
    }

    pub(crate) fn ended(&self, service: Workload, now: Timestamp) {
        self.last_end.get_or_create(&Service { service: service.name() }).set(now.as_seconds());
    }
}
