//! A dataset: records of one shape, collected for one purpose, owned by one controller.

use std::num::NonZeroU32;

use portal_core::Timestamp;
use portal_core::id::{AccountId, DatasetId, PurposeId};

/// Most features a record may have.
pub const MAX_FEATURES: u32 = 65_536;
/// Classes beyond this have neighbours that a 32-bit float can't tell apart.
pub const MAX_CLASSES: u32 = 1 << 24;

/// What labels are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Task {
    /// Class numbers: 0, 1, 2 and so on.
    Classification,
    /// Finite numbers.
    Regression,
}

/// Which part of a dataset a record belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Split {
    /// Is valued.
    Training,
    /// Is what values are measured against.
    Validation,
}

/// What every record of a dataset has in common.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shape {
    /// What labels are.
    pub task: Task,
    /// Features of a record, at most [`MAX_FEATURES`].
    pub feature_count: NonZeroU32,
    /// Classes, if bounded.
    pub class_count: Option<NonZeroU32>,
}

impl Shape {
    /// Features of a record, as a length.
    pub fn width(&self) -> usize {
        usize::try_from(self.feature_count.get()).unwrap_or(usize::MAX)
    }

    /// Why `label` is none of this task's, if it is not.
    pub fn label_fault(&self, label: f32) -> Option<String> {
        if !label.is_finite() {
            return Some("must be a finite number".to_owned());
        }
        let classes = match self.task {
            Task::Classification => self.class_count.map_or(MAX_CLASSES, NonZeroU32::get),
            Task::Regression => return None,
        };
        let is_class = label.fract() == 0.0 && label >= 0.0 && f64::from(label) < f64::from(classes);
        (!is_class).then(|| format!("must be a class number from 0 to {}", classes - 1))
    }
}

/// What its controller says about a dataset.
#[derive(Clone, Debug)]
pub struct Description {
    /// Name shown to people.
    pub display_name: String,
    /// What the data is.
    pub text: String,
    /// What its records have in common.
    pub shape: Shape,
    /// Names of the features: one each, or none at all.
    pub feature_names: Vec<String>,
    /// The consent purpose that must be permitted for a record to be valued.
    pub purpose: PurposeId,
}

/// A dataset.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its id.
    pub id: DatasetId,
    /// The controller it belongs to.
    pub owner: AccountId,
    /// What its controller says about it.
    pub description: Description,
    /// How many records it has.
    pub counts: Counts,
    /// Counts up with each change of the records.
    pub revision: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it or its records last changed.
    pub updated_at: Timestamp,
}

/// Numbers of records.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Training records.
    pub training: i64,
    /// Validation records.
    pub validation: i64,
}

impl Counts {
    /// Adds `records` of `split`.
    pub fn add(&mut self, split: Split, records: usize) {
        let records = i64::try_from(records).unwrap_or(i64::MAX);
        match split {
            Split::Training => self.training = self.training.saturating_add(records),
            Split::Validation => self.validation = self.validation.saturating_add(records),
        }
    }

    /// All of them.
    pub fn total(self) -> i64 {
        self.training.saturating_add(self.validation)
    }
}

impl Dataset {
    /// A dataset without records.
    pub fn create(id: DatasetId, owner: AccountId, description: Description, now: Timestamp) -> Self {
        Self {
            id,
            owner,
            description,
            counts: Counts::default(),
            revision: 0,
            created_at: now,
            updated_at: now,
        }
    }

    /// The dataset with records added.
    #[must_use]
    pub fn appended(mut self, added: Counts, now: Timestamp) -> Self {
        self.counts.training = self.counts.training.saturating_add(added.training);
        self.counts.validation = self.counts.validation.saturating_add(added.validation);
        self.revision = self.revision.saturating_add(1);
        self.updated_at = now;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(task: Task, class_count: u32) -> Shape {
        Shape { task, feature_count: NonZeroU32::MIN, class_count: NonZeroU32::new(class_count) }
    }

    #[test]
    fn labels_fit_the_task() {
        let ten = shape(Task::Classification, 10);
        for (label, fits) in
            [(0.0, true), (9.0, true), (10.0, false), (-1.0, false), (0.5, false), (-0.0, true)]
        {
            assert_eq!(ten.label_fault(label).is_none(), fits, "{label}");
        }
        assert!(shape(Task::Classification, 0).label_fault(16_777_215.0).is_none());
        assert!(shape(Task::Classification, 0).label_fault(16_777_216.0).is_some());
        let regression = shape(Task::Regression, 0);
        assert!(regression.label_fault(-1.5).is_none());
        for label in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(regression.label_fault(label).is_some());
            assert!(ten.label_fault(label).is_some());
        }
    }
}
