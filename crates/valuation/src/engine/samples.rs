//! Validated input. A set that exists is non-empty and rectangular, all its features are finite and its labels fit
//! the task. `Debug` shows the shape only: features and labels are personal data.

use std::fmt;
use std::num::NonZeroUsize;

use super::error::{EngineError, Split};

/// Classes beyond this have neighbours a 32-bit float cannot tell apart.
const CLASS_LIMIT: f32 = 16_777_216.0;

/// What the labels mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Labels are integer classes.
    Classification,
    /// Labels are numbers.
    Regression,
}

/// The records to be valued.
#[derive(Clone, Debug)]
pub struct TrainingSet(Samples);

impl TrainingSet {
    /// Takes row-major `features` (`feature_count` a row) and one label a row.
    ///
    /// # Errors
    /// [`EngineError`] naming the first bad row and column, or that the set is empty or ragged.
    pub fn new(
        task: Task,
        feature_count: NonZeroUsize,
        features: Vec<f32>,
        labels: &[f32],
    ) -> Result<Self, EngineError> {
        Samples::new(Split::Training, task, feature_count, features, labels).map(Self)
    }

    /// Number of records; never zero.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn samples(&self) -> &Samples {
        &self.0
    }
}

/// The records the model is judged by.
#[derive(Clone, Debug)]
pub struct ValidationSet(Samples);

impl ValidationSet {
    /// Takes row-major `features` (`feature_count` a row) and one label a row.
    ///
    /// # Errors
    /// [`EngineError`] naming the first bad row and column, or that the set is empty or ragged.
    pub fn new(
        task: Task,
        feature_count: NonZeroUsize,
        features: Vec<f32>,
        labels: &[f32],
    ) -> Result<Self, EngineError> {
        Samples::new(Split::Validation, task, feature_count, features, labels).map(Self)
    }

    /// Number of records; never zero.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn samples(&self) -> &Samples {
        &self.0
    }
}

/// Labels, parsed for their task.
#[derive(Clone)]
pub(super) enum Labels {
    Classes(Vec<i32>),
    Targets(Vec<f64>),
}

#[derive(Clone)]
pub(super) struct Samples {
    feature_count: NonZeroUsize,
    features: Vec<f32>,
    labels: Labels,
}

impl Samples {
    fn new(
        split: Split,
        task: Task,
        feature_count: NonZeroUsize,
        features: Vec<f32>,
        labels: &[f32],
    ) -> Result<Self, EngineError> {
        let (rows, rest) = (features.len() / feature_count, features.len() % feature_count);
        if rest != 0 {
            return Err(EngineError::FeatureCount {
                split,
                row: rows,
                expected: feature_count.get(),
                found: rest,
            });
        }
        if rows != labels.len() {
            return Err(EngineError::LabelCount { split, rows, labels: labels.len() });
        }
        if rows == 0 {
            return Err(EngineError::EmptySplit { split });
        }
        if let Some(at) = features.iter().position(|feature| !feature.is_finite()) {
            let (row, column) = (at / feature_count, at % feature_count);
            return Err(EngineError::NonFiniteFeature { split, row, column });
        }
        let labels = Labels::parse(split, task, labels)?;
        Ok(Self { feature_count, features, labels })
    }

    pub(super) fn len(&self) -> usize {
        self.features.len() / self.feature_count
    }

    pub(super) fn feature_count(&self) -> NonZeroUsize {
        self.feature_count
    }

    pub(super) fn features(&self) -> &[f32] {
        &self.features
    }

    pub(super) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The order of magnitude of a utility with these labels, at least one: rounding grows with it.
    pub(super) fn utility_scale(&self) -> f64 {
        match &self.labels {
            Labels::Classes(_) => 1.0,
            Labels::Targets(targets) => targets.iter().fold(1.0, |scale, target| scale.max(target * target)),
        }
    }
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Samples")
            .field("records", &self.len())
            .field("feature_count", &self.feature_count)
            .finish_non_exhaustive()
    }
}

impl Labels {
    fn parse(split: Split, task: Task, labels: &[f32]) -> Result<Self, EngineError> {
        if let Some(row) = labels.iter().position(|label| !label.is_finite()) {
            return Err(EngineError::NonFiniteLabel { split, row });
        }
        match task {
            Task::Classification => labels
                .iter()
                .enumerate()
                .map(|(row, &label)| class(label).ok_or(EngineError::LabelNotClass { split, row }))
                .collect::<Result<_, _>>()
                .map(Self::Classes),
            Task::Regression => Ok(Self::Targets(labels.iter().copied().map(f64::from).collect())),
        }
    }
}

fn class(label: f32) -> Option<i32> {
    #[expect(clippy::cast_possible_truncation, reason = "an integer within ±2^24 is exact as i32")]
    (label.fract() == 0.0 && label.abs() <= CLASS_LIMIT).then_some(label as i32)
}
