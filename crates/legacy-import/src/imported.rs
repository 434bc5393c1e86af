//! Records in the form of today: sealed under the key of their person, in a row with a digest.
//!
//! Invariants: a value opens in the row that it was imported to and nowhere else; a row whose digest does not match is
//! not believed; a row is written once, and later only told when it was verified.

use portal_core::id::{Id, SubjectId};
use portal_core::{Sensitive, Timestamp};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_store::sealed::{DigestedRow, Row, RowDigests, SealedColumn, Sealing};
use portal_store::{Corruption, ReadTx, StoreError, Tx, bulk};
use sea_orm::entity::prelude::*;
use sea_orm::{Iterable, PaginatorTrait, QueryOrder, QuerySelect};

use crate::content::Content;
use crate::record::{LegacyRecord, RecordId};

pub(crate) mod entity {
    use portal_core::Sensitive;
    use portal_store::Sealed;
    use sea_orm::entity::prelude::*;

    /// A row. The digest is over all its other columns.
    #[derive(Clone, Debug, DeriveEntityModel, PartialEq)]
    #[sea_orm(table_name = "imported_record")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub record_id: Uuid,
        pub subject_id: Uuid,
        pub source_table: String,
        pub source_field: String,
        pub value: Sealed<Sensitive<Vec<u8>>>,
        pub version: i64,
        pub imported_at: i64,
        pub verified_at: Option<i64>,
        pub row_digest: Vec<u8>,
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
pub(crate) use entity::Model;
use entity::{Column, Entity};

/// What the table is called.
pub const TABLE: &str = "imported_record";
/// Nothing changes a value after its import.
const VERSION: i64 = 1;
/// Names, addresses and numbers of phones are not told apart by their lengths.
const VALUE: SealedColumn<Sensitive<Vec<u8>>> = SealedColumn::new(TABLE, "value", Padding::To64);

impl DigestedRow for Model {
    const DIGEST: &'static str = "row_digest";

    fn row(&self) -> Row {
        Row { id: self.record_id.into_bytes(), version: self.version.unsigned_abs() }
    }

    fn digest(&self) -> Option<&[u8]> {
        Some(&self.row_digest)
    }

    fn set_digest(&mut self, digest: [u8; 32]) {
        self.row_digest = digest.to_vec();
    }
}

/// Whose row it is, as it says.
pub(crate) fn subject(row: &Model) -> SubjectId {
    SubjectId::from_uuid(row.subject_id)
}

/// What `row` says, with its value opened.
pub(crate) fn content<'a>(row: &'a Model, value: &'a Sensitive<Vec<u8>>) -> Content<'a> {
    Content {
        record_id: RecordId::from_uuid(row.record_id),
        subject_id: subject(row),
        table: &row.source_table,
        field: &row.source_field,
        plaintext: value.expose(),
    }
}

/// Seals and opens rows.
#[derive(Clone, Debug)]
pub struct Seals {
    sealing: Sealing,
    digests: RowDigests,
}

impl Seals {
    /// Seals with `sealing`, and gives rows digests by `digests`.
    #[must_use]
    pub const fn new(sealing: Sealing, digests: RowDigests) -> Self {
        Self { sealing, digests }
    }

    /// The row that `record`, which says `value`, becomes.
    pub(crate) fn seal(
        &self,
        record: &LegacyRecord,
        value: &Sensitive<Vec<u8>>,
        key: &SubjectKey,
        now: Timestamp,
    ) -> Result<Model, StoreError> {
        let record_id = record.record_id().uuid();
        let row = Row { id: record_id.into_bytes(), version: VERSION.unsigned_abs() };
        let mut model = Model {
            record_id,
            subject_id: record.subject_id().uuid(),
            source_table: record.table().to_owned(),
            source_field: record.field().to_owned(),
            value: VALUE.seal(&self.sealing, key, row, value)?,
            version: VERSION,
            imported_at: now.as_micros(),
            verified_at: None,
            row_digest: Vec::new(),
        };
        self.digests.stamp(&mut model)?;
        Ok(model)
    }

    /// The value of `row`, if the row is what was written.
    pub(crate) fn open(&self, row: &Model, key: &SubjectKey) -> Result<Sensitive<Vec<u8>>, StoreError> {
        self.check(row)?;
        VALUE.open(&self.sealing, key, row.row(), &row.value)
    }

    /// Whether `row` is what was written, without opening it.
    pub(crate) fn check(&self, row: &Model) -> Result<(), StoreError> {
        self.digests.check(row)
    }

    /// `row`, verified at `now`.
    pub(crate) fn verified(&self, row: Model, now: Timestamp) -> Result<Model, StoreError> {
        let mut row = Model { verified_at: Some(now.as_micros()), ..row };
        self.digests.stamp(&mut row)?;
        Ok(row)
    }
}

/// The value of `row` can't be opened, since its key is not there.
pub(crate) fn without_key(row: &Model) -> StoreError {
    StoreError::Corrupt {
        table: TABLE,
        column: VALUE.column(),
        row: row.record_id.to_string(),
        cause: Corruption::KeyMissing,
    }
}

/// Those of `ids` that are there.
pub(crate) async fn among(tx: &ReadTx, ids: &[RecordId]) -> Result<Vec<Model>, StoreError> {
    let ids = ids.iter().map(|id| id.uuid());
    Ok(Entity::find().filter(Column::RecordId.is_in(ids)).all(tx.conn()).await?)
}

/// At most `limit` rows after this one, in the order of their ids.
pub(crate) async fn page(tx: &ReadTx, after: Option<RecordId>, limit: u32) -> Result<Vec<Model>, StoreError> {
    let mut query = Entity::find();
    if let Some(after) = after {
        query = query.filter(Column::RecordId.gt(after.uuid()));
    }
    Ok(query.order_by_asc(Column::RecordId).limit(u64::from(limit)).all(tx.conn()).await?)
}

/// How many rows there are.
///
/// # Errors
/// [`StoreError`].
pub async fn count(tx: &ReadTx) -> Result<u64, StoreError> {
    Ok(Entity::find().count(tx.conn()).await?)
}

/// Inserts rows that are not there.
pub(crate) async fn insert(tx: &Tx, rows: Vec<Model>) -> Result<(), StoreError> {
    let columns: Vec<Column> = Column::iter().collect();
    let values = |row: Model| columns.iter().map(|column| row.get(*column)).collect();
    bulk::insert::<Entity>(tx, &columns, rows.into_iter().map(values).collect()).await
}

/// Writes when rows were verified.
pub(crate) async fn confirm(tx: &Tx, rows: Vec<Model>) -> Result<(), StoreError> {
    let expected = rows.len() as u64;
    let values = |row: Model| vec![row.record_id.into(), row.verified_at.into(), row.row_digest.into()];
    let set = [Column::VerifiedAt, Column::RowDigest];
    let rows = rows.into_iter().map(values).collect();
    let written = bulk::update::<Entity>(tx, &[Column::RecordId], &set, rows).await?;
    StoreError::check_rows(expected, written)
}

/// Deletes rows, all of which must be there.
pub(crate) async fn delete(tx: &Tx, ids: &[RecordId]) -> Result<(), StoreError> {
    let keys = ids.iter().map(|id| vec![id.uuid().into()]).collect();
    let deleted = bulk::delete::<Entity>(tx, &[Column::RecordId], keys).await?;
    StoreError::check_rows(ids.len() as u64, deleted)
}
