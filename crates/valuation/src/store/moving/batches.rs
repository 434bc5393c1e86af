//! The records of a batch: each sealed under the key of the person it is about. Records of people who were erased
//! meanwhile, and rows that are no record any more, are left out.

use std::collections::HashMap;

use async_trait::async_trait;
use portal_core::id::{Id, SubjectId};
use portal_keys::{KeysError, SubjectKeys};
use portal_store::sealed::DigestedRow;
use portal_store::{ReadTx, StoreError};
use portal_upkeep::migration::MigrationError;
use portal_upkeep::migration::sealing::{Column, Model, SealedTable};
use portal_upkeep::scan::ScanError;
use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect};

use super::Crypto;
use crate::domain::id::AppendId;
use crate::error::Error;
use crate::store::Reading;
use crate::store::appends::of_append;
use crate::store::cells::{Cells, Numbers, RecordPlace};
use crate::store::entity::{append, batch, dataset, record, staged_record};
use crate::store::rows::{corrupt, floats_from_bytes, split};
use crate::store::scanned::Checks;

pub(in crate::store) struct Batches(pub Crypto);

const TABLE: &str = "batch";

/// Who the rows of a batch are about, with the ids of the records.
type Records = HashMap<usize, (String, SubjectId)>;

impl Batches {
    /// Seals the records of a batch, which are in the clear.
    async fn sealed(&self, tx: &ReadTx, row: &batch::Model) -> Result<Vec<u8>, MigrationError> {
        let (records, plain) = (records(tx, row).await?, Plain::read(row)?);
        let keys = self.0.keys.subjects_or_new(&people(&records)).await?;
        let mut cells = Cells::new(plain.labels.len(), plain.width);
        for (at, (features, label)) in plain.rows().enumerate() {
            let Some((record_id, subject)) = records.get(&at) else {
                cells.leave_out();
                continue;
            };
            if let Some(key) = keys.unless_erased(*subject)? {
                let numbers = Numbers::new(features, label);
                cells.seal(&self.0.seals, &place(row, at, record_id), key, &numbers)?;
            } else {
                cells.leave_out();
            }
        }
        Ok(cells.finish())
    }

    /// Compares both forms.
    async fn is_same(&self, tx: &ReadTx, row: &batch::Model) -> Result<bool, MigrationError> {
        let Some(sealed) = &row.sealed else { return Ok(false) };
        let (records, plain) = (records(tx, row).await?, Plain::read(row)?);
        let keys = self.0.keys.subjects(&people(&records)).await?;
        for (at, (features, label)) in plain.rows().enumerate() {
            let Some((record_id, subject)) = records.get(&at) else { continue };
            let place = place(row, at, record_id);
            let opened = self.open(&place, (sealed, plain.width), *subject, &keys)?;
            if !opened?.is_none_or(|numbers| numbers.same(features, label)) {
                let row = row.row().to_string();
                return Err(MigrationError::Mismatch { table: TABLE, column: "sealed", row });
            }
        }
        Ok(true)
    }

    /// The numbers of a record; `None` if its person was erased.
    fn open(
        &self,
        place: &RecordPlace<'_>,
        sealed: (&[u8], usize),
        subject: SubjectId,
        keys: &SubjectKeys,
    ) -> Result<Result<Option<Numbers>, StoreError>, KeysError> {
        match place.open(&self.0.seals, sealed, subject, keys) {
            Ok(numbers) => Ok(Ok(Some(numbers))),
            Err(Error::Keys(KeysError::Erased(_))) => Ok(Ok(None)),
            Err(Error::Keys(error)) => Err(error),
            Err(Error::Store(error)) => Ok(Err(error)),
            Err(_) => Ok(Err(place.unfit())),
        }
    }

    async fn fault(
        &self,
        reading: &Reading<'_>,
        row: &batch::Model,
    ) -> Result<Result<(), StoreError>, ScanError> {
        let tx = reading.tx();
        if let Err(error) = valid(reading, row) {
            return Ok(Err(error));
        }
        let records = match owned_records(tx, row).await? {
            Ok(records) => records,
            Err(error) => return Ok(Err(error)),
        };
        let (Some(sealed), false) = (&row.sealed, reading.finds_old()) else { return Ok(Ok(())) };
        let Some(width) = width(tx, row).await? else {
            return Ok(Err(corrupt(TABLE, "append_id", &row.row())));
        };
        let keys = self.0.keys.subjects(&people(&records)).await?;
        for (at, (record_id, subject)) in &records {
            if let Err(error) = self.open(&place(row, *at, record_id), (sealed, width), *subject, &keys)? {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}

/// The numbers of a batch in the clear.
struct Plain {
    features: Vec<f32>,
    labels: Vec<f32>,
    width: usize,
}

impl Plain {
    fn read(row: &batch::Model) -> Result<Self, StoreError> {
        let bad = |column| move || corrupt(TABLE, column, &row.row());
        let features = floats_from_bytes(&row.features).ok_or_else(bad("features"))?;
        let labels = floats_from_bytes(&row.labels).ok_or_else(bad("labels"))?;
        let width = features.len().checked_div(labels.len()).filter(|width| *width > 0);
        let width = width.filter(|width| width * labels.len() == features.len());
        Ok(Self { features, labels, width: width.ok_or_else(bad("features"))? })
    }

    fn rows(&self) -> impl Iterator<Item = (&[f32], f32)> {
        self.features.chunks(self.width).zip(self.labels.iter().copied())
    }
}

/// Whether the row is what was written, as far as it shows without keys.
fn valid(reading: &Reading<'_>, row: &batch::Model) -> Result<(), StoreError> {
    reading.check(row)?;
    let bad = |column| move || corrupt(TABLE, column, &row.row());
    split(row.split).ok_or_else(bad("split"))?;
    if reading.finds_old() {
        return Plain::read(row).map(drop);
    }
    row.sealed.as_ref().map(drop).ok_or_else(bad("sealed"))
}

fn place<'a>(row: &batch::Model, at: usize, record_id: &'a str) -> RecordPlace<'a> {
    RecordPlace { append: AppendId::from_uuid(row.append_id), position: row.position, row: at, record_id }
}

fn people(records: &Records) -> Vec<SubjectId> {
    records.values().map(|(_, subject)| *subject).collect()
}

fn collect(found: Vec<(i64, String, Uuid)>) -> Records {
    let record = |(row, record_id, subject)| {
        Some((usize::try_from(row).ok()?, (record_id, SubjectId::from_uuid(subject))))
    };
    found.into_iter().filter_map(record).collect()
}

/// The records of a batch, staged ones included.
async fn records(tx: &ReadTx, row: &batch::Model) -> Result<Records, StoreError> {
    let found = {
        use record::{Column, Entity};
        let of =
            Entity::find().select_only().columns([Column::BatchRow, Column::RecordId, Column::SubjectId]);
        let of = of.filter(Column::AppendId.eq(row.append_id)).filter(Column::Position.eq(row.position));
        of.into_tuple().all(tx.conn()).await?
    };
    if !found.is_empty() {
        return Ok(collect(found));
    }
    use staged_record::{Column, Entity};
    let of = Entity::find().select_only().columns([Column::BatchRow, Column::RecordId, Column::SubjectId]);
    let of = of.filter(Column::AppendId.eq(row.append_id)).filter(Column::Position.eq(row.position));
    Ok(collect(of.into_tuple().all(tx.conn()).await?))
}

/// The records of a batch, each of which must be of the dataset and revision that its append is.
async fn owned_records(tx: &ReadTx, row: &batch::Model) -> Result<Result<Records, StoreError>, StoreError> {
    let append = append::Entity::find_by_id(row.append_id).one(tx.conn()).await?;
    let Some(append) = append else { return Ok(Err(corrupt(TABLE, "append_id", &row.row()))) };
    let Some(revision) = append.revision else { return Ok(Ok(records(tx, row).await?)) };
    let found = record::Entity::find()
        .filter(record::Column::AppendId.eq(row.append_id))
        .filter(record::Column::Position.eq(row.position))
        .all(tx.conn())
        .await?;
    let of = (append.dataset_id, revision);
    if let Err(stray) = found.iter().try_for_each(|found| of_append(found, of)) {
        return Ok(Err(stray));
    }
    let found = found.into_iter().map(|found| (found.batch_row, found.record_id, found.subject_id));
    Ok(Ok(collect(found.collect())))
}

/// How many features the records of a batch have.
async fn width(tx: &ReadTx, row: &batch::Model) -> Result<Option<usize>, StoreError> {
    let append = append::Entity::find_by_id(row.append_id).one(tx.conn()).await?;
    let Some(append) = append else { return Ok(None) };
    let dataset = dataset::Entity::find_by_id(append.dataset_id).one(tx.conn()).await?;
    Ok(dataset.and_then(|dataset| usize::try_from(dataset.feature_count).ok()))
}

#[async_trait]
impl SealedTable for Batches {
    type Entity = batch::Entity;

    const KEY: &'static [Column<Self>] = &[batch::Column::AppendId, batch::Column::Position];
    const DIGESTS: &'static [Column<Self>] = &[batch::Column::RowDigest];
    const CELLS: &'static [Column<Self>] = &[batch::Column::Sealed];
    const CLEAR: &'static [Column<Self>] = &[batch::Column::Features, batch::Column::Labels];
    /// A batch takes megabytes.
    const MOST: u32 = 16;

    fn old() -> Option<Condition> {
        Some(Condition::all().add(batch::Column::Labels.ne(Vec::<u8>::new())))
    }

    fn stamp(&self, row: &mut Model<Self>) -> Result<(), StoreError> {
        self.0.seals.stamp(row)
    }

    fn is_stamped(&self, row: &Model<Self>) -> Result<bool, StoreError> {
        self.0.seals.is_stamped(row)
    }

    async fn seal(&self, tx: &ReadTx, rows: &mut [Model<Self>]) -> Result<(), MigrationError> {
        for row in rows {
            row.sealed = Some(self.sealed(tx, row).await?);
        }
        Ok(())
    }

    async fn compare(&self, tx: &ReadTx, rows: &[Model<Self>]) -> Result<Vec<bool>, MigrationError> {
        let mut same = Vec::with_capacity(rows.len());
        for row in rows {
            same.push(self.is_same(tx, row).await?);
        }
        Ok(same)
    }

    async fn clear(&self, rows: &mut [Model<Self>]) -> Result<(), MigrationError> {
        rows.iter_mut().for_each(|row| (row.features, row.labels) = (Vec::new(), Vec::new()));
        Ok(())
    }
}

#[async_trait]
impl Checks for Batches {
    async fn faults(
        &self,
        reading: &Reading<'_>,
        rows: Vec<Model<Self>>,
    ) -> Result<Vec<Result<(), StoreError>>, ScanError> {
        let mut faults = Vec::with_capacity(rows.len());
        for row in &rows {
            faults.push(self.fault(reading, row).await?);
        }
        Ok(faults)
    }
}
