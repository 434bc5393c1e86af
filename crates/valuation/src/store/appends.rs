//! Appends: records are staged batch by batch in short transactions and become the dataset's by one.

use portal_core::Timestamp;
use portal_core::id::{DatasetId, Id, SubjectId};
use portal_keys::{KeysError, SubjectKeys};
use portal_store::{ReadTx, StoreError, Tx};
use sea_orm::ActiveValue::Set;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement, Value,
};

use super::cells::{Cells, Numbers, RecordPlace};
use super::entity::{append, batch, record, staged_record};
use super::rows::{corrupt, floats_from_bytes, floats_to_bytes, split, split_code};
use super::{ROWS, Reading, Seals, Writing, integer};
use crate::domain::batch::Batch;
use crate::domain::dataset::Split;
use crate::domain::id::AppendId;
use crate::error::Error;

/// Where a record stands in its append.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// The batch, from zero.
    pub batch: i64,
    /// The row in it, from zero.
    pub row: i64,
}

/// Begins an append that is thrown away if it is not published or renewed before `expires_at`.
pub async fn begin(
    tx: &Tx,
    id: AppendId,
    dataset: DatasetId,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    let row = append::ActiveModel {
        id: Set(id.uuid()),
        dataset_id: Set(dataset.uuid()),
        revision: Set(None),
        expires_at: Set(expires_at.as_micros()),
        row_digest: Set(None),
    };
    append::Entity::insert(row).exec_without_returning(tx.conn()).await?;
    Ok(())
}

/// Renews an append; an error if it was thrown away.
pub async fn renew(tx: &Tx, id: AppendId, expires_at: Timestamp) -> Result<(), StoreError> {
    let renewed = append::Entity::update_many()
        .col_expr(append::Column::ExpiresAt, expires_at.as_micros().into())
        .filter(append::Column::Id.eq(id.uuid()))
        .filter(append::Column::Revision.is_null())
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, renewed.rows_affected)
}

/// The records of a batch, sealed.
pub struct SealedBatch(Vec<u8>);

/// Seals the records of the batch at `position`, each under the key of the person it is about.
///
/// # Errors
/// [`Error::SubjectErased`] with the first row of somebody who was erased; [`Error::Keys`], [`Error::Store`].
pub fn seal(
    seals: &Seals,
    keys: &SubjectKeys,
    (append, position): (AppendId, usize),
    batch: &Batch,
) -> Result<SealedBatch, Error> {
    let position = integer(position);
    let width = batch.features().len() / batch.len().max(1);
    let mut cells = Cells::new(batch.len(), width);
    let numbers = batch.features().chunks(width.max(1)).zip(batch.labels());
    let records = batch.record_ids().iter().zip(batch.subjects()).zip(numbers);
    for (row, ((record_id, subject), (features, label))) in records.enumerate() {
        let key = keys.get(*subject).map_err(|error| match error {
            KeysError::Erased(_) => Error::SubjectErased { batch: position, row: integer(row) },
            error => error.into(),
        })?;
        let place = RecordPlace { append, position, row, record_id };
        cells.seal(seals, &place, key, &Numbers::new(features, *label))?;
    }
    Ok(SealedBatch(cells.finish()))
}

/// Adds a batch.
pub async fn stage(
    writing: &Writing<'_>,
    id: AppendId,
    position: usize,
    (batch, SealedBatch(sealed)): (&Batch, &SealedBatch),
) -> Result<(), StoreError> {
    let (old, new) = (writing.leaves_old(), writing.leaves_new());
    let row: batch::ActiveModel = writing.stamped(batch::Model {
        append_id: id.uuid(),
        position: integer(position),
        split: split_code(batch.split()),
        features: if old { floats_to_bytes(batch.features()) } else { Vec::new() },
        labels: if old { floats_to_bytes(batch.labels()) } else { Vec::new() },
        sealed: new.then(|| sealed.clone()),
        row_digest: None,
    })?;
    batch::Entity::insert(row).exec_without_returning(writing.conn()).await?;
    let records: Vec<_> = batch.record_ids().iter().zip(batch.subjects()).enumerate().collect();
    for chunk in records.chunks(ROWS) {
        let rows = chunk.iter().map(|(row, (record_id, subject))| staged_record::ActiveModel {
            append_id: Set(id.uuid()),
            position: Set(integer(position)),
            batch_row: Set(integer(*row)),
            record_id: Set((*record_id).clone()),
            subject_id: Set(subject.uuid()),
        });
        staged_record::Entity::insert_many(rows).exec_without_returning(writing.conn()).await?;
    }
    Ok(())
}

/// The first staged record whose id the dataset, or an earlier batch of the append, has already.
pub async fn first_duplicate(tx: &Tx, id: AppendId, dataset: DatasetId) -> Result<Option<Place>, StoreError> {
    const IN_DATASET: &str = "SELECT s.position, s.batch_row FROM staged_record s \
         JOIN record r ON r.dataset_id = $2 AND r.record_id = s.record_id \
         WHERE s.append_id = $1 ORDER BY s.position, s.batch_row LIMIT 1";
    // By the ids of records: SQLite would go through all earlier batches for each record by an index on the position.
    const IN_APPEND: &str = "SELECT s.position, s.batch_row FROM staged_record s \
         WHERE s.append_id = $1 AND EXISTS (SELECT 1 FROM staged_record e WHERE e.append_id = s.append_id \
         AND e.record_id = s.record_id AND e.position + 0 < s.position) \
         ORDER BY s.position, s.batch_row LIMIT 1";
    for (sql, values) in [
        (IN_DATASET, vec![Value::from(id.uuid()), Value::from(dataset.uuid())]),
        (IN_APPEND, vec![Value::from(id.uuid())]),
    ] {
        let statement = Statement::from_sql_and_values(tx.conn().get_database_backend(), sql, values);
        if let Some(row) = tx.conn().query_one_raw(statement).await? {
            let place = Place { batch: row.try_get_by_index(0)?, row: row.try_get_by_index(1)? };
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// Makes the staged records the dataset's, as `revision`.
pub async fn publish(
    writing: &Writing<'_>,
    id: AppendId,
    dataset: DatasetId,
    revision: i64,
) -> Result<(), StoreError> {
    const MOVE: &str = "INSERT INTO record \
         (dataset_id, record_id, append_id, position, batch_row, subject_id, revision) \
         SELECT $2, record_id, append_id, position, batch_row, subject_id, $3 \
         FROM staged_record WHERE append_id = $1";
    let tx = writing.tx();
    let staged = append::Entity::find_by_id(id.uuid()).one(tx.conn()).await?;
    let staged = staged.filter(|staged| staged.revision.is_none() && staged.dataset_id == dataset.uuid());
    let Some(staged) = staged else { return StoreError::check_rows(1, 0) };
    let published: append::ActiveModel =
        writing.stamped(append::Model { revision: Some(revision), row_digest: None, ..staged })?;
    let published = append::Entity::update_many()
        .set(published)
        .filter(append::Column::Id.eq(id.uuid()))
        .filter(append::Column::Revision.is_null())
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, published.rows_affected)?;
    let values = vec![Value::from(id.uuid()), Value::from(dataset.uuid()), Value::from(revision)];
    let statement = Statement::from_sql_and_values(tx.conn().get_database_backend(), MOVE, values);
    tx.conn().execute_raw(statement).await?;
    delete_staged(tx, id).await
}

/// Throws an append away, unless it was published.
pub async fn discard(tx: &Tx, id: AppendId) -> Result<(), StoreError> {
    let discarded = append::Entity::delete_many()
        .filter(append::Column::Id.eq(id.uuid()))
        .filter(append::Column::Revision.is_null())
        .exec(tx.conn())
        .await?;
    if discarded.rows_affected > 0 {
        delete_staged(tx, id).await?;
        let batches = batch::Column::AppendId.eq(id.uuid());
        batch::Entity::delete_many().filter(batches).exec(tx.conn()).await?;
    }
    Ok(())
}

async fn delete_staged(tx: &Tx, id: AppendId) -> Result<(), StoreError> {
    let staged = staged_record::Column::AppendId.eq(id.uuid());
    staged_record::Entity::delete_many().filter(staged).exec(tx.conn()).await?;
    Ok(())
}

/// Appends that were neither published nor renewed in time.
pub async fn expired(tx: &ReadTx, now: Timestamp) -> Result<Vec<AppendId>, StoreError> {
    let rows = append::Entity::find()
        .filter(append::Column::Revision.is_null())
        .filter(append::Column::ExpiresAt.lte(now.as_micros()))
        .limit(100)
        .all(tx.conn())
        .await?;
    Ok(rows.into_iter().map(|row| AppendId::from_uuid(row.id)).collect())
}

/// Everybody with a record in the dataset as it was at `revision`.
pub async fn subjects(tx: &ReadTx, dataset: DatasetId, revision: i64) -> Result<Vec<SubjectId>, StoreError> {
    let ids: Vec<sea_orm::prelude::Uuid> = record::Entity::find()
        .select_only()
        .column(record::Column::SubjectId)
        .distinct()
        .filter(record::Column::DatasetId.eq(dataset.uuid()))
        .filter(record::Column::Revision.lte(revision))
        .into_tuple()
        .all(tx.conn())
        .await?;
    Ok(ids.into_iter().map(SubjectId::from_uuid).collect())
}

/// A batch as it is stored.
pub struct Stored {
    /// Where its records belong.
    pub split: Split,
    /// Its records in order.
    pub records: Vec<StoredRecord>,
    place: (AppendId, i64),
    numbers: StoredNumbers,
}

/// A record of a batch, without its numbers.
pub struct StoredRecord {
    /// The controller's id of it.
    pub record_id: String,
    /// Whom it is about.
    pub subject: SubjectId,
    row: usize,
}

enum StoredNumbers {
    Plain { features: Vec<f32>, labels: Vec<f32> },
    Sealed(Vec<u8>),
}

impl Stored {
    /// Features and label of a record of `width` features.
    ///
    /// # Errors
    /// [`Error::Keys`] if the key of its person can't be had, [`Error::Store`] if it does not open.
    pub fn open(
        &self,
        seals: &Seals,
        keys: &SubjectKeys,
        record: &StoredRecord,
        width: usize,
    ) -> Result<(Vec<f32>, f32), Error> {
        let (append, position) = self.place;
        let place = RecordPlace { append, position, row: record.row, record_id: &record.record_id };
        let found = match &self.numbers {
            StoredNumbers::Plain { features, labels } => features
                .chunks(width)
                .nth(record.row)
                .zip(labels.get(record.row))
                .map(|(features, label)| (features.to_vec(), *label)),
            StoredNumbers::Sealed(sealed) => {
                place.open(seals, (sealed, width), record.subject, keys)?.split()
            }
        };
        found.filter(|(features, _)| features.len() == width).ok_or_else(|| place.unfit().into())
    }
}

/// Where a batch of a dataset is.
#[derive(Clone, Copy, Debug)]
pub struct BatchPlace {
    append: AppendId,
    position: i64,
    dataset: DatasetId,
    revision: i64,
}

/// Where the batches of a dataset are, in the order of appending, as it was at `revision`.
pub async fn batches(
    reading: &Reading<'_>,
    dataset: DatasetId,
    revision: i64,
) -> Result<Vec<BatchPlace>, StoreError> {
    const SQL: &str = "SELECT b.append_id, b.position, a.revision FROM batch b \
         JOIN append a ON a.id = b.append_id \
         WHERE a.dataset_id = $1 AND a.revision <= $2 ORDER BY a.revision, b.position";
    let appends = append::Entity::find()
        .filter(append::Column::DatasetId.eq(dataset.uuid()))
        .filter(append::Column::Revision.lte(revision));
    for append in appends.all(reading.conn()).await? {
        reading.check(&append)?;
    }
    let values = vec![Value::from(dataset.uuid()), Value::from(revision)];
    let statement = Statement::from_sql_and_values(reading.conn().get_database_backend(), SQL, values);
    let rows = reading.conn().query_all_raw(statement).await?;
    let place = |row: &sea_orm::QueryResult| {
        let append = AppendId::from_uuid(row.try_get_by_index(0)?);
        let (position, revision) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        Ok(BatchPlace { append, position, dataset, revision })
    };
    rows.iter().map(place).collect::<Result<_, sea_orm::DbErr>>().map_err(StoreError::from)
}

/// One batch with those of its records that still are.
pub async fn read(reading: &Reading<'_>, place: BatchPlace) -> Result<Stored, StoreError> {
    let (id, position) = (place.append, place.position);
    let bad = |column| move || corrupt("batch", column, &format_args!("{id}/{position}"));
    let row = batch::Entity::find_by_id((id.uuid(), position)).one(reading.conn()).await?;
    let row = reading.checked(row.ok_or_else(bad("append_id"))?)?;
    let numbers = if reading.finds_old() {
        StoredNumbers::Plain {
            features: floats_from_bytes(&row.features).ok_or_else(bad("features"))?,
            labels: floats_from_bytes(&row.labels).ok_or_else(bad("labels"))?,
        }
    } else {
        StoredNumbers::Sealed(row.sealed.ok_or_else(bad("sealed"))?)
    };
    Ok(Stored {
        split: split(row.split).ok_or_else(bad("split"))?,
        records: records(reading.tx(), place).await?,
        place: (id, position),
        numbers,
    })
}

/// The records of a batch, in the order of its rows. Each must be of the dataset and the revision that its append is.
async fn records(tx: &ReadTx, place: BatchPlace) -> Result<Vec<StoredRecord>, StoreError> {
    let records = record::Entity::find()
        .filter(record::Column::AppendId.eq(place.append.uuid()))
        .filter(record::Column::Position.eq(place.position))
        .order_by_asc(record::Column::BatchRow)
        .all(tx.conn())
        .await?;
    let record = |found: record::Model| {
        of_append(&found, (place.dataset.uuid(), place.revision))?;
        let row =
            usize::try_from(found.batch_row).map_err(|_| corrupt("record", "batch_row", &at(&found)))?;
        let subject = SubjectId::from_uuid(found.subject_id);
        Ok(StoredRecord { row, record_id: found.record_id, subject })
    };
    records.into_iter().map(record).collect()
}

/// Records of a dataset were taken away, or others put in.
pub fn incomplete(dataset: DatasetId) -> StoreError {
    corrupt("record", "dataset_id", &dataset)
}

/// Whether a record is of the dataset and the revision that its append is.
pub(super) fn of_append(
    found: &record::Model,
    (dataset, revision): (sea_orm::prelude::Uuid, i64),
) -> Result<(), StoreError> {
    let stray = |column| Err(corrupt("record", column, &at(found)));
    if found.dataset_id != dataset {
        return stray("dataset_id");
    }
    if found.revision == revision { Ok(()) } else { stray("revision") }
}

/// A record as errors name it: its batch, and the row in there.
fn at(found: &record::Model) -> String {
    format!("{}/{}/{}", found.append_id, found.position, found.batch_row)
}
