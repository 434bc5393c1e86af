//! Many rows in one statement: what data migrations and imports write with, at tens of thousands of rows per second.
//!
//! On PostgreSQL the values travel as one array per column, so that the statement has the same text however many rows
//! there are, and is parsed once. SQLite has no arrays: there they are `VALUES` in pieces of `SQLITE_ROWS` rows.

use std::fmt::Write as _;

use sea_orm::sea_query::ArrayType;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, IdenStatic, Statement, Value,
};

use crate::{DatabaseFailure, ReadTx, StoreError, Tx};

/// Rows per statement on SQLite, which takes some 32,000 values.
const SQLITE_ROWS: usize = 250;

/// Inserts `rows`, one after the other, each with the values of `columns` in their order.
///
/// # Errors
/// [`StoreError::Duplicate`] if one of them is there already, and none is inserted then; [`StoreError`].
pub async fn insert<E: EntityTrait>(
    tx: &Tx,
    columns: &[E::Column],
    rows: Vec<Vec<Value>>,
) -> Result<(), StoreError> {
    let expected = rows.len() as u64;
    let inserted = run::<E>(tx, columns, rows, |source| insertion::<E>(columns, source, 0));
    StoreError::check_rows(expected, inserted.await?)
}

/// Updates a row for each of `rows`, which has the values of `key`, by which the row is found, and then those of `set`.
/// Says how many rows there were.
///
/// # Errors
/// [`StoreError`].
pub async fn update<E: EntityTrait>(
    tx: &Tx,
    key: &[E::Column],
    set: &[E::Column],
    rows: Vec<Vec<Value>>,
) -> Result<u64, StoreError> {
    let table = quoted(E::default().table_name());
    let columns: Vec<E::Column> = key.iter().chain(set).copied().collect();
    run::<E>(tx, &columns, rows, |source| {
        let assign = |(at, column): (usize, &E::Column)| {
            format!("{} = {}", quoted(column.as_str()), source.value(key.len() + at, nullable(column)))
        };
        let found = |(at, column): (usize, &E::Column)| {
            format!("{table}.{} = {}", quoted(column.as_str()), source.value(at, false))
        };
        let set = list(set.iter().enumerate().map(assign));
        let found: Vec<String> = key.iter().enumerate().map(found).collect();
        format!("UPDATE {table} SET {set} FROM {} WHERE {}", source.from(), found.join(" AND "))
    })
    .await
}

/// The row for each of `keys`, which has the values of `key`, a unique one, if there is such a row. Each is looked up by
/// the index of `key`, whatever the server believes about the table: one that has just been filled has no statistics.
///
/// # Errors
/// [`StoreError`].
pub async fn find<E: EntityTrait>(
    tx: &ReadTx,
    key: &[E::Column],
    keys: Vec<Vec<Value>>,
) -> Result<Vec<E::Model>, StoreError> {
    look_up::<E>(tx, key, keys, "LIMIT 1").await
}

/// As [`find`], where `key` is the first part of a unique one: all rows for each of `keys`, in no order.
///
/// # Errors
/// [`StoreError`].
pub async fn find_all<E: EntityTrait>(
    tx: &ReadTx,
    key: &[E::Column],
    keys: Vec<Vec<Value>>,
) -> Result<Vec<E::Model>, StoreError> {
    look_up::<E>(tx, key, keys, "OFFSET 0").await
}

/// `fence` keeps PostgreSQL from making it a join again, for which it would trust its statistics.
async fn look_up<E: EntityTrait>(
    tx: &ReadTx,
    key: &[E::Column],
    keys: Vec<Vec<Value>>,
    fence: &str,
) -> Result<Vec<E::Model>, StoreError> {
    let table = quoted(E::default().table_name());
    let backend = tx.conn().get_database_backend();
    let statements = if keys.len() == 1 {
        vec![look_up_one(backend, &table, key, keys.into_iter().flatten().collect())?]
    } else {
        let this = |source: &Source| -> String {
            let column = |(at, column): (usize, &E::Column)| {
                format!("t.{} = {}", quoted(column.as_str()), source.value(at, false))
            };
            key.iter().enumerate().map(column).collect::<Vec<_>>().join(" AND ")
        };
        let statement = |(source, values): (Source, Vec<Value>)| {
            let (from, this) = (source.from(), this(&source));
            let sql = match backend {
                DbBackend::Postgres => format!(
                    "SELECT f.* FROM {from} CROSS JOIN LATERAL (SELECT t.* FROM {table} t WHERE {this} {fence}) f"
                ),
                _ => format!("SELECT t.* FROM {from} CROSS JOIN {table} t WHERE {this}"),
            };
            Statement::from_sql_and_values(backend, sql, values)
        };
        pieces(backend, key, keys)?.into_iter().map(statement).collect()
    };
    let mut found = Vec::new();
    for statement in statements {
        for row in tx.conn().query_all_raw(statement).await? {
            found.push(E::Model::from_query_result(&row, "")?);
        }
    }
    Ok(found)
}

/// One alone is not looked up by arrays: PostgreSQL takes them for longer than they are, and would plan anew each time.
fn look_up_one<C: ColumnTrait>(
    backend: DbBackend,
    table: &str,
    key: &[C],
    values: Vec<Value>,
) -> Result<Statement, StoreError> {
    if values.len() != key.len() {
        return Err(unfit());
    }
    let parameter =
        |at: usize| if backend == DbBackend::Postgres { format!("${}", at + 1) } else { "?".into() };
    let equal = |(at, column): (usize, &C)| format!("t.{} = {}", quoted(column.as_str()), parameter(at));
    let these: Vec<String> = key.iter().enumerate().map(equal).collect();
    let sql = format!("SELECT t.* FROM {table} t WHERE {}", these.join(" AND "));
    Ok(Statement::from_sql_and_values(backend, sql, values))
}

/// Deletes the row for each of `keys`, which has the values of `key`. Says how many rows there were.
///
/// # Errors
/// [`StoreError`].
pub async fn delete<E: EntityTrait>(
    tx: &Tx,
    key: &[E::Column],
    keys: Vec<Vec<Value>>,
) -> Result<u64, StoreError> {
    let table = quoted(E::default().table_name());
    let names: Vec<String> = key.iter().map(|column| quoted(column.as_str())).collect();
    run::<E>(tx, key, keys, |source| {
        let values = list((0..key.len()).map(|at| source.value(at, false)));
        format!(
            "DELETE FROM {table} WHERE ({}) IN (SELECT {values} FROM {})",
            names.join(", "),
            source.from()
        )
    })
    .await
}

/// The statement that inserts the rows of `source`, whose parameters come after `first` others.
pub(crate) fn insertion<E: EntityTrait>(columns: &[E::Column], source: &Source, first: usize) -> String {
    let table = quoted(E::default().table_name());
    let names = list(columns.iter().map(|column| quoted(column.as_str())));
    let values = list(columns.iter().enumerate().map(|(at, column)| source.value(at, nullable(column))));
    format!("INSERT INTO {table} ({names}) SELECT {values} FROM {}", source.in_order(first))
}

/// What an insertion does with a row that has the same `key`: it takes its place, if its `until` is at most the parameter
/// `now`.
pub(crate) fn replacement<E: EntityTrait>(
    columns: &[E::Column],
    key: &[E::Column],
    until: E::Column,
    now: &str,
) -> String {
    let table = quoted(E::default().table_name());
    let keys = list(key.iter().map(|column| quoted(column.as_str())));
    let set = list(columns.iter().map(|column| format!("{0} = excluded.{0}", quoted(column.as_str()))));
    let until = quoted(until.as_str());
    format!("ON CONFLICT ({keys}) DO UPDATE SET {set} WHERE {table}.{until} <= {now}")
}

/// Where a statement finds the rows that it is given, as `v`.
pub(crate) enum Source {
    /// The types of the arrays, and which of them have a second one that says where NULL is meant.
    Arrays(Vec<(&'static str, bool)>),
    /// How many columns and rows.
    Values(usize, usize),
}

impl Source {
    fn from(&self) -> String {
        match self {
            Self::Arrays(arrays) => {
                let (parameters, names) = Self::unnested(arrays, 0);
                format!("unnest({parameters}) AS v({names})")
            }
            Self::Values(columns, rows) => {
                let row = format!("({})", vec!["?"; *columns].join(", "));
                format!("(VALUES {}) AS v", vec![row.as_str(); *rows].join(", "))
            }
        }
    }

    /// As [`Self::from`], for rows that are numbered as they come, and parameters that come after `first` others.
    fn in_order(&self, first: usize) -> String {
        match self {
            Self::Arrays(arrays) => {
                let (parameters, names) = Self::unnested(arrays, first);
                format!("unnest({parameters}) WITH ORDINALITY AS v({names}, place) ORDER BY v.place")
            }
            Self::Values(..) => self.from(),
        }
    }

    fn unnested(arrays: &[(&'static str, bool)], first: usize) -> (String, String) {
        let (mut parameters, mut names) = (Vec::new(), Vec::new());
        for (at, (kind, nullable)) in arrays.iter().enumerate() {
            parameters.push(format!("${}::{kind}[]", first + parameters.len() + 1));
            names.push(format!("c{at}"));
            if *nullable {
                parameters.push(format!("${}::bool[]", first + parameters.len() + 1));
                names.push(format!("n{at}"));
            }
        }
        (parameters.join(", "), names.join(", "))
    }

    /// How many parameters it takes.
    pub(crate) fn parameters(&self) -> usize {
        match self {
            Self::Arrays(arrays) => arrays.iter().map(|(_, nullable)| if *nullable { 2 } else { 1 }).sum(),
            Self::Values(columns, rows) => columns * rows,
        }
    }

    /// How many rows there are.
    pub(crate) fn rows(&self, values: &[Value]) -> u64 {
        match (self, values.first()) {
            (Self::Arrays(_), Some(Value::Array(_, Some(first)))) => first.len() as u64,
            (Self::Arrays(_), _) => 0,
            (Self::Values(_, rows), _) => *rows as u64,
        }
    }

    fn value(&self, at: usize, nullable: bool) -> String {
        match self {
            Self::Arrays(_) if nullable => format!("CASE WHEN v.n{at} THEN NULL ELSE v.c{at} END"),
            Self::Arrays(_) => format!("v.c{at}"),
            Self::Values(..) => format!("v.column{}", at + 1),
        }
    }
}

async fn run<E: EntityTrait>(
    tx: &Tx,
    columns: &[E::Column],
    rows: Vec<Vec<Value>>,
    sql: impl Fn(&Source) -> String,
) -> Result<u64, StoreError> {
    let backend = tx.conn().get_database_backend();
    let mut affected = 0;
    for (source, values) in pieces(backend, columns, rows)? {
        let statement = Statement::from_sql_and_values(backend, sql(&source), values);
        affected += tx.conn().execute_raw(statement).await?.rows_affected();
    }
    Ok(affected)
}

/// The values of one statement each.
pub(crate) fn pieces<C: ColumnTrait>(
    backend: DbBackend,
    columns: &[C],
    rows: Vec<Vec<Value>>,
) -> Result<Vec<(Source, Vec<Value>)>, StoreError> {
    if rows.iter().any(|row| row.len() != columns.len()) {
        return Err(unfit());
    }
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    if backend == DbBackend::Postgres {
        return Ok(vec![arrays(columns, rows)?]);
    }
    let mut pieces = Vec::with_capacity(rows.len().div_ceil(SQLITE_ROWS));
    let mut rows = rows.into_iter();
    loop {
        let piece: Vec<Vec<Value>> = rows.by_ref().take(SQLITE_ROWS).collect();
        if piece.is_empty() {
            return Ok(pieces);
        }
        let source = Source::Values(columns.len(), piece.len());
        pieces.push((source, piece.into_iter().flatten().collect()));
    }
}

/// The rows turned into columns, as arrays. PostgreSQL's driver takes no NULL in an array of ours, so a nullable column
/// has a second array that says where it is, and an empty value in its place.
fn arrays<C: ColumnTrait>(columns: &[C], rows: Vec<Vec<Value>>) -> Result<(Source, Vec<Value>), StoreError> {
    let mut turned: Vec<Vec<Value>> = columns.iter().map(|_| Vec::with_capacity(rows.len())).collect();
    for row in rows {
        turned.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
    }
    let mut kinds = Vec::with_capacity(columns.len());
    let mut parameters = Vec::with_capacity(columns.len());
    for (column, values) in columns.iter().zip(turned) {
        let kind = values.first().map_or(ArrayType::Bytes, Value::array_type);
        let (name, empty) = postgres(&kind).ok_or_else(unfit)?;
        if values.iter().any(|value| value.array_type() != kind) {
            return Err(unfit());
        }
        let nullable = nullable(column);
        let absent: Vec<bool> = values.iter().map(is_null).collect();
        if !nullable && absent.contains(&true) {
            return Err(unfit());
        }
        let filled = values.into_iter().map(|value| if is_null(&value) { empty.clone() } else { value });
        parameters.push(Value::Array(kind, Some(Box::new(filled.collect()))));
        kinds.push((name, nullable));
        if nullable {
            let absent = absent.into_iter().map(|absent| Value::Bool(Some(absent)));
            parameters.push(Value::Array(ArrayType::Bool, Some(Box::new(absent.collect()))));
        }
    }
    Ok((Source::Arrays(kinds), parameters))
}

/// What PostgreSQL calls the type of a column, and a value of it.
fn postgres(kind: &ArrayType) -> Option<(&'static str, Value)> {
    Some(match kind {
        ArrayType::BigInt => ("int8", Value::BigInt(Some(0))),
        ArrayType::Bool => ("bool", Value::Bool(Some(false))),
        ArrayType::Bytes => ("bytea", Value::Bytes(Some(Vec::new()))),
        ArrayType::Double => ("float8", Value::Double(Some(0.0))),
        ArrayType::String => ("text", Value::String(Some(String::new()))),
        ArrayType::Uuid => ("uuid", Value::Uuid(Some(sea_orm::prelude::Uuid::nil()))),
        _ => return None,
    })
}

fn is_null(value: &Value) -> bool {
    *value == value.as_null()
}

fn nullable<C: ColumnTrait>(column: &C) -> bool {
    column.def().is_null()
}

pub(crate) fn unfit() -> StoreError {
    StoreError::Database(DatabaseFailure::plain("a value does not fit its column"))
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.fold(String::new(), |mut list, item| {
        let separator = if list.is_empty() { "" } else { ", " };
        // Writing to a String can't fail.
        let _ = write!(list, "{separator}{item}");
        list
    })
}
