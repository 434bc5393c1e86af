//! Rows of subject keys.

use portal_core::id::{EpochId, Id, SubjectId, TenantId};
use portal_crypto::epoch::SubjectKeyRecord;
use portal_store::{Inserts, ReadTx, StoreError, Tx, bulk};
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, DbBackend, QueryOrder, QuerySelect, Statement, Value};

use super::entity::subject::{Column, Entity, Model};
use super::{corrupt, signed, unsigned};

const COLUMNS: [Column; 7] = [
    Column::TenantId,
    Column::SubjectId,
    Column::Generation,
    Column::EpochId,
    Column::Record,
    Column::Seals,
    Column::CreatedAt,
];

/// A subject key as it is stored. Its record may be anything: it is parsed by who opens it.
#[derive(Clone, Debug)]
pub(crate) struct SubjectRow {
    pub(crate) subject: SubjectId,
    pub(crate) generation: u32,
    pub(crate) epoch: EpochId,
    pub(crate) record: Vec<u8>,
    /// How often it has sealed, as far as that was written down.
    pub(crate) seals: u64,
}

impl TryFrom<Model> for SubjectRow {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let bad = |column| corrupt("subject_key", column, row.subject_id);
        Ok(Self {
            subject: SubjectId::from_uuid(row.subject_id),
            generation: u32::try_from(row.generation).map_err(|_| bad("generation"))?,
            epoch: EpochId::from_uuid(row.epoch_id),
            seals: unsigned(row.seals, "subject_key", "seals")?,
            record: row.record,
        })
    }
}

/// All keys of `subjects`, those of a subject together, the oldest generation first. One query: the caller keeps it to
/// a few hundred subjects.
pub(crate) async fn of(
    tx: &ReadTx,
    tenant: TenantId,
    subjects: &[SubjectId],
) -> Result<Vec<SubjectRow>, StoreError> {
    let keys = subjects.iter().map(|subject| vec![tenant.uuid().into(), subject.uuid().into()]).collect();
    let mut rows = bulk::find_all::<Entity>(tx, &[Column::TenantId, Column::SubjectId], keys).await?;
    rows.sort_unstable_by_key(|row| (row.subject_id, row.generation));
    rows.into_iter().map(SubjectRow::try_from).collect()
}

/// Adds keys that this transaction has not found.
///
/// # Errors
/// [`StoreError::Contended`] if another transaction has added one of them meanwhile; [`StoreError`].
pub(crate) async fn insert(tx: &Tx, tenant: TenantId, records: &[NewRecord]) -> Result<(), StoreError> {
    let values = |(subject, record): &NewRecord| {
        vec![
            tenant.uuid().into(),
            subject.uuid().into(),
            i64::from(record.generation()).into(),
            record.epoch().uuid().into(),
            record.to_bytes().to_vec().into(),
            0_i64.into(),
            record.created().as_micros().into(),
        ]
    };
    let mut inserts = Inserts::of(tx);
    inserts.add::<Entity>(&COLUMNS, records.iter().map(values).collect())?;
    inserts.run(tx).await
}

/// Deletes all keys of `subject`, and says how many there were.
pub(crate) async fn delete(tx: &Tx, tenant: TenantId, subject: SubjectId) -> Result<u64, StoreError> {
    let deleted = Entity::delete_many()
        .filter(Column::TenantId.eq(tenant.uuid()))
        .filter(Column::SubjectId.eq(subject.uuid()))
        .exec(tx.conn())
        .await?;
    Ok(deleted.rows_affected)
}

/// How many keys are wrapped under `epoch`.
pub(crate) async fn count_of_epoch(tx: &ReadTx, tenant: TenantId, epoch: EpochId) -> Result<u64, StoreError> {
    let of_epoch =
        Condition::all().add(Column::TenantId.eq(tenant.uuid())).add(Column::EpochId.eq(epoch.uuid()));
    Ok(Entity::find().filter(of_epoch).count(tx.conn()).await?)
}

/// How many keys are wrapped under each epoch that has any.
pub(crate) async fn count_by_epoch(tx: &ReadTx, tenant: TenantId) -> Result<Vec<(EpochId, u64)>, StoreError> {
    let counts: Vec<(Uuid, i64)> = Entity::find()
        .select_only()
        .column(Column::EpochId)
        .column_as(Column::Generation.count(), "keys")
        .filter(Column::TenantId.eq(tenant.uuid()))
        .group_by(Column::EpochId)
        .into_tuple()
        .all(tx.conn())
        .await?;
    let count = |(id, count)| Ok((EpochId::from_uuid(id), unsigned(count, "subject_key", "count")?));
    counts.into_iter().map(count).collect()
}

/// The record of a subject's key.
pub(crate) type NewRecord = (SubjectId, SubjectKeyRecord);

/// A key of a subject: which subject and generation.
pub(crate) type Cursor = (SubjectId, u32);

/// Keys wrapped under `epoch` after `cursor`, `limit` at most, in the order of subject and generation.
pub(crate) async fn of_epoch(
    tx: &ReadTx,
    tenant: TenantId,
    epoch: EpochId,
    cursor: Option<Cursor>,
    limit: u64,
) -> Result<Vec<SubjectRow>, StoreError> {
    let mut query = Entity::find()
        .filter(Column::TenantId.eq(tenant.uuid()))
        .filter(Column::EpochId.eq(epoch.uuid()))
        .order_by_asc(Column::SubjectId)
        .order_by_asc(Column::Generation)
        .limit(limit);
    if let Some((subject, generation)) = cursor {
        let same_subject = Condition::all()
            .add(Column::SubjectId.eq(subject.uuid()))
            .add(Column::Generation.gt(i64::from(generation)));
        query = query.filter(Condition::any().add(Column::SubjectId.gt(subject.uuid())).add(same_subject));
    }
    let rows = query.all(tx.conn()).await?;
    rows.into_iter().map(SubjectRow::try_from).collect()
}

/// All keys after `cursor`, `limit` at most, whatever their epoch: only their subjects.
pub(crate) async fn subjects_after(
    tx: &ReadTx,
    tenant: TenantId,
    cursor: Option<SubjectId>,
    limit: u64,
) -> Result<Vec<SubjectId>, StoreError> {
    let mut query = Entity::find()
        .select_only()
        .column(Column::SubjectId)
        .distinct()
        .filter(Column::TenantId.eq(tenant.uuid()))
        .order_by_asc(Column::SubjectId)
        .limit(limit);
    if let Some(subject) = cursor {
        query = query.filter(Column::SubjectId.gt(subject.uuid()));
    }
    let ids: Vec<Uuid> = query.into_tuple().all(tx.conn()).await?;
    Ok(ids.into_iter().map(SubjectId::from_uuid).collect())
}

/// Replaces the records of keys that are still wrapped under the epoch `from`, in one statement, and says how many
/// there were: one that was deleted or rewrapped meanwhile stays as it is.
pub(crate) async fn rewrap(
    tx: &Tx,
    tenant: TenantId,
    from: EpochId,
    records: &[NewRecord],
) -> Result<u64, StoreError> {
    let Some(to) = records.first().map(|(_, record)| record.epoch()) else { return Ok(0) };
    let fixed: [Value; 3] = [to.uuid().into(), tenant.uuid().into(), from.uuid().into()];
    let rows = Columns {
        subjects: records.iter().map(|(subject, _)| subject.uuid()).collect(),
        generations: records.iter().map(|(_, record)| record.generation().into()).collect(),
        values: NewValues::Records(records.iter().map(|(_, record)| record.to_bytes().to_vec()).collect()),
    };
    update(
        tx,
        "epoch_id = $1, record = v.value",
        still_of(tx.conn().get_database_backend()),
        fixed.to_vec(),
        rows,
    )
    .await
}

/// Whose keys, and under which epoch. The plus keeps SQLite from taking all keys of the epoch first, and looking each of
/// them up in the list: by that every batch took as long as there were keys.
const fn still_of(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Sqlite => "AND k.tenant_id = $2 AND +k.epoch_id = $3",
        _ => "AND k.tenant_id = $2 AND k.epoch_id = $3",
    }
}

/// Adds to the numbers of seals, in one statement.
pub(crate) async fn add_seals(
    tx: &Tx,
    tenant: TenantId,
    seals: &[(SubjectId, u32, u64)],
) -> Result<u64, StoreError> {
    if seals.is_empty() {
        return Ok(0);
    }
    let rows = Columns {
        subjects: seals.iter().map(|(subject, ..)| subject.uuid()).collect(),
        generations: seals.iter().map(|(_, generation, _)| i64::from(*generation)).collect(),
        values: NewValues::Counts(seals.iter().map(|(.., count)| signed(*count)).collect()),
    };
    update(tx, "seals = k.seals + v.value", "AND k.tenant_id = $1", vec![tenant.uuid().into()], rows).await
}

/// What [`update`] joins with: a value for each key.
struct Columns {
    subjects: Vec<Uuid>,
    generations: Vec<i64>,
    values: NewValues,
}

enum NewValues {
    Records(Vec<Vec<u8>>),
    Counts(Vec<i64>),
}

/// One `UPDATE ... FROM` over many keys. PostgreSQL takes three arrays, so that the statement is the same for every
/// number of rows and is prepared once; SQLite takes a list of rows.
async fn update(
    tx: &Tx,
    set: &str,
    condition: &str,
    mut values: Vec<Value>,
    rows: Columns,
) -> Result<u64, StoreError> {
    let backend = tx.conn().get_database_backend();
    let source = match backend {
        DbBackend::Postgres => arrays(&mut values, rows),
        _ => list(&mut values, rows),
    };
    let sql = update_sql(set, &source, condition);
    let result = tx.conn().execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    Ok(result.rows_affected())
}

fn update_sql(set: &str, source: &str, condition: &str) -> String {
    format!(
        "UPDATE subject_key AS k SET {set} FROM {source} \
         WHERE k.subject_id = v.subject_id AND k.generation = v.generation {condition}"
    )
}

fn arrays(values: &mut Vec<Value>, rows: Columns) -> String {
    let first = values.len() + 1;
    let (array, kind): (Value, _) = match rows.values {
        NewValues::Counts(counts) => (counts.into(), "bigint"),
        NewValues::Records(records) => (records.into(), "bytea"),
    };
    values.extend([rows.subjects.into(), rows.generations.into(), array]);
    format!(
        "unnest(${first}::uuid[], ${}::bigint[], ${}::{kind}[]) AS v (subject_id, generation, value)",
        first + 1,
        first + 2
    )
}

fn list(values: &mut Vec<Value>, rows: Columns) -> String {
    let new: Vec<Value> = match rows.values {
        NewValues::Counts(counts) => counts.into_iter().map(Value::from).collect(),
        NewValues::Records(records) => records.into_iter().map(Value::from).collect(),
    };
    let mut places = Vec::with_capacity(new.len());
    for ((subject, generation), value) in rows.subjects.into_iter().zip(rows.generations).zip(new) {
        let first = values.len() + 1;
        places.push(format!("(${first}, ${}, ${})", first + 1, first + 2));
        values.extend([subject.into(), generation.into(), value]);
    }
    let places = places.join(", ");
    format!(
        "(SELECT column1 AS subject_id, column2 AS generation, column3 AS value FROM (VALUES {places})) AS v"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portal_store::migrate;
    use portal_testkit::TestDatabase;

    use super::*;
    use crate::store::migration::Migrations;

    /// Each key of the list is looked up by itself: a batch takes no longer the more keys there are.
    #[tokio::test]
    async fn sqlite_looks_each_key_up() {
        let place = TestDatabase::sqlite();
        let database = place.connect().await;
        migrate::up::<Migrations>(&database).await.unwrap();
        let (mut values, backend) = (vec![Value::from(Uuid::nil()); 3], DbBackend::Sqlite);
        let rows = Columns {
            subjects: vec![Uuid::nil(); 2_000],
            generations: vec![1; 2_000],
            values: NewValues::Records(vec![Vec::new(); 2_000]),
        };
        let source = list(&mut values, rows);
        let sql = update_sql("epoch_id = $1, record = v.value", &source, still_of(backend));
        let (sql, values) = (&format!("EXPLAIN QUERY PLAN {sql}"), &values);
        let plan = database.read("plan", |tx| async move {
            let statement = Statement::from_sql_and_values(backend, sql, values.clone());
            let rows = tx.conn().query_all_raw(statement).await?;
            Ok::<_, StoreError>(
                rows.iter().map(|row| row.try_get_by_index(3).unwrap()).collect::<Vec<String>>(),
            )
        });
        let plan = plan.await.unwrap();
        let found = plan.iter().find(|step| step.starts_with("SEARCH k ")).unwrap();
        assert!(found.contains("(tenant_id=? AND subject_id=? AND generation=?)"), "{plan:?}");
    }
}
