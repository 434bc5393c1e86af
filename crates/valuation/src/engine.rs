//! What each training record contributes to a K-nearest-neighbour model: exact KNN-Shapley (Jia et al. 2019).
//!
//! Promise: the result is the Shapley value of the game "nearest K of the coalition predict the validation record",
//! averaged over the validation records, in float64.
//! * Classification: `U(S) = (1/K) Σ_{j ≤ min(K,|S|)} 1[label matches]`.
//! * Regression: `U(S) = −((1/K) Σ_{j ≤ min(K,|S|)} y_j − y)²`, hence `U(∅) = −y²`.
//!
//! Invariants:
//! * Records at equal distance share the mean over all their orders, so equal records have equal values, bit for bit.
//! * Sums run in the order of the validation records: block size changes nothing, not even the last bit.
//! * Efficiency, `Σ values = U(all) − U(none)`, is checked on every run; a run that breaks it is an error.
//! * Memory is O(N) beside the input. No IO, no clock, no randomness.
//!
//! Stages, each replaceable alone: `distance` fills a tile of distances, a game (`classification`, `regression`)
//! turns one row of them into one row of values, `values` adds the rows up.

mod classification;
mod distance;
mod error;
mod regression;
mod samples;
#[cfg(test)]
mod tests;
mod values;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

pub use error::{EngineError, Split};
pub use samples::{Task, TrainingSet, ValidationSet};
pub use values::Values;

use classification::Classification;
use distance::{LANES, Tile};
use regression::Regression;
use samples::{Labels, Samples};
use values::Totals;

/// Largest efficiency gap a run may show, for utilities of order one.
const EFFICIENCY_TOLERANCE: f64 = 1e-9;

/// How far a run has come, in validation records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Validation records finished.
    pub done: usize,
    /// Validation records in all.
    pub total: usize,
}

/// Exact KNN-Shapley with `k` neighbours.
#[derive(Clone, Copy, Debug)]
pub struct KnnShapley {
    k: NonZeroUsize,
    block: NonZeroUsize,
}

impl KnnShapley {
    /// The method with `k` neighbours; `k` may exceed the number of records.
    #[must_use]
    pub fn new(k: NonZeroUsize) -> Self {
        Self { k, block: LANES }
    }

    /// Reports progress every `block` validation records instead of every eight. Never changes the result.
    #[must_use]
    pub fn with_block(self, block: NonZeroUsize) -> Self {
        Self { block, ..self }
    }

    /// Values every training record. `progress` is called after each block; `Break` ends the run as
    /// [`EngineError::Cancelled`].
    ///
    /// # Errors
    /// [`EngineError`] if the two sets do not fit together, the run is cancelled or efficiency does not hold.
    pub fn value(
        &self,
        training: &TrainingSet,
        validation: &ValidationSet,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Values, EngineError> {
        let (training, validation) = (training.samples(), validation.samples());
        if training.feature_count() != validation.feature_count() {
            return Err(EngineError::FeatureCountsDiffer {
                training: training.feature_count().get(),
                validation: validation.feature_count().get(),
            });
        }
        let totals = match (training.labels(), validation.labels()) {
            (Labels::Classes(known), Labels::Classes(asked)) => {
                let mut game = Classification::new(self.k, known);
                self.run(
                    training,
                    validation,
                    asked,
                    |label, near, out| game.value(*label, near, out),
                    progress,
                )
            }
            (Labels::Targets(known), Labels::Targets(asked)) => {
                let mut game = Regression::new(self.k, known);
                self.run(
                    training,
                    validation,
                    asked,
                    |label, near, out| game.value(*label, near, out),
                    progress,
                )
            }
            (Labels::Classes(_), Labels::Targets(_)) | (Labels::Targets(_), Labels::Classes(_)) => {
                return Err(EngineError::TasksDiffer);
            }
        }?;
        totals.finish(EFFICIENCY_TOLERANCE * training.utility_scale().max(validation.utility_scale()))
    }

    /// Plays `game` once per validation record, in order. A game takes the record's label and its distances to all
    /// training records, writes their values and returns `U(all) − U(none)`.
    fn run<L>(
        &self,
        training: &Samples,
        validation: &Samples,
        labels: &[L],
        mut game: impl FnMut(&L, &[f64], &mut [f64]) -> f64,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Totals, EngineError> {
        let width = training.feature_count().get();
        let mut tile = Tile::new(training);
        let mut values = vec![0.0; training.len()];
        let mut totals = Totals::new(training.len());
        let mut done = 0;
        let blocks = validation.features().chunks(self.block.get().saturating_mul(width));
        for (features, block) in blocks.zip(labels.chunks(self.block.get())) {
            let tiles = features.chunks(LANES.get().saturating_mul(width));
            for (features, labels) in tiles.zip(block.chunks(LANES.get())) {
                tile.fill(training, features);
                for (label, distances) in labels.iter().zip(tile.rows()) {
                    let gain = game(label, distances, &mut values);
                    totals.add(&values, gain);
                }
            }
            done += block.len();
            if progress(Progress { done, total: labels.len() }).is_break() {
                return Err(EngineError::Cancelled);
            }
        }
        Ok(totals)
    }
}
