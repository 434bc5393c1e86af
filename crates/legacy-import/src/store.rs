//! The table of legacy records: a copy of the export, in the database where its records become current ones.
//!
//! Invariants: a record is never changed here, only inserted and, when its import is committed, deleted; what is read
//! back has the shape of a record or is an error that names it.

use portal_core::id::{Id, SubjectId};
use portal_store::{Corruption, ReadTx, StoreError, Tx, bulk};
use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel, PaginatorTrait, QueryOrder, QuerySelect};

use crate::key_id::KeyId;
use crate::record::{InvalidRecord, LegacyRecord, Parts, RecordId};

pub mod schema;

pub(crate) mod entity {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, DeriveEntityModel, PartialEq)]
    #[sea_orm(table_name = "legacy_record")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub record_id: Uuid,
        pub subject_id: Uuid,
        pub source_table: String,
        pub source_field: String,
        pub kem_key_id: Vec<u8>,
        pub kem_ciphertext: Vec<u8>,
        pub nonce: Vec<u8>,
        pub sealed: Vec<u8>,
        pub signer_key_id: Vec<u8>,
        pub signature: Vec<u8>,
    }

    // Its columns are many kilobytes of noise.
    impl std::fmt::Debug for Model {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Model").field("record_id", &self.record_id).finish_non_exhaustive()
        }
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
use entity::{Column, Entity, Model};

/// What it is called.
pub const TABLE: &str = "legacy_record";

/// Why records were not inserted.
#[derive(Debug, thiserror::Error)]
pub enum InsertError {
    /// There is another record with this id.
    #[error("the record {0} is there already, and says something else")]
    Differs(RecordId),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Inserts those of `records` that are not there yet, and says how many.
///
/// # Errors
/// [`InsertError`].
pub async fn insert(tx: &Tx, records: &[LegacyRecord]) -> Result<u64, InsertError> {
    let mut rows: Vec<Model> = records.iter().map(Model::from).collect();
    rows.sort_by_key(|row| row.record_id);
    rows.dedup();
    let ids = rows.iter().map(|row| row.record_id);
    let present = Entity::find().filter(Column::RecordId.is_in(ids)).all(tx.conn()).await;
    for row in present.map_err(StoreError::from)? {
        if !rows.contains(&row) {
            return Err(InsertError::Differs(RecordId::from_uuid(row.record_id)));
        }
        rows.retain(|new| new.record_id != row.record_id);
    }
    if let Some(twice) = rows.windows(2).find(|pair| matches!(pair, [a, b] if a.record_id == b.record_id)) {
        let id = twice.first().map(|row| row.record_id).unwrap_or_default();
        return Err(InsertError::Differs(RecordId::from_uuid(id)));
    }
    let inserted = rows.len() as u64;
    let rows = rows.into_iter().map(IntoActiveModel::into_active_model);
    Entity::insert_many(rows).exec_without_returning(tx.conn()).await.map_err(StoreError::from)?;
    Ok(inserted)
}

/// A row of the table.
pub struct Row {
    /// Which record.
    pub record_id: RecordId,
    /// Whom it is about, as it says.
    pub subject_id: SubjectId,
    /// The record; [`StoreError::Corrupt`] if the row is none.
    pub record: Result<LegacyRecord, StoreError>,
}

/// At most `limit` rows after this one, in the order of their ids: one that is no record does not hide the others.
///
/// # Errors
/// [`StoreError`].
pub async fn rows(tx: &ReadTx, after: Option<RecordId>, limit: u32) -> Result<Vec<Row>, StoreError> {
    let mut query = Entity::find();
    if let Some(after) = after {
        query = query.filter(Column::RecordId.gt(after.uuid()));
    }
    let rows = query.order_by_asc(Column::RecordId).limit(u64::from(limit)).all(tx.conn()).await?;
    Ok(rows.into_iter().map(Row::from).collect())
}

/// At most `limit` records after this one, in the order of their ids.
///
/// # Errors
/// [`StoreError::Corrupt`] for a row that is no record.
pub async fn page(tx: &ReadTx, after: Option<RecordId>, limit: u32) -> Result<Vec<LegacyRecord>, StoreError> {
    rows(tx, after, limit).await?.into_iter().map(|row| row.record).collect()
}

/// Deletes these rows, all of which must be there.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(tx: &Tx, ids: &[RecordId]) -> Result<(), StoreError> {
    let keys = ids.iter().map(|id| vec![id.uuid().into()]).collect();
    let deleted = bulk::delete::<Entity>(tx, &[Column::RecordId], keys).await?;
    StoreError::check_rows(ids.len() as u64, deleted)
}

/// A key that records name, and how many do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyUse {
    /// The key; `None` where the row does not hold the id of one.
    pub key: Option<KeyId>,
    /// How many rows name it.
    pub rows: u64,
}

/// The keys that all records are sealed to, and those that they are signed by.
///
/// # Errors
/// [`StoreError`].
pub async fn key_uses(tx: &ReadTx) -> Result<[Vec<KeyUse>; 2], StoreError> {
    Ok([key_use(tx, Column::KemKeyId).await?, key_use(tx, Column::SignerKeyId).await?])
}

async fn key_use(tx: &ReadTx, column: Column) -> Result<Vec<KeyUse>, StoreError> {
    let query = Entity::find().select_only().column(column).column_as(Column::RecordId.count(), "rows");
    let rows: Vec<(Vec<u8>, i64)> =
        query.group_by(column).order_by_asc(column).into_tuple().all(tx.conn()).await?;
    let key_use = |(id, rows): (Vec<u8>, i64)| KeyUse {
        key: id.try_into().ok().map(KeyId::from_bytes),
        rows: rows.unsigned_abs(),
    };
    Ok(rows.into_iter().map(key_use).collect())
}

/// How many people the records are about.
///
/// # Errors
/// [`StoreError`].
pub async fn count_subjects(tx: &ReadTx) -> Result<u64, StoreError> {
    let query = Entity::find().select_only().column(Column::SubjectId).distinct();
    Ok(query.into_tuple::<Uuid>().count(tx.conn()).await?)
}

/// How many records there are.
///
/// # Errors
/// [`StoreError`].
pub async fn count(tx: &ReadTx) -> Result<u64, StoreError> {
    Ok(Entity::find().count(tx.conn()).await?)
}

impl From<&LegacyRecord> for Model {
    fn from(record: &LegacyRecord) -> Self {
        Self {
            record_id: record.record_id().uuid(),
            subject_id: record.subject_id().uuid(),
            source_table: record.table().to_owned(),
            source_field: record.field().to_owned(),
            kem_key_id: record.kem_key().as_bytes().to_vec(),
            kem_ciphertext: record.kem_ciphertext().to_vec(),
            nonce: record.nonce().to_vec(),
            sealed: record.sealed().to_vec(),
            signer_key_id: record.signer().as_bytes().to_vec(),
            signature: record.signature().to_vec(),
        }
    }
}

impl From<Model> for Row {
    fn from(row: Model) -> Self {
        Self {
            record_id: RecordId::from_uuid(row.record_id),
            subject_id: SubjectId::from_uuid(row.subject_id),
            record: row.try_into(),
        }
    }
}

impl TryFrom<Model> for LegacyRecord {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let record_id = RecordId::from_uuid(row.record_id);
        let corrupt = |column| StoreError::Corrupt {
            table: TABLE,
            column,
            row: record_id.to_string(),
            cause: Corruption::ValueInvalid,
        };
        let key_id = |column, bytes: Vec<u8>| {
            bytes.try_into().map(KeyId::from_bytes).map_err(|_: Vec<u8>| corrupt(column))
        };
        let parts = Parts {
            record_id,
            subject_id: SubjectId::from_uuid(row.subject_id),
            table: row.source_table,
            field: row.source_field,
            kem_key: key_id("kem_key_id", row.kem_key_id)?,
            kem_ciphertext: row.kem_ciphertext,
            nonce: row.nonce,
            sealed: row.sealed,
            signer: key_id("signer_key_id", row.signer_key_id)?,
            signature: row.signature,
        };
        Self::try_from(parts).map_err(|wrong| corrupt(column(wrong)))
    }
}

const fn column(wrong: InvalidRecord) -> &'static str {
    match wrong {
        InvalidRecord::Field => "source_field",
        InvalidRecord::KemCiphertext(_) => "kem_ciphertext",
        InvalidRecord::Nonce(_) => "nonce",
        InvalidRecord::Sealed(_) => "sealed",
        InvalidRecord::Signature(_) => "signature",
        InvalidRecord::Table => "source_table",
    }
}
