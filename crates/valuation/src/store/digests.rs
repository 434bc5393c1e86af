//! Which rows have a digest, and over what. Every column is under it except where the doc comment says so.

use portal_store::sealed::{DigestedRow, Row};
use sea_orm::prelude::Uuid;

use super::entity::{
    append, batch, dataset, exclusion, record_value, subject_value, valuation, valuation_answer,
    valuation_question,
};

/// The version of rows that never change once they have a digest.
pub(super) const VERSION: u64 = 1;

/// The row with this id and a number in its key.
pub(super) fn numbered(id: Uuid, number: i64) -> Row {
    Row::composite(&[id.as_bytes(), &number.to_be_bytes()], VERSION)
}

macro_rules! digested {
    ($($(#[$doc:meta])* $module:ident . $column:ident = |$row:ident| $place:expr;)+) => {$(
        $(#[$doc])*
        impl DigestedRow for $module::Model {
            const DIGEST: &'static str = stringify!($column);

            fn row(&self) -> Row {
                let $row = self;
                $place
            }

            fn digest(&self) -> Option<&[u8]> {
                self.$column.as_deref()
            }

            fn set_digest(&mut self, digest: [u8; 32]) {
                self.$column = Some(digest.to_vec());
            }
        }
    )+};
}

digested! {
    /// Stamped when it is published; until then nothing reads it.
    append.row_digest = |row| Row { id: *row.id.as_bytes(), version: VERSION };
    batch.row_digest = |row| numbered(row.append_id, row.position);
    dataset.row_digest = |row| Row { id: *row.id.as_bytes(), version: row.revision.unsigned_abs() };
    exclusion.row_digest = |row| numbered(row.valuation_id, row.cause);
    record_value.row_digest = |row| numbered(row.valuation_id, row.position);
    subject_value.row_digest = |row| numbered(row.valuation_id, row.position);
    /// What was asked: never changes.
    valuation_question.row_digest = |row| Row { id: *row.id.as_bytes(), version: VERSION };
    /// What came of it: stamped when the valuation ends.
    valuation_answer.result_digest = |row| Row { id: *row.id.as_bytes(), version: VERSION };
}

impl From<&valuation::Model> for valuation_question::Model {
    fn from(row: &valuation::Model) -> Self {
        Self {
            id: row.id,
            dataset_id: row.dataset_id,
            dataset_revision: row.dataset_revision,
            owner: row.owner,
            method: row.method,
            k: row.k,
            created_at: row.created_at,
            row_digest: row.row_digest.clone(),
        }
    }
}

impl From<&valuation::Model> for valuation_answer::Model {
    fn from(row: &valuation::Model) -> Self {
        Self {
            id: row.id,
            state: row.state,
            failure: row.failure.clone(),
            record_count: row.record_count,
            subject_count: row.subject_count,
            value_sum: row.value_sum,
            full_utility: row.full_utility,
            empty_utility: row.empty_utility,
            min_value: row.min_value,
            max_value: row.max_value,
            ended_at: row.ended_at,
            result_digest: row.result_digest.clone(),
        }
    }
}
