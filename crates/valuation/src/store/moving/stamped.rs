//! Tables with nothing personal in them: their new form is a digest.

use async_trait::async_trait;
use portal_store::{ReadTx, StoreError};
use portal_upkeep::migration::MigrationError;
use sea_orm::{ColumnTrait, Condition};

use super::{Column, Crypto, Model, Table, Unchecked};
use crate::domain::dataset::Dataset;
use crate::domain::valuation::State;
use crate::store::entity::{append, dataset, exclusion, valuation, valuation_answer, valuation_question};
use crate::store::rows::{self, state_code};
use crate::store::{Reading, valuations};

pub(in crate::store) struct Appends(pub Crypto);
pub(in crate::store) struct Datasets(pub Crypto);
pub(in crate::store) struct Exclusions(pub Crypto);
pub(in crate::store) struct Valuations(pub Crypto);

/// What is the same for tables that are stamped whole.
macro_rules! stamped {
    ($name:ident, $module:ident, $table:literal, $key:expr, $all:expr, |$row:ident| $valid:expr) => {
        #[async_trait]
        impl Table for $name {
            type Entity = $module::Entity;

            const NAME: &'static str = $table;

            fn key() -> (Column<Self>, Option<Column<Self>>) {
                $key
            }

            fn columns() -> Vec<Column<Self>> {
                vec![$module::Column::RowDigest]
            }

            fn all() -> Condition {
                $all
            }

            fn lacking() -> Condition {
                Condition::all().add($module::Column::RowDigest.is_null())
            }

            fn lacks(row: &Model<Self>) -> bool {
                row.row_digest.is_none()
            }

            fn having() -> Condition {
                Condition::all().add($module::Column::RowDigest.is_not_null())
            }

            fn old() -> Option<Condition> {
                None
            }

            async fn seal(&self, _: &ReadTx, rows: &mut [Model<Self>]) -> Result<(), MigrationError> {
                Ok(rows.iter_mut().try_for_each(|row| self.0.seals.stamp(row))?)
            }

            async fn sound(&self, _: &ReadTx, rows: &[Model<Self>]) -> Result<Vec<bool>, MigrationError> {
                Ok(rows.iter().map(|row| self.0.seals.is_stamped(row)).collect::<Result<_, _>>()?)
            }

            fn unseal(row: &mut Model<Self>) {
                row.row_digest = None;
            }

            fn finish(&self, row: &mut Model<Self>) -> Result<(), StoreError> {
                self.0.seals.stamp(row)
            }

            async fn faults(
                &self,
                reading: &Reading<'_>,
                rows: Vec<Model<Self>>,
            ) -> Result<Vec<Result<(), StoreError>>, Unchecked> {
                let valid = |$row: Model<Self>| $valid;
                Ok(rows.into_iter().map(|row| reading.checked(row).and_then(valid)).collect())
            }
        }
    };
}

stamped!(
    Appends,
    append,
    "append",
    (append::Column::Id, None),
    // One that is not published changes, and nothing is read of it.
    Condition::all().add(append::Column::Revision.is_not_null()),
    |_row| Ok(())
);
stamped!(Datasets, dataset, "dataset", (dataset::Column::Id, None), Condition::all(), |row| {
    Dataset::try_from(row).map(drop)
});
stamped!(
    Exclusions,
    exclusion,
    "exclusion",
    (exclusion::Column::ValuationId, Some(exclusion::Column::Cause)),
    Condition::all(),
    |row| rows::exclusion(&row).map(drop)
);

impl Valuations {
    fn stamp(&self, row: &mut valuation::Model) -> Result<(), StoreError> {
        let mut question = valuation_question::Model::from(&*row);
        self.0.seals.stamp(&mut question)?;
        row.row_digest = question.row_digest;
        row.result_digest = None;
        if is_final(row.state) {
            let mut answer = valuation_answer::Model::from(&*row);
            self.0.seals.stamp(&mut answer)?;
            row.result_digest = answer.result_digest;
        }
        Ok(())
    }
}

const FINAL: [State; 3] = [State::Succeeded, State::Failed, State::Cancelled];

fn is_final(state: i64) -> bool {
    FINAL.map(state_code).contains(&state)
}

#[async_trait]
impl Table for Valuations {
    type Entity = valuation::Entity;

    const NAME: &'static str = "valuation";

    fn key() -> (Column<Self>, Option<Column<Self>>) {
        (valuation::Column::Id, None)
    }

    fn columns() -> Vec<Column<Self>> {
        vec![valuation::Column::RowDigest, valuation::Column::ResultDigest]
    }

    fn lacking() -> Condition {
        use valuation::Column;
        let unstamped = Condition::all()
            .add(Column::State.is_in(FINAL.map(state_code)))
            .add(Column::ResultDigest.is_null());
        Condition::any().add(Column::RowDigest.is_null()).add(unstamped)
    }

    fn lacks(row: &Model<Self>) -> bool {
        row.row_digest.is_none() || is_final(row.state) && row.result_digest.is_none()
    }

    fn having() -> Condition {
        use valuation::Column;
        Condition::any().add(Column::RowDigest.is_not_null()).add(Column::ResultDigest.is_not_null())
    }

    fn old() -> Option<Condition> {
        None
    }

    async fn seal(&self, _: &ReadTx, rows: &mut [Model<Self>]) -> Result<(), MigrationError> {
        Ok(rows.iter_mut().try_for_each(|row| self.stamp(row))?)
    }

    async fn sound(&self, _: &ReadTx, rows: &[Model<Self>]) -> Result<Vec<bool>, MigrationError> {
        let seals = &self.0.seals;
        let sound = |row: &valuation::Model| {
            let answered = !is_final(row.state) || seals.is_stamped(&valuation_answer::Model::from(row))?;
            Ok::<_, StoreError>(answered && seals.is_stamped(&valuation_question::Model::from(row))?)
        };
        Ok(rows.iter().map(sound).collect::<Result<_, _>>()?)
    }

    fn unseal(row: &mut Model<Self>) {
        (row.row_digest, row.result_digest) = (None, None);
    }

    fn finish(&self, row: &mut Model<Self>) -> Result<(), StoreError> {
        self.stamp(row)
    }

    async fn faults(
        &self,
        reading: &Reading<'_>,
        rows: Vec<Model<Self>>,
    ) -> Result<Vec<Result<(), StoreError>>, Unchecked> {
        Ok(rows.iter().map(|row| valuations::checked(reading, row, Vec::new()).map(drop)).collect())
    }
}
