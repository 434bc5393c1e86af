//! Every metric of the key hierarchy. Labels are names from the source, never data.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// How the keys of a process are doing. Clones share their numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    lookups: Family<Lookup, Counter>,
    /// Of `lookups`, the one that is counted on the fast path.
    hits: Counter,
    cached: Gauge,
    calls: Family<Call, Counter>,
    call_seconds: Family<CallName, Histogram, fn() -> Histogram>,
    erased: Counter,
    distrusted: Counter,
    rewrapped: Counter,
    pub(crate) database: portal_store::Metrics,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Lookup {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Call {
    call: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CallName {
    call: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let lookups = Family::<Lookup, Counter>::default();
        let hits = lookups.get_or_create(&Lookup { outcome: "cached" }).clone();
        Self {
            lookups,
            hits,
            cached: Gauge::default(),
            calls: Family::default(),
            // From a file on this machine to the end of the longest time that can be configured.
            call_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_1, 2.5, 16))
            }),
            erased: Counter::default(),
            distrusted: Counter::default(),
            rewrapped: Counter::default(),
            database: portal_store::Metrics::default(),
        }
    }
}

impl Metrics {
    /// New metrics that `registry` shows. `database` counts the transactions of the key database, with those of the
    /// service's own.
    #[must_use]
    pub fn register(registry: &mut Registry, database: portal_store::Metrics) -> Self {
        let metrics = Self { database, ..Self::default() };
        let name = "keys_lookups";
        registry.register(name, "Subject keys asked for, by where they came from", metrics.lookups.clone());
        let name = "keys_cached";
        registry.register(name, "Opened subject keys in memory", metrics.cached.clone());
        let name = "keys_provider_calls";
        registry.register(name, "Calls of the key provider, by outcome", metrics.calls.clone());
        let name = "keys_provider_call_duration";
        let help = "Time that calls of the key provider took, whatever their outcome";
        registry.register_with_unit(name, help, Unit::Seconds, metrics.call_seconds.clone());
        let name = "keys_subjects_erased";
        registry.register(name, "Subjects whose keys this process has destroyed", metrics.erased.clone());
        let name = "keys_cache_distrusted";
        let help = "Times the cache was not used because erasures elsewhere could not be followed";
        registry.register(name, help, metrics.distrusted.clone());
        let name = "keys_rewrapped";
        registry.register(name, "Subject keys wrapped under a newer epoch", metrics.rewrapped.clone());
        metrics
    }

    pub(crate) fn found_in_cache(&self) {
        self.hits.inc();
    }

    pub(crate) fn loaded(&self, keys: u64) {
        self.lookups.get_or_create(&Lookup { outcome: "loaded" }).inc_by(keys);
    }

    pub(crate) fn created(&self, keys: u64) {
        self.lookups.get_or_create(&Lookup { outcome: "created" }).inc_by(keys);
    }

    pub(crate) fn cached(&self, keys: usize) {
        self.cached.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    pub(crate) fn called(&self, call: &'static str, outcome: &'static str, took: Duration) {
        self.call_seconds.get_or_create(&CallName { call }).observe(took.as_secs_f64());
        self.calls.get_or_create(&Call { call, outcome }).inc();
    }

    pub(crate) fn erased(&self) {
        self.erased.inc();
    }

    pub(crate) fn distrusted(&self) {
        self.distrusted.inc();
    }

    pub(crate) fn rewrapped(&self, keys: u64) {
        self.rewrapped.inc_by(keys);
    }
}
