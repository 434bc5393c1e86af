//! Every metric of the valuation service.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Clones share their numbers.
#[derive(Clone)]
pub struct Metrics {
    ended: Family<Ended, Counter>,
    seconds: Histogram,
    records: Counter,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Ended {
    outcome: Outcome,
}

/// How a worker's hold of a valuation ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// No values.
    Failed,
    /// Given back, cancelled, or taken by another worker.
    Left,
    /// Values.
    Succeeded,
}

impl Metrics {
    /// New metrics that `registry` shows.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            ended: Family::default(),
            // 10 ms to 5 minutes and more.
            seconds: Histogram::new(exponential_buckets(0.01, 2.0, 16)),
            records: Counter::default(),
        };
        registry.register("valuation_jobs", "Valuations a worker held, by outcome", metrics.ended.clone());
        let help = "Time a worker held a valuation";
        registry.register("valuation_job_duration_seconds", help, metrics.seconds.clone());
        let help = "Records appended to datasets";
        registry.register("valuation_records_appended", help, metrics.records.clone());
        metrics
    }

    pub(crate) fn job_ended(&self, outcome: Outcome, took: Duration) {
        self.ended.get_or_create(&Ended { outcome }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn appended(&self, records: i64) {
        self.records.inc_by(u64::try_from(records).unwrap_or(0));
    }
}
