//! Every metric of the store. Labels are names from the source, never data.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::sealed::metrics::CellMetrics;

/// How transactions went, by name, and how many cells were sealed and opened. Clones share their numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    ended: Family<Ended, Counter>,
    retries: Family<Name, Counter>,
    seconds: Family<Name, Histogram, fn() -> Histogram>,
    cells: CellMetrics,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Ended {
    transaction: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Name {
    transaction: &'static str,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// Done.
    Committed,
    /// Given up after too many conflicts.
    Conflict,
    /// The database failed.
    Failed,
    /// The body said no.
    RolledBack,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Conflict => "conflict",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            ended: Family::default(),
            retries: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_25, 2.0, 15))),
            cells: CellMetrics::default(),
        }
    }
}

impl Metrics {
    /// New metrics that `registry` shows.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let name = "store_transactions";
        registry.register(name, "Transactions that ended, by outcome", metrics.ended.clone());
        let name = "store_transaction_retries";
        registry.register(name, "Times a transaction was tried again", metrics.retries.clone());
        let name = "store_transaction_duration";
        let help = "Time from asking for a transaction to its end, retries included";
        registry.register_with_unit(name, help, Unit::Seconds, metrics.seconds.clone());
        metrics.cells.register(registry);
        metrics
    }

    pub(crate) const fn cells(&self) -> &CellMetrics {
        &self.cells
    }

    pub(crate) fn ended(&self, transaction: &'static str, outcome: Outcome, took: Duration) {
        self.ended.get_or_create(&Ended { transaction, outcome: outcome.name() }).inc();
        self.seconds.get_or_create(&Name { transaction }).observe(took.as_secs_f64());
    }

    pub(crate) fn retried(&self, transaction: &'static str) {
        self.retries.get_or_create(&Name { transaction }).inc();
    }
}
