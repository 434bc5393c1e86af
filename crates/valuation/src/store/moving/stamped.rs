//! Tables with nothing personal in them: their new form is a digest.

use async_trait::async_trait;
use portal_store::StoreError;
use portal_upkeep::migration::MigrationError;
use portal_upkeep::migration::sealing::{Column, Model, SealedTable};
use portal_upkeep::scan::ScanError;
use sea_orm::{ColumnTrait, Condition};

use super::Crypto;
use crate::domain::dataset::Dataset;
use crate::domain::valuation::State;
use crate::store::entity::{append, dataset, exclusion, valuation, valuation_answer, valuation_question};
use crate::store::rows::{self, state_code};
use crate::store::scanned::Checks;
use crate::store::{Reading, valuations};

pub(in crate::store) struct Appends(pub Crypto);
pub(in crate::store) struct Datasets(pub Crypto);
pub(in crate::store) struct Exclusions(pub Crypto);
pub(in crate::store) struct Valuations(pub Crypto);

/// What is the same for tables that are stamped whole.
macro_rules! stamped {
    ($name:ident, $module:ident, $key:expr, $all:expr, |$row:ident| $valid:expr) => {
        impl SealedTable for $name {
            type Entity = $module::Entity;

            const KEY: &'static [Column<Self>] = $key;
            const DIGESTS: &'static [Column<Self>] = &[$module::Column::RowDigest];

            fn all() -> Condition {
                $all
            }

            fn stamp(&self, row: &mut Model<Self>) -> Result<(), StoreError> {
                self.0.seals.stamp(row)
            }

            fn is_stamped(&self, row: &Model<Self>) -> Result<bool, StoreError> {
                self.0.seals.is_stamped(row)
            }
        }

        #[async_trait]
        impl Checks for $name {
            async fn faults(
                &self,
                reading: &Reading<'_>,
                rows: Vec<Model<Self>>,
            ) -> Result<Vec<Result<(), StoreError>>, ScanError> {
                let valid = |$row: Model<Self>| $valid;
                Ok(rows.into_iter().map(|row| reading.checked(row).and_then(valid)).collect())
            }
        }
    };
}

stamped!(
    Appends,
    append,
    &[append::Column::Id],
    // One that is not published changes, and nothing is read of it.
    Condition::all().add(append::Column::Revision.is_not_null()),
    |_row| Ok(())
);
stamped!(Datasets, dataset, &[dataset::Column::Id], Condition::all(), |row| {
    Dataset::try_from(row).map(drop)
});
stamped!(
    Exclusions,
    exclusion,
    &[exclusion::Column::ValuationId, exclusion::Column::Cause],
    Condition::all(),
    |row| rows::exclusion(&row).map(drop)
);

const FINAL: [State; 3] = [State::Succeeded, State::Failed, State::Cancelled];

fn is_final(state: i64) -> bool {
    FINAL.map(state_code).contains(&state)
}

#[async_trait]
impl SealedTable for Valuations {
    type Entity = valuation::Entity;

    const KEY: &'static [Column<Self>] = &[valuation::Column::Id];
    const DIGESTS: &'static [Column<Self>] = &[valuation::Column::RowDigest, valuation::Column::ResultDigest];
    const CLEAR: &'static [Column<Self>] = &[valuation::Column::MinValue, valuation::Column::MaxValue];

    fn old() -> Option<Condition> {
        // Some one person's values: with the commit they stand sealed alone.
        use valuation::Column;
        Some(Condition::any().add(Column::MinValue.is_not_null()).add(Column::MaxValue.is_not_null()))
    }

    fn perhaps_old() -> Option<Condition> {
        None
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

    fn stamp(&self, row: &mut Model<Self>) -> Result<(), StoreError> {
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

    fn is_stamped(&self, row: &Model<Self>) -> Result<bool, StoreError> {
        let seals = &self.0.seals;
        let answered = !is_final(row.state) || seals.is_stamped(&valuation_answer::Model::from(row))?;
        Ok(answered && seals.is_stamped(&valuation_question::Model::from(row))?)
    }

    async fn clear(&self, rows: &mut [Model<Self>]) -> Result<(), MigrationError> {
        rows.iter_mut().for_each(|row| (row.min_value, row.max_value) = (None, None));
        Ok(())
    }
}

#[async_trait]
impl Checks for Valuations {
    async fn faults(
        &self,
        reading: &Reading<'_>,
        rows: Vec<Model<Self>>,
    ) -> Result<Vec<Result<(), StoreError>>, ScanError> {
        Ok(rows.iter().map(|row| valuations::checked(reading, row, Vec::new()).map(drop)).collect())
    }
}
