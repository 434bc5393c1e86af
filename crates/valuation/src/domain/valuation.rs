//! A valuation from question to answer.
//!
//! PENDING → RUNNING → SUCCEEDED, FAILED or CANCELLED; the last three are final. A job whose worker is gone is RUNNING
//! until another worker takes it.

use std::num::NonZeroU32;
use std::time::Duration;

use portal_core::Timestamp;
use portal_core::id::{AccountId, DatasetId, ValuationId};

use super::dataset::Split;

/// Where a valuation stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Ended by its owner.
    Cancelled,
    /// Ended by a [`Failure`].
    Failed,
    /// Waits for a worker.
    Pending,
    /// Has a worker.
    Running,
    /// Has values.
    Succeeded,
}

impl State {
    /// Whether nothing will change any more.
    pub fn is_final(self) -> bool {
        match self {
            Self::Cancelled | Self::Failed | Self::Succeeded => true,
            Self::Pending | Self::Running => false,
        }
    }
}

/// Why a valuation has no values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// A stored record needs an algorithm that is switched off.
    AlgorithmDisabled,
    /// Consent could not be asked, so nothing is permitted.
    ConsentUnavailable,
    /// A fault of ours; the log tells.
    Internal,
    /// The keys of records could not be had.
    KeysUnavailable,
    /// No record of this split may be used.
    NothingToValue(Split),
    /// A stored record can't be read.
    Unreadable,
}

/// Exact KNN-Shapley: the one method there is so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Method {
    /// Neighbours.
    pub k: NonZeroU32,
}

/// How far a run is, in validation records.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// Done.
    pub done: i64,
    /// In all; 0 until known.
    pub total: i64,
    /// When the engine began; `None` until it has.
    pub started_at: Option<Timestamp>,
    /// When this was measured.
    pub measured_at: Timestamp,
}

impl Progress {
    /// Units per second; 0 until known.
    pub fn rate(&self) -> f64 {
        let Some(started_at) = self.started_at else { return 0.0 };
        let seconds = self.measured_at.since(started_at).as_secs_f64();
        if seconds > 0.0 { self.done as f64 / seconds } else { 0.0 }
    }

    /// Time left, once there is a rate.
    pub fn remaining(&self) -> Option<Duration> {
        let rate = self.rate();
        let left = (self.total - self.done).max(0) as f64;
        (rate > 0.0).then(|| Duration::try_from_secs_f64(left / rate).ok()).flatten()
    }
}

/// Why records are left out.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cause {
    /// Their person was erased, so nobody can open them.
    Erased,
    /// Consent does not permit the purpose.
    NotPermitted,
    /// Consent ended while the valuation ran.
    Withdrawn,
}

/// Records that were left out for one cause.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exclusion {
    /// Why.
    pub cause: Cause,
    /// Training records.
    pub training: i64,
    /// Validation records.
    pub validation: i64,
    /// Whose records they are, counted.
    pub subjects: i64,
}

/// Figures over all values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Records valued.
    pub records: i64,
    /// Subjects of those records.
    pub subjects: i64,
    /// Sum of the values.
    pub value_sum: f64,
    /// Utility of the model with all records.
    pub full_utility: f64,
    /// Utility of the model without any.
    pub empty_utility: f64,
    /// Smallest and largest value. Each is some one person's: they are kept sealed, with that person's record, and
    /// `None` until they are looked up there.
    pub extremes: Option<Extremes>,
}

/// The values at both ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extremes {
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

/// One valuation of one state of a dataset.
#[derive(Clone, Debug)]
pub struct Valuation {
    /// Its id.
    pub id: ValuationId,
    /// What is valued.
    pub dataset: DatasetId,
    /// The dataset's revision that is valued.
    pub dataset_revision: i64,
    /// Who asked.
    pub owner: AccountId,
    /// How.
    pub method: Method,
    /// Where it stands.
    pub state: State,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// How often a worker took it.
    pub attempt: i64,
    /// How far it is.
    pub progress: Progress,
    /// What was left out.
    pub exclusions: Vec<Exclusion>,
    /// The result in figures, once it succeeded.
    pub summary: Option<Summary>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_follows_from_the_rate() {
        let at = |seconds| Timestamp::from_seconds(seconds);
        let progress = Progress { done: 100, total: 500, started_at: Some(at(10)), measured_at: at(12) };
        assert!((progress.rate() - 50.0).abs() < f64::EPSILON);
        assert_eq!(progress.remaining(), Some(Duration::from_secs(8)));
        let unknown = Progress { done: 0, ..progress };
        assert_eq!(unknown.remaining(), None);
        assert_eq!(Progress { started_at: None, ..progress }.remaining(), None);
        assert_eq!(Progress { measured_at: at(10), ..progress }.remaining(), None);
    }
}
