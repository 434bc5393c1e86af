//! Squared Euclidean distances in float64: the float32 features are widened, and each pair's squares are summed in
//! the order of the features, without fused operations. That order is the definition, so a distance depends on its
//! pair alone: not on the tile, the machine or the number of threads. The lanes are independent pairs, which lets
//! the compiler vectorise across them.

use std::num::NonZeroUsize;

use super::samples::Samples;

/// Validation records measured together.
pub(super) const LANES: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// Distances of up to [`LANES`] validation records to every training record.
pub(super) struct Tile {
    /// The validation records, transposed: one entry a feature.
    queries: Vec<[f64; LANES.get()]>,
    /// One row of distances a validation record.
    distances: Vec<f64>,
    records: usize,
}

impl Tile {
    pub(super) fn new(training: &Samples) -> Self {
        Self {
            queries: vec![[0.0; LANES.get()]; training.feature_count().get()],
            distances: vec![0.0; LANES.get() * training.len()],
            records: training.len(),
        }
    }

    /// Measures the validation records in `features` (at most [`LANES`] rows); unused lanes keep old distances.
    pub(super) fn fill(&mut self, training: &Samples, features: &[f32]) {
        let width = training.feature_count().get();
        for (lane, row) in features.chunks(width).enumerate() {
            for (query, &feature) in self.queries.iter_mut().zip(row) {
                if let Some(slot) = query.get_mut(lane) {
                    *slot = f64::from(feature);
                }
            }
        }
        for (record, row) in training.features().chunks(width).enumerate() {
            let sums = squared_distances(row, &self.queries);
            for (sum, distances) in sums.into_iter().zip(self.distances.chunks_mut(self.records)) {
                if let Some(slot) = distances.get_mut(record) {
                    *slot = sum;
                }
            }
        }
    }

    /// One row of distances a validation record, in the order of the training records.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.distances.chunks(self.records)
    }
}

fn squared_distances(row: &[f32], queries: &[[f64; LANES.get()]]) -> [f64; LANES.get()] {
    let mut sums = [0.0; LANES.get()];
    for (&feature, query) in row.iter().zip(queries) {
        let feature = f64::from(feature);
        for (sum, coordinate) in sums.iter_mut().zip(query) {
            let difference = feature - coordinate;
            *sum += difference * difference;
        }
    }
    sums
}

/// A distance as an integer of the same order and equality: a sum of squares is never negative, `-0.0` or NaN.
pub(super) fn rank_key(distance: f64) -> u64 {
    distance.to_bits()
}
