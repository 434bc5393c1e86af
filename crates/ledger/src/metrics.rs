//! Every metric of this crate; names get the prefix `portal_`.
//!
//! | name | labels | counts |
//! |---|---|---|
//! | `ledger_entries_total` | `service` | entries that were given a position |
//! | `ledger_batch_duration_seconds` | `service` | time of a batch that gives positions |
//! | `ledger_checkpoints_total` | `service` | checkpoints that were signed |
//! | `ledger_failures_total` | `service` | batches and signatures that failed |

use std::time::Duration;

use portal_core::Workload;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What sequencers did. Clones share their numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    entries: Family<Service, Counter>,
    seconds: Family<Service, Histogram, fn() -> Histogram>,
    checkpoints: Family<Service, Counter>,
    failures: Family<Service, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Service {
    service: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            entries: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_5, 2.0, 14))),
            checkpoints: Family::default(),
            failures: Family::default(),
        }
    }
}

impl Metrics {
    /// New metrics that `registry` shows.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { entries, seconds, checkpoints, failures } = &metrics;
        registry.register("ledger_entries", "Ledger entries that were given a position", entries.clone());
        let help = "Time of a batch that gives positions to ledger entries";
        registry.register_with_unit("ledger_batch_duration", help, Unit::Seconds, seconds.clone());
        registry.register("ledger_checkpoints", "Ledger checkpoints that were signed", checkpoints.clone());
        let help = "Batches and signatures of the ledger that failed";
        registry.register("ledger_failures", help, failures.clone());
        metrics
    }

    pub(crate) fn batch(&self, service: Workload, entries: u64, took: Duration) {
        let labels = Service { service: service.name() };
        self.entries.get_or_create(&labels).inc_by(entries);
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(crate) fn signed(&self, service: Workload) {
        self.checkpoints.get_or_create(&Service { service: service.name() }).inc();
    }

    pub(crate) fn failed(&self, service: Workload) {
        self.failures.get_or_create(&Service { service: service.name() }).inc();
    }
}
