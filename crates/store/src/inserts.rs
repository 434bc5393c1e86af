//! Rows of several tables that are inserted together: one exchange with PostgreSQL, where each table would take one.

use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, Statement, Value};

use crate::bulk::{self, Source};
use crate::{DatabaseFailure, ReadTx, StoreError, Tx};

/// Rows that are to be inserted, and that this transaction has not found: one that is there by now was written by a
/// concurrent transaction, and this one is run again.
pub struct Inserts {
    backend: DbBackend,
    parts: Vec<Part>,
}

/// The rows of a table.
struct Part {
    /// With its parameters numbered on from those of the parts before.
    sql: String,
    values: Vec<Value>,
    rows: u64,
}

impl Inserts {
    /// None yet, for `tx`.
    #[must_use]
    pub fn of(tx: &ReadTx) -> Self {
        Self { backend: tx.conn().get_database_backend(), parts: Vec::new() }
    }

    /// Adds `rows`, one after the other, each with the values of `columns` in their order.
    ///
    /// # Errors
    /// [`StoreError::Database`] if a value does not fit its column.
    pub fn add<E: EntityTrait>(
        &mut self,
        columns: &[E::Column],
        rows: Vec<Vec<Value>>,
    ) -> Result<(), StoreError> {
        self.push(columns, rows, None, |source, first| bulk::insertion::<E>(columns, source, first))
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
        // A parameter too: a text that changes with the time would be parsed anew each time.
        self.push(columns, rows, Some(&now.into()), |source, first| {
            let insertion = bulk::insertion::<E>(columns, source, first);
            match source {
                Source::Arrays(_) => {
                    let now = format!("${}", first + source.parameters() + 1);
                    format!("{insertion} {}", bulk::replacement::<E>(columns, key, until, &now))
                }
                // Without the WHERE, SQLite reads ON CONFLICT as part of a join.
                Source::Values(..) => {
                    format!("{insertion} WHERE TRUE {}", bulk::replacement::<E>(columns, key, until, "?"))
                }
            }
        })
    }

    fn push<C: ColumnTrait>(
        &mut self,
        columns: &[C],
        rows: Vec<Vec<Value>>,
        last: Option<&Value>,
        sql: impl Fn(&Source, usize) -> String,
    ) -> Result<(), StoreError> {
        for (source, mut values) in bulk::pieces(self.backend, columns, rows)? {
            let before = || self.parts.iter().map(|part| part.values.len()).sum();
            let first = if self.backend == DbBackend::Postgres { before() } else { 0 };
            let (sql, rows) = (sql(&source, first), source.rows(&values));
            values.extend(last.cloned());
            self.parts.push(Part { sql, rows, values });
        }
        Ok(())
    }

    /// Inserts all of them.
    ///
    /// # Errors
    /// [`StoreError::Contended`] if one of them is there by now: return it; [`StoreError`].
    pub async fn run(self, tx: &Tx) -> Result<(), StoreError> {
        if self.parts.is_empty() {
            return Ok(());
        }
        let expected: Vec<u64> = self.parts.iter().map(|part| part.rows).collect();
        let inserted = match self.backend {
            DbBackend::Postgres => self.at_once(tx).await,
            _ => self.one_by_one(tx).await,
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

    /// How many rows each part has inserted.
    async fn at_once(self, tx: &Tx) -> Result<Vec<u64>, StoreError> {
        let (mut parts, mut counts, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (at, part) in self.parts.into_iter().enumerate() {
            parts.push(format!("w{at} AS ({} RETURNING 1)", part.sql));
            counts.push(format!("(SELECT count(*) FROM w{at})"));
            values.extend(part.values);
        }
        let sql = format!("WITH {} SELECT {}", parts.join(", "), counts.join(", "));
        let statement = Statement::from_sql_and_values(self.backend, sql, values);
        let Some(row) = tx.conn().query_one_raw(statement).await? else { return Ok(Vec::new()) };
        let count = |at| Ok(row.try_get_by_index::<i64>(at)?.unsigned_abs());
        (0..counts.len()).map(count).collect()
    }

    async fn one_by_one(self, tx: &Tx) -> Result<Vec<u64>, StoreError> {
        let mut inserted = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            let statement = Statement::from_sql_and_values(self.backend, part.sql, part.values);
            inserted.push(tx.conn().execute_raw(statement).await?.rows_affected());
        }
        Ok(inserted)
    }
}
