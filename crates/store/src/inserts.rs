//! Rows of several tables that are inserted together: one exchange with PostgreSQL, where each table would take one.

use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, IdenStatic, Statement, Value};

use crate::bulk::{self, Source};
use crate::{DatabaseFailure, ReadTx, StoreError, Tx};

/// Rows that are to be inserted, and that this transaction has not found: one that is there by now was written by a
/// concurrent transaction, and this one is run again.
pub struct Inserts {
    backend: DbBackend,
    tables: Vec<Table>,
}

/// What a source has, and the values in the order of its parameters.
type Piece = (Source, Vec<Value>);

type Pieces = Box<dyn Fn(DbBackend, Vec<Vec<Value>>) -> Result<Vec<Piece>, StoreError> + Send + Sync>;
type Sql = Box<dyn Fn(&Source, usize) -> String + Send + Sync>;

/// The rows of a table, whoever added them: PostgreSQL parses the statement once, however many there are.
struct Table {
    name: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
    pieces: Pieces,
    /// The statement for a source, whose parameters come after so many others.
    sql: Sql,
    /// A parameter of the statement after those of the source. Nothing is added to a table that has one.
    last: Option<Value>,
}

/// A statement, with its parameters numbered on from those of the ones before.
struct Part {
    sql: String,
    values: Vec<Value>,
    rows: u64,
}

impl Inserts {
    /// None yet, for `tx`.
    #[must_use]
    pub fn of(tx: &ReadTx) -> Self {
        Self { backend: tx.conn().get_database_backend(), tables: Vec::new() }
    }

    /// Adds `rows`, one after the other, each with the values of `columns` in their order. All rows of a table are inserted
    /// where its first ones stand.
    ///
    /// # Errors
    /// [`StoreError::Database`] if a row has not one value for each column.
    pub fn add<E: EntityTrait>(
        &mut self,
        columns: &[E::Column],
        rows: Vec<Vec<Value>>,
    ) -> Result<(), StoreError> {
        let names = columns.to_vec();
        let sql = move |source: &Source, first: usize| bulk::insertion::<E>(&names, source, first);
        self.push::<E>((columns, None), rows, sql)
    }

    /// Adds `rows`, each of which takes the place of a row with the same `key` whose `until` is at most `now`, if there is
    /// one.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_over<E: EntityTrait>(
        &mut self,
        columns: &[E::Column],
        key: &[E::Column],
        (until, now): (E::Column, i64),
        rows: Vec<Vec<Value>>,
    ) -> Result<(), StoreError> {
        let (names, key) = (columns.to_vec(), key.to_vec());
        // A parameter too: a text that changes with the time would be parsed anew each time.
        let sql = move |source: &Source, first: usize| {
            let insertion = bulk::insertion::<E>(&names, source, first);
            match source {
                Source::Arrays(_) => {
                    let now = format!("${}", first + source.parameters() + 1);
                    format!("{insertion} {}", bulk::replacement::<E>(&names, &key, until, &now))
                }
                // Without the WHERE, SQLite reads ON CONFLICT as part of a join.
                Source::Values(..) => {
                    format!("{insertion} WHERE TRUE {}", bulk::replacement::<E>(&names, &key, until, "?"))
                }
            }
        };
        self.push::<E>((columns, Some(now.into())), rows, sql)
    }

    fn push<E: EntityTrait>(
        &mut self,
        (columns, last): (&[E::Column], Option<Value>),
        rows: Vec<Vec<Value>>,
        sql: impl Fn(&Source, usize) -> String + Send + Sync + 'static,
    ) -> Result<(), StoreError> {
        if rows.iter().any(|row| row.len() != columns.len()) {
            return Err(bulk::unfit());
        }
        let (name, names) = (E::default().table_name(), columns.iter().map(IdenStatic::as_str).collect());
        let same = |table: &&mut Table| table.name == name && table.columns == names && table.last.is_none();
        match self.tables.iter_mut().find(same).filter(|_| last.is_none()) {
            Some(table) => table.rows.extend(rows),
            None => {
                let columns = columns.to_vec();
                let pieces = Box::new(move |backend, rows| bulk::pieces(backend, &columns, rows));
                self.tables.push(Table { name, columns: names, rows, pieces, sql: Box::new(sql), last });
            }
        }
        Ok(())
    }

    fn parts(self) -> Result<Vec<Part>, StoreError> {
        let (mut parts, mut before) = (Vec::new(), 0);
        for table in self.tables {
            for (source, mut values) in (table.pieces)(self.backend, table.rows)? {
                let first = if self.backend == DbBackend::Postgres { before } else { 0 };
                let (sql, rows) = ((table.sql)(&source, first), source.rows(&values));
                values.extend(table.last.clone());
                before += values.len();
                parts.push(Part { sql, values, rows });
            }
        }
        Ok(parts)
    }

    /// Inserts all of them.
    ///
    /// # Errors
    /// [`StoreError::Contended`] if one of them is there by now: return it; [`StoreError::Database`] if a value does not fit
    /// its column; [`StoreError`].
    pub async fn run(self, tx: &Tx) -> Result<(), StoreError> {
        let backend = self.backend;
        let parts = self.parts()?;
        if parts.is_empty() {
            return Ok(());
        }
        let expected: Vec<u64> = parts.iter().map(|part| part.rows).collect();
        let inserted = match backend {
            DbBackend::Postgres => at_once(tx, parts).await,
            _ => one_by_one(tx, parts).await,
        };
        match inserted {
            Ok(inserted) if inserted == expected => Ok(()),
            Ok(_) | Err(StoreError::Duplicate { .. }) => {
                tx.lost_race();
                Err(StoreError::Contended(DatabaseFailure::plain("a concurrent transaction wrote the row")))
            }
            Err(error) => Err(error),
        }
    }
}

/// How many rows each part has inserted.
async fn at_once(tx: &Tx, parts: Vec<Part>) -> Result<Vec<u64>, StoreError> {
    let (mut statements, mut counts, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (at, part) in parts.into_iter().enumerate() {
        statements.push(format!("w{at} AS ({} RETURNING 1)", part.sql));
        counts.push(format!("(SELECT count(*) FROM w{at})"));
        values.extend(part.values);
    }
    let sql = format!("WITH {} SELECT {}", statements.join(", "), counts.join(", "));
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    let Some(row) = tx.conn().query_one_raw(statement).await? else { return Ok(Vec::new()) };
    let count = |at| Ok(row.try_get_by_index::<i64>(at)?.unsigned_abs());
    (0..counts.len()).map(count).collect()
}

async fn one_by_one(tx: &Tx, parts: Vec<Part>) -> Result<Vec<u64>, StoreError> {
    let backend = tx.conn().get_database_backend();
    let mut inserted = Vec::with_capacity(parts.len());
    for part in parts {
        let statement = Statement::from_sql_and_values(backend, part.sql, part.values);
        inserted.push(tx.conn().execute_raw(statement).await?.rows_affected());
    }
    Ok(inserted)
}
