//! Everything the engine can refuse. Errors name rows and columns (from zero), never the data in them.

use std::fmt;

/// Which of the two sets an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The records being valued.
    Training,
    /// The records the model is judged by.
    Validation,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Training => "training",
            Self::Validation => "validation",
        })
    }
}

/// Why a set was refused or a run gave no values.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum EngineError {
    /// The progress callback asked to stop.
    Cancelled,
    /// A split has no records.
    EmptySplit {
        /// The split without records.
        split: Split,
    },
    /// A row has fewer features than the set declares.
    FeatureCount {
        /// Where the row is.
        split: Split,
        /// The incomplete row.
        row: usize,
        /// Features a row must have.
        expected: usize,
        /// Features the row has.
        found: usize,
    },
    /// Training and validation records have different numbers of features.
    FeatureCountsDiffer {
        /// Features of a training record.
        training: usize,
        /// Features of a validation record.
        validation: usize,
    },
    /// The values do not add up to the utility they share: a fault of the engine, its result must not be used.
    Inefficient {
        /// Sum of the values.
        sum: f64,
        /// `U(all) − U(none)`.
        gain: f64,
    },
    /// The numbers of rows and labels differ.
    LabelCount {
        /// Where.
        split: Split,
        /// Rows of features.
        rows: usize,
        /// Labels.
        labels: usize,
    },
    /// A label is no class: classes are integers that a 32-bit float holds exactly (±2^24).
    LabelNotClass {
        /// Where the record is.
        split: Split,
        /// The record.
        row: usize,
    },
    /// A feature is NaN or infinite.
    NonFiniteFeature {
        /// Where the record is.
        split: Split,
        /// The record.
        row: usize,
        /// The feature.
        column: usize,
    },
    /// A label is NaN or infinite.
    NonFiniteLabel {
        /// Where the record is.
        split: Split,
        /// The record.
        row: usize,
    },
    /// One set is for classification, the other for regression.
    TasksDiffer,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => write!(f, "the valuation was cancelled"),
            Self::EmptySplit { split } => write!(f, "the {split} split has no records"),
            Self::FeatureCount { split, row, expected, found } => {
                write!(f, "{split} row {row} has {found} features, expected {expected}")
            }
            Self::FeatureCountsDiffer { training, validation } => {
                write!(f, "training records have {training} features, validation records {validation}")
            }
            Self::Inefficient { sum, gain } => {
                write!(f, "the values sum to {sum:e} but share a utility of {gain:e}")
            }
            Self::LabelCount { split, rows, labels } => {
                write!(f, "the {split} split has {rows} rows but {labels} labels")
            }
            Self::LabelNotClass { split, row } => {
                write!(f, "{split} row {row}: the label is not an integer class")
            }
            Self::NonFiniteFeature { split, row, column } => {
                write!(f, "{split} row {row}, column {column}: the feature is not a finite number")
            }
            Self::NonFiniteLabel { split, row } => {
                write!(f, "{split} row {row}: the label is not a finite number")
            }
            Self::TasksDiffer => write!(f, "training and validation records are for different tasks"),
        }
    }
}

impl std::error::Error for EngineError {}
