//! A batch of records that fits its dataset. Faults name row and column, both from zero, and never a value.

use std::collections::HashMap;

use portal_core::Invalid;
use portal_core::id::{Id, SubjectId};

use super::dataset::{Counts, Shape, Split};

/// Longest id a controller may give a record, in characters.
pub const MAX_RECORD_ID: usize = 128;
/// Faults that one answer tells; a file in the wrong format has one in every cell.
const MAX_FAULTS: usize = 20;

/// A batch as it was sent.
pub struct Parts {
    /// The controller's ids.
    pub record_ids: Vec<String>,
    /// Whom the records are about.
    pub subject_ids: Vec<String>,
    /// Row by row.
    pub features: Vec<f32>,
    /// One per record.
    pub labels: Vec<f32>,
    /// Where they belong.
    pub split: Split,
}

/// Records that fit their dataset: equal numbers of everything, finite, ids unique within the batch. Never empty.
/// No `Debug`: it is personal data throughout.
pub struct Batch {
    record_ids: Vec<String>,
    subjects: Vec<SubjectId>,
    features: Vec<f32>,
    labels: Vec<f32>,
    split: Split,
}

/// Collects faults up to a bound; `place` says which batch of a stream.
struct Faults {
    invalid: Invalid,
    place: String,
}

impl Faults {
    fn add(&mut self, field: &str, description: &str) {
        if self.invalid.violations().len() < MAX_FAULTS {
            self.invalid.add(field, format_args!("{}{description}", self.place));
        }
    }
}

impl Batch {
    /// Takes `parts` if they fit `shape`; `number` is the batch's place in its stream, if it came in one.
    ///
    /// # Errors
    /// The first faults, by field, row and column.
    pub fn parse(parts: Parts, shape: &Shape, number: Option<usize>) -> Result<Self, Invalid> {
        let place = number.map_or_else(String::new, |number| format!("batch {number}, "));
        let mut faults = Faults { invalid: Invalid::new(), place };
        check_lengths(&parts, shape, &mut faults);
        check_record_ids(&parts.record_ids, &mut faults);
        let subjects = parse_subjects(&parts.subject_ids, &mut faults);
        check_numbers(&parts, shape, &mut faults);
        let Parts { record_ids, features, labels, split, .. } = parts;
        faults.invalid.finish(Some(Self { record_ids, subjects, features, labels, split }))
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.record_ids.len()
    }

    /// The controller's ids.
    pub fn record_ids(&self) -> &[String] {
        &self.record_ids
    }

    /// Whom the records are about.
    pub fn subjects(&self) -> &[SubjectId] {
        &self.subjects
    }

    /// Row by row.
    pub fn features(&self) -> &[f32] {
        &self.features
    }

    /// One per record.
    pub fn labels(&self) -> &[f32] {
        &self.labels
    }

    /// Where the records belong.
    pub fn split(&self) -> Split {
        self.split
    }

    /// Its records, counted.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        counts.add(self.split, self.len());
        counts
    }
}

fn check_lengths(parts: &Parts, shape: &Shape, faults: &mut Faults) {
    let records = parts.record_ids.len();
    if records == 0 {
        faults.add("batch.record_ids", "must have at least one record");
    }
    if parts.subject_ids.len() != records {
        let (found, field) = (parts.subject_ids.len(), "batch.subject_ids");
        faults.add(field, &format!("must have one entry per record: {records}, not {found}"));
    }
    if parts.labels.len() != records {
        let found = parts.labels.len();
        faults.add("batch.labels", &format!("must have one entry per record: {records}, not {found}"));
    }
    let width = shape.width();
    if records.checked_mul(width) != Some(parts.features.len()) {
        let (row, found) = (parts.features.len() / width, parts.features.len());
        let problem = format!("must have {width} features for each of {records} records, not {found} in all");
        let place =
            if row < records { format!("row {row}, column {}: ", found % width) } else { String::new() };
        faults.add("batch.features", &format!("{place}{problem}"));
    }
}

fn check_record_ids(record_ids: &[String], faults: &mut Faults) {
    let mut rows = HashMap::with_capacity(record_ids.len());
    for (row, record_id) in record_ids.iter().enumerate() {
        let field = || format!("batch.record_ids[{row}]");
        if let Some(first) = rows.insert(record_id.as_str(), row) {
            faults.add(&field(), &format!("row {row}: must be unique, but row {first} has the same id"));
        }
        let length = record_id.chars().count();
        if length == 0 || length > MAX_RECORD_ID || record_id.chars().any(char::is_control) {
            let problem = format!("row {row}: must have 1 to {MAX_RECORD_ID} characters, none of control");
            faults.add(&field(), &problem);
        }
    }
}

fn parse_subjects(subject_ids: &[String], faults: &mut Faults) -> Vec<SubjectId> {
    let mut subjects = Vec::with_capacity(subject_ids.len());
    for (row, subject_id) in subject_ids.iter().enumerate() {
        match SubjectId::parse(subject_id) {
            Ok(subject) => subjects.push(subject),
            Err(error) => faults.add(&format!("batch.subject_ids[{row}]"), &format!("row {row}: {error}")),
        }
    }
    subjects
}

fn check_numbers(parts: &Parts, shape: &Shape, faults: &mut Faults) {
    let width = shape.width();
    for (index, _) in parts.features.iter().enumerate().filter(|(_, feature)| !feature.is_finite()) {
        let (row, column) = (index / width, index % width);
        let problem = format!("row {row}, column {column}: must be a finite number");
        faults.add(&format!("batch.features[{index}]"), &problem);
    }
    for (row, label) in parts.labels.iter().enumerate() {
        if let Some(fault) = shape.label_fault(*label) {
            faults.add(&format!("batch.labels[{row}]"), &format!("row {row}, label: {fault}"));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::num::NonZeroU32;

    use super::*;
    use crate::domain::dataset::Task;

    const SUBJECT: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";

    fn shape() -> Shape {
        Shape {
            task: Task::Classification,
            feature_count: NonZeroU32::new(2).unwrap(),
            class_count: NonZeroU32::new(3),
        }
    }

    fn parts() -> Parts {
        Parts {
            record_ids: vec!["a".to_owned(), "b".to_owned()],
            subject_ids: vec![SUBJECT.to_owned(); 2],
            features: vec![0.0, 1.0, 2.0, 3.0],
            labels: vec![0.0, 2.0],
            split: Split::Training,
        }
    }

    fn faults(change: impl FnOnce(&mut Parts)) -> Vec<(String, String)> {
        let mut parts = parts();
        change(&mut parts);
        let Err(invalid) = Batch::parse(parts, &shape(), None) else { return Vec::new() };
        invalid.violations().iter().map(|v| (v.field.clone(), v.description.clone())).collect()
    }

    #[test]
    fn a_good_batch_is_taken() {
        assert_eq!(faults(|_| ()), []);
        assert_eq!(Batch::parse(parts(), &shape(), None).map(|batch| batch.len()), Ok(2));
    }

    #[test]
    fn faults_name_row_and_column() {
        type Change = fn(&mut Parts);
        let table: [(Change, &str, &str); 9] = [
            (|p| p.features[3] = f32::NAN, "batch.features[3]", "row 1, column 1: must be a finite number"),
            (|p| p.labels[1] = 3.0, "batch.labels[1]", "row 1, label: must be a class number from 0 to 2"),
            (|p| p.labels[0] = f32::INFINITY, "batch.labels[0]", "row 0, label: must be a finite number"),
            (|p| p.features.truncate(3), "batch.features", "row 1, column 1"),
            (|p| p.features.extend([1.0, 2.0]), "batch.features", "must have 2 features"),
            (|p| p.labels.truncate(1), "batch.labels", "must have one entry per record: 2, not 1"),
            (|p| p.record_ids[1] = "a".to_owned(), "batch.record_ids[1]", "row 1: must be unique, but row 0"),
            (|p| p.record_ids[0].clear(), "batch.record_ids[0]", "row 0: must have 1 to 128 characters"),
            (|p| p.subject_ids[1] = "x".to_owned(), "batch.subject_ids[1]", "row 1: must be a UUID"),
        ];
        for (change, field, description) in table {
            let faults = faults(change);
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert_eq!(faults[0].0, field);
            assert!(faults[0].1.starts_with(description), "{}", faults[0].1);
        }
    }

    #[test]
    fn faults_are_bounded_and_name_the_batch_of_a_stream() {
        let mut parts = parts();
        parts.record_ids = (0..1_000).map(|_| String::new()).collect();
        let invalid = Batch::parse(parts, &shape(), Some(7)).err().unwrap();
        assert_eq!(invalid.violations().len(), MAX_FAULTS);
        assert!(invalid.violations().iter().all(|v| v.description.starts_with("batch 7, ")));
    }
}
