//! What is counted of sealed cells.
//!
//! A cell takes some hundred nanoseconds, so the counters are found once and not by a look-up per cell, and the clock
//! is read for every 64th cell only.

use std::time::Instant;

use portal_crypto::suite::Algorithm;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::Corruption;

/// Of how many cells the time of one is measured.
const SAMPLE: u64 = 64;

type Seconds = Family<Labels, Histogram, fn() -> Histogram>;

/// Cells by operation and suite. Clones share their numbers.
#[derive(Clone, Debug)]
pub struct CellMetrics {
    cells: Family<Labels, Counter>,
    refused: Family<Refusal, Counter>,
    seconds: Seconds,
    usual: [Series; 2],
}

/// The counters of what nearly every cell is: AES-256-GCM.
#[derive(Clone, Debug)]
struct Series {
    cells: Counter,
    seconds: Histogram,
}

/// What is done with a cell.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Open,
    Seal,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    operation: &'static str,
    suite: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Refusal {
    cause: &'static str,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Seal => "seal",
        }
    }
}

/// The suite that new cells get.
pub(super) const USUAL: Algorithm = Algorithm::Aes256Gcm;

impl Default for CellMetrics {
    fn default() -> Self {
        let cells = Family::default();
        let seconds: Seconds =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_000_1, 2.0, 18)));
        let usual =
            [Operation::Open, Operation::Seal].map(|operation| series(&cells, &seconds, operation, USUAL));
        Self { cells, refused: Family::default(), seconds, usual }
    }
}

fn series(
    cells: &Family<Labels, Counter>,
    seconds: &Seconds,
    operation: Operation,
    suite: Algorithm,
) -> Series {
    let labels = Labels { operation: operation.name(), suite: suite.name() };
    Series { cells: cells.get_or_create_owned(&labels), seconds: seconds.get_or_create_owned(&labels) }
}

impl CellMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let name = "store_sealed_cells";
        registry.register(name, "Cells sealed and opened, by suite", self.cells.clone());
        let name = "store_sealed_cell_refusals";
        registry.register(name, "Cells and rows that did not open, by cause", self.refused.clone());
        let name = "store_sealed_cell_duration";
        let help = "Time to seal or open one cell, measured for every 64th";
        registry.register_with_unit(name, help, Unit::Seconds, self.seconds.clone());
    }

    /// Runs `work`, counted, and measured now and then.
    pub(super) fn count<T>(&self, operation: Operation, suite: Algorithm, work: impl FnOnce() -> T) -> T {
        let looked_up;
        let [open, seal] = &self.usual;
        let series = match (suite, operation) {
            (USUAL, Operation::Open) => open,
            (USUAL, Operation::Seal) => seal,
            _ => {
                looked_up = series(&self.cells, &self.seconds, operation, suite);
                &looked_up
            }
        };
        if !series.cells.inc().is_multiple_of(SAMPLE) {
            return work();
        }
        let started = Instant::now();
        let result = work();
        series.seconds.observe(started.elapsed().as_secs_f64());
        result
    }

    pub(super) fn refused(&self, cause: Corruption) {
        self.refused.get_or_create(&Refusal { cause: cause.name() }).inc();
    }
}
