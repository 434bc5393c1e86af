//! What records and people are worth: sealed under the key of the person. Of a person who was erased meanwhile nothing is
//! sealed; the cell is empty, and is never opened.

use async_trait::async_trait;
use portal_core::id::SubjectId;
use portal_keys::KeysError;
use portal_store::sealed::{DigestedRow, SealedColumn};
use portal_store::{Corruption, ReadTx, Sealed, StoreError};
use portal_upkeep::migration::MigrationError;
use portal_upkeep::migration::sealing::{Column, Model, SealedTable};
use portal_upkeep::scan::ScanError;
use sea_orm::{ColumnTrait, Condition};

use super::Crypto;
use crate::domain::outcome::Standing;
use crate::error::Error;
use crate::store::Reading;
use crate::store::cells::{RECORD_MEASURE, SUBJECT_MEASURE, opening_key};
use crate::store::entity::{record_value, subject_value};
use crate::store::rows::ValueRow;
use crate::store::scanned::Checks;

pub(in crate::store) struct RecordValues(pub Crypto);
pub(in crate::store) struct SubjectValues(pub Crypto);

trait Measured: ValueRow + DigestedRow {
    const COLUMN: SealedColumn<Standing>;

    fn measure(&self) -> Option<&Sealed<Standing>>;
    fn set_measure(&mut self, measure: Sealed<Standing>);
}

impl Crypto {
    async fn measure<M: Measured>(&self, rows: &mut [M]) -> Result<(), MigrationError> {
        let people: Vec<SubjectId> = rows.iter().map(ValueRow::subject).collect();
        let keys = self.keys.subjects_or_new(&people).await?;
        for row in rows {
            row.set_measure(match keys.unless_erased(row.subject())? {
                Some(key) => M::COLUMN.seal(&self.seals.sealing, key, row.row(), &row.plain())?,
                None => Sealed::from_envelope(Vec::new()),
            });
        }
        Ok(())
    }

    async fn compare<M: Measured>(&self, rows: &[M]) -> Result<Vec<bool>, MigrationError> {
        let compare = |(row, opened): (&M, Result<Option<Standing>, StoreError>)| {
            if row.measure().is_none() {
                return Ok(false);
            }
            if opened?.is_some_and(|standing| !same(&standing, &row.plain())) {
                let (table, column) = (M::COLUMN.table(), M::COLUMN.column());
                return Err(MigrationError::Mismatch { table, column, row: row.row().to_string() });
            }
            Ok(true)
        };
        rows.iter().zip(self.open_all(rows).await?).map(compare).collect()
    }

    /// The standings that are sealed; `None` of people who were erased.
    async fn open_all<M: Measured>(
        &self,
        rows: &[M],
    ) -> Result<Vec<Result<Option<Standing>, StoreError>>, KeysError> {
        let people: Vec<SubjectId> = rows.iter().map(ValueRow::subject).collect();
        let keys = self.keys.subjects(&people).await?;
        let open = |row: &M| {
            let corrupt = |cause| StoreError::Corrupt {
                table: M::COLUMN.table(),
                column: M::COLUMN.column(),
                row: row.row().to_string(),
                cause,
            };
            let key = match opening_key(&keys, row.subject(), corrupt) {
                Ok(key) => key,
                Err(Error::Keys(KeysError::Erased(_))) => return Ok(Ok(None)),
                Err(Error::Keys(error)) => return Err(error),
                Err(_) => return Ok(Err(corrupt(Corruption::KeyMissing))),
            };
            let Some(measure) = row.measure() else { return Ok(Err(corrupt(Corruption::ValueInvalid))) };
            Ok(M::COLUMN.open(&self.seals.sealing, key, row.row(), measure).map(Some))
        };
        rows.iter().map(open).collect()
    }

    async fn faults_of<M: Measured>(
        &self,
        reading: &Reading<'_>,
        rows: Vec<M>,
    ) -> Result<Vec<Result<(), StoreError>>, ScanError> {
        if reading.finds_old() {
            return Ok(rows.iter().map(|_| Ok(())).collect());
        }
        let opened = self.open_all(&rows).await?;
        let fault = |(row, opened): (&M, Result<_, StoreError>)| reading.check(row).and(opened.map(drop));
        Ok(rows.iter().zip(opened).map(fault).collect())
    }
}

fn same(one: &Standing, other: &Standing) -> bool {
    let bits = |standing: &Standing| {
        let error = standing.standard_error.map(f64::to_bits);
        (standing.value.to_bits(), error, standing.rank, standing.percentile.to_bits())
    };
    bits(one) == bits(other)
}

macro_rules! measured {
    ($name:ident, $module:ident, $column:ident) => {
        impl Measured for $module::Model {
            const COLUMN: SealedColumn<Standing> = $column;

            fn measure(&self) -> Option<&Sealed<Standing>> {
                self.measure.as_ref()
            }

            fn set_measure(&mut self, measure: Sealed<Standing>) {
                self.measure = Some(measure);
            }
        }

        #[async_trait]
        impl SealedTable for $name {
            type Entity = $module::Entity;

            const KEY: &'static [Column<Self>] = &[$module::Column::ValuationId, $module::Column::Position];
            const DIGESTS: &'static [Column<Self>] = &[$module::Column::RowDigest];
            const CELLS: &'static [Column<Self>] = &[$module::Column::Measure];
            const CLEAR: &'static [Column<Self>] = &[
                $module::Column::Value,
                $module::Column::StandardError,
                $module::Column::Standing,
                $module::Column::Percentile,
            ];

            fn old() -> Option<Condition> {
                // A rank in the clear is never zero.
                Some(Condition::all().add($module::Column::Standing.ne(0)))
            }

            fn stamp(&self, row: &mut Model<Self>) -> Result<(), StoreError> {
                self.0.seals.stamp(row)
            }

            fn is_stamped(&self, row: &Model<Self>) -> Result<bool, StoreError> {
                self.0.seals.is_stamped(row)
            }

            async fn seal(&self, _: &ReadTx, rows: &mut [Model<Self>]) -> Result<(), MigrationError> {
                self.0.measure(rows).await
            }

            async fn compare(&self, _: &ReadTx, rows: &[Model<Self>]) -> Result<Vec<bool>, MigrationError> {
                self.0.compare(rows).await
            }

            async fn clear(&self, rows: &mut [Model<Self>]) -> Result<(), MigrationError> {
                rows.iter_mut().for_each(ValueRow::blank);
                Ok(())
            }
        }

        #[async_trait]
        impl Checks for $name {
            async fn faults(
                &self,
                reading: &Reading<'_>,
                rows: Vec<Model<Self>>,
            ) -> Result<Vec<Result<(), StoreError>>, ScanError> {
                self.0.faults_of(reading, rows).await
            }
        }
    };
}

measured!(RecordValues, record_value, RECORD_MEASURE);
measured!(SubjectValues, subject_value, SUBJECT_MEASURE);
