//! Rows to domain and back. A row that can't be read is a typed error that names its column.

use std::num::NonZeroU32;

use portal_core::Timestamp;
use portal_core::id::{AccountId, DatasetId, Id, PurposeId, SubjectId, ValuationId};
use portal_store::{Corruption, StoreError};

use super::entity::{dataset, exclusion, record_value, subject_value, valuation};
use crate::domain::dataset::{Counts, Dataset, Description, Shape, Split, Task};
use crate::domain::outcome::{Member, RecordValue, Standing, SubjectValue};
use crate::domain::valuation::{
    Cause, Exclusion, Extremes, Failure, Method, Progress, State, Summary, Valuation,
};

/// Separates feature names, which have no control characters.
const SEPARATOR: char = '\u{1f}';
/// The only method so far.
pub(super) const KNN_SHAPLEY: i64 = 1;

/// Names a corrupt column of `table`.
pub(super) fn corrupt(table: &'static str, column: &'static str, row: &impl ToString) -> StoreError {
    StoreError::Corrupt { table, column, row: row.to_string(), cause: Corruption::ValueInvalid }
}

pub(super) fn floats_to_bytes(floats: &[f32]) -> Vec<u8> {
    floats.iter().flat_map(|float| float.to_le_bytes()).collect()
}

pub(super) fn floats_from_bytes(bytes: &[u8]) -> Option<Vec<f32>> {
    let (floats, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| floats.iter().map(|float| f32::from_le_bytes(*float)).collect())
}

pub(super) const fn split_code(split: Split) -> i64 {
    match split {
        Split::Training => 1,
        Split::Validation => 2,
    }
}

pub(super) const fn split(code: i64) -> Option<Split> {
    match code {
        1 => Some(Split::Training),
        2 => Some(Split::Validation),
        _ => None,
    }
}

const fn task_code(task: Task) -> i64 {
    match task {
        Task::Classification => 1,
        Task::Regression => 2,
    }
}

const fn task(code: i64) -> Option<Task> {
    match code {
        1 => Some(Task::Classification),
        2 => Some(Task::Regression),
        _ => None,
    }
}

pub(super) const fn state_code(state: State) -> i64 {
    match state {
        State::Pending => 1,
        State::Running => 2,
        State::Succeeded => 3,
        State::Failed => 4,
        State::Cancelled => 5,
    }
}

const fn state(code: i64) -> Option<State> {
    match code {
        1 => Some(State::Pending),
        2 => Some(State::Running),
        3 => Some(State::Succeeded),
        4 => Some(State::Failed),
        5 => Some(State::Cancelled),
        _ => None,
    }
}

const FAILURES: [(&str, Failure); 7] = [
    ("ALGORITHM_DISABLED", Failure::AlgorithmDisabled),
    ("CONSENT_UNAVAILABLE", Failure::ConsentUnavailable),
    ("INTERNAL", Failure::Internal),
    ("KEYS_UNAVAILABLE", Failure::KeysUnavailable),
    ("NO_TRAINING_RECORDS", Failure::NothingToValue(Split::Training)),
    ("NO_VALIDATION_RECORDS", Failure::NothingToValue(Split::Validation)),
    ("UNREADABLE", Failure::Unreadable),
];

pub(crate) fn failure_name(failure: Failure) -> &'static str {
    FAILURES.iter().find(|(_, known)| *known == failure).map_or("INTERNAL", |(name, _)| name)
}

fn failure(name: &str) -> Option<Failure> {
    FAILURES.iter().find(|(known, _)| *known == name).map(|(_, failure)| *failure)
}

const fn cause_code(cause: Cause) -> i64 {
    match cause {
        Cause::NotPermitted => 1,
        Cause::Withdrawn => 3,
        Cause::Erased => 4,
    }
}

const fn cause(code: i64) -> Option<Cause> {
    match code {
        1 => Some(Cause::NotPermitted),
        3 => Some(Cause::Withdrawn),
        4 => Some(Cause::Erased),
        _ => None,
    }
}

/// Not stamped.
impl From<&Dataset> for dataset::Model {
    fn from(dataset: &Dataset) -> Self {
        let description = &dataset.description;
        let separator = SEPARATOR.to_string();
        Self {
            id: dataset.id.uuid(),
            owner: dataset.owner.uuid(),
            display_name: description.display_name.clone(),
            description: description.text.clone(),
            task: task_code(description.shape.task),
            feature_count: description.shape.feature_count.get().into(),
            class_count: description.shape.class_count.map_or(0, |count| count.get().into()),
            feature_names: description.feature_names.join(&separator),
            purpose_id: description.purpose.uuid(),
            training_count: dataset.counts.training,
            validation_count: dataset.counts.validation,
            revision: dataset.revision,
            created_at: dataset.created_at.as_micros(),
            updated_at: dataset.updated_at.as_micros(),
            row_digest: None,
        }
    }
}

impl TryFrom<dataset::Model> for Dataset {
    type Error = StoreError;

    fn try_from(row: dataset::Model) -> Result<Self, StoreError> {
        let bad = |column| move || corrupt("dataset", column, &row.id);
        let count = |number: i64| u32::try_from(number).ok();
        let shape = Shape {
            task: task(row.task).ok_or_else(bad("task"))?,
            feature_count: count(row.feature_count)
                .and_then(NonZeroU32::new)
                .ok_or_else(bad("feature_count"))?,
            class_count: NonZeroU32::new(count(row.class_count).ok_or_else(bad("class_count"))?),
        };
        let names = row.feature_names.split(SEPARATOR).filter(|name| !name.is_empty());
        let description = Description {
            shape,
            feature_names: names.map(str::to_owned).collect(),
            purpose: PurposeId::from_uuid(row.purpose_id),
            display_name: row.display_name,
            text: row.description,
        };
        Ok(Self {
            id: DatasetId::from_uuid(row.id),
            owner: AccountId::from_uuid(row.owner),
            description,
            counts: Counts { training: row.training_count, validation: row.validation_count },
            revision: row.revision,
            created_at: Timestamp::from_micros(row.created_at),
            updated_at: Timestamp::from_micros(row.updated_at),
        })
    }
}

/// Not stamped.
impl From<&Valuation> for valuation::Model {
    fn from(valuation: &Valuation) -> Self {
        let micros = |at: Option<Timestamp>| at.map(Timestamp::as_micros);
        let summary = valuation.summary;
        Self {
            id: valuation.id.uuid(),
            dataset_id: valuation.dataset.uuid(),
            dataset_revision: valuation.dataset_revision,
            owner: valuation.owner.uuid(),
            method: KNN_SHAPLEY,
            k: valuation.method.k.get().into(),
            state: state_code(valuation.state),
            failure: valuation.failure.map(|failure| failure_name(failure).to_owned()),
            attempt: valuation.attempt,
            lease_owner: None,
            lease_until: 0,
            done_units: valuation.progress.done,
            total_units: valuation.progress.total,
            run_started_at: micros(valuation.progress.started_at),
            measured_at: valuation.progress.measured_at.as_micros(),
            record_count: summary.map(|summary| summary.records),
            subject_count: summary.map(|summary| summary.subjects),
            value_sum: summary.map(|summary| summary.value_sum),
            full_utility: summary.map(|summary| summary.full_utility),
            empty_utility: summary.map(|summary| summary.empty_utility),
            min_value: None,
            max_value: None,
            created_at: valuation.created_at.as_micros(),
            started_at: micros(valuation.started_at),
            ended_at: micros(valuation.ended_at),
            row_digest: None,
            result_digest: None,
        }
    }
}

/// A valuation, its exclusions read separately.
pub(super) fn valuation(row: &valuation::Model, exclusions: Vec<Exclusion>) -> Result<Valuation, StoreError> {
    let bad = |column| move || corrupt("valuation", column, &row.id);
    let at = |micros: Option<i64>| micros.map(Timestamp::from_micros);
    if row.method != KNN_SHAPLEY {
        return Err(bad("method")());
    }
    let k = u32::try_from(row.k).ok().and_then(NonZeroU32::new).ok_or_else(bad("k"))?;
    let failure = match row.failure.as_deref() {
        Some(name) => Some(failure(name).ok_or_else(bad("failure"))?),
        None => None,
    };
    Ok(Valuation {
        id: ValuationId::from_uuid(row.id),
        dataset: DatasetId::from_uuid(row.dataset_id),
        dataset_revision: row.dataset_revision,
        owner: AccountId::from_uuid(row.owner),
        method: Method { k },
        state: state(row.state).ok_or_else(bad("state"))?,
        failure,
        attempt: row.attempt,
        progress: Progress {
            done: row.done_units,
            total: row.total_units,
            started_at: at(row.run_started_at),
            measured_at: Timestamp::from_micros(row.measured_at),
        },
        exclusions,
        summary: summary(row),
        created_at: Timestamp::from_micros(row.created_at),
        started_at: at(row.started_at),
        ended_at: at(row.ended_at),
    })
}

fn summary(row: &valuation::Model) -> Option<Summary> {
    Some(Summary {
        records: row.record_count?,
        subjects: row.subject_count?,
        value_sum: row.value_sum?,
        full_utility: row.full_utility?,
        empty_utility: row.empty_utility?,
        extremes: row.min_value.zip(row.max_value).map(|(min, max)| Extremes { min, max }),
    })
}

pub(super) fn exclusion_row(valuation: ValuationId, exclusion: &Exclusion) -> exclusion::Model {
    exclusion::Model {
        valuation_id: valuation.uuid(),
        cause: cause_code(exclusion.cause),
        training_count: exclusion.training,
        validation_count: exclusion.validation,
        subject_count: exclusion.subjects,
        row_digest: None,
    }
}

pub(super) fn exclusion(row: &exclusion::Model) -> Result<Exclusion, StoreError> {
    Ok(Exclusion {
        cause: cause(row.cause).ok_or_else(|| corrupt("exclusion", "cause", &row.valuation_id))?,
        training: row.training_count,
        validation: row.validation_count,
        subjects: row.subject_count,
    })
}

/// What a value's row holds in the clear once it is sealed.
const BLANK: Standing = Standing { value: 0.0, standard_error: None, rank: 0, percentile: 0.0 };

/// A row of a value: who and where in the clear, the standing in the clear or sealed.
pub(super) trait ValueRow {
    /// What a list of them is made of.
    type Value;

    /// Whom it is about.
    fn subject(&self) -> SubjectId;

    /// The standing in the clear; blank once it is sealed.
    fn plain(&self) -> Standing;

    /// Blanks the standing in the clear.
    fn blank(&mut self);

    /// The value with this standing.
    fn value(self, standing: Standing) -> Self::Value;
}

macro_rules! value_rows {
    ($($module:ident => $value:ident |$row:ident, $standing:ident| $made:expr;)+) => {$(
        impl ValueRow for $module::Model {
            type Value = $value;

            fn subject(&self) -> SubjectId {
                SubjectId::from_uuid(self.subject_id)
            }

            fn plain(&self) -> Standing {
                Standing {
                    value: self.value,
                    standard_error: self.standard_error,
                    rank: self.standing,
                    percentile: self.percentile,
                }
            }

            fn blank(&mut self) {
                let Standing { value, standard_error, rank, percentile } = BLANK;
                (self.value, self.standard_error) = (value, standard_error);
                (self.standing, self.percentile) = (rank, percentile);
            }

            fn value(self, $standing: Standing) -> $value {
                let $row = self;
                $made
            }
        }
    )+};
}

value_rows! {
    record_value => RecordValue |row, standing| RecordValue {
        member: Member { record_id: row.record_id, subject: SubjectId::from_uuid(row.subject_id) },
        standing,
    };
    subject_value => SubjectValue |row, standing| SubjectValue {
        subject: SubjectId::from_uuid(row.subject_id),
        standing,
        records: row.record_count,
    };
}

/// Not sealed, not stamped.
pub(super) fn record_value_row(
    valuation: ValuationId,
    position: i64,
    value: &RecordValue,
) -> record_value::Model {
    record_value::Model {
        valuation_id: valuation.uuid(),
        position,
        record_id: value.member.record_id.clone(),
        subject_id: value.member.subject.uuid(),
        value: value.standing.value,
        standard_error: value.standing.standard_error,
        standing: value.standing.rank,
        percentile: value.standing.percentile,
        measure: None,
        row_digest: None,
    }
}

/// Not sealed, not stamped.
pub(super) fn subject_value_row(
    valuation: ValuationId,
    position: i64,
    value: &SubjectValue,
) -> subject_value::Model {
    subject_value::Model {
        valuation_id: valuation.uuid(),
        position,
        subject_id: value.subject.uuid(),
        record_count: value.records,
        value: value.standing.value,
        standard_error: value.standing.standard_error,
        standing: value.standing.rank,
        percentile: value.standing.percentile,
        measure: None,
        row_digest: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_keep_their_bits() {
        let floats = [0.0, -0.0, 1.5, f32::MIN_POSITIVE, f32::MAX];
        let bytes = floats_to_bytes(&floats);
        let bits = |floats: &[f32]| floats.iter().map(|float| float.to_bits()).collect::<Vec<_>>();
        assert_eq!(floats_from_bytes(&bytes).map(|found| bits(&found)), Some(bits(&floats)));
        assert_eq!(floats_from_bytes(&bytes[1..]), None);
    }

    #[test]
    fn failures_round_trip() {
        for (name, known) in FAILURES {
            assert_eq!(failure(name), Some(known));
            assert_eq!(failure_name(known), name);
        }
    }
}
