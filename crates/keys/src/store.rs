//! The rows of the key database: read, written, counted. Nothing here opens a key.
//!
//! Invariants: every query names the tenant; a number that is no state, a record that is missing where one must be, a
//! broken shred ledger are typed errors; all of a change stands in the caller's transaction.
//!
//! | module | holds |
//! |---|---|
//! | [`head`] | whose database it is; the revision that replicas follow |
//! | [`epochs`], [`secrets`], [`subjects`] | the three kinds of sealed keys |
//! | [`shreds`] | the shred ledger |
//! | [`events`] | what happened, for auditors |
//! | [`milestones`] | what happened to the data for good |

mod entity;
pub(crate) mod epochs;
pub(crate) mod events;
pub(crate) mod head;
pub(crate) mod migration;
pub(crate) mod milestones;
pub(crate) mod secrets;
pub(crate) mod shreds;
pub(crate) mod state;
pub(crate) mod subjects;

use portal_core::Timestamp;
use portal_store::{Corruption, ReadTx, StoreError};
use sea_orm::sea_query::{ExprTrait, PgFunc, SimpleExpr, Value};
use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend};

/// A number of the database as one of ours.
fn unsigned(value: i64, table: &'static str, column: &'static str) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| corrupt(table, column, value))
}

/// One of our numbers as the database's.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn time(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(Timestamp::from_micros)
}

/// Whether `column` is one of `values`. PostgreSQL takes them as one array, so that the statement is the same for every
/// number of them and is prepared once.
fn any<C, V>(tx: &ReadTx, column: C, values: Vec<V>) -> SimpleExpr
where
    C: ColumnTrait,
    V: Into<Value>,
    Vec<V>: Into<Value>,
{
    match tx.conn().get_database_backend() {
        DbBackend::Postgres => column.into_expr().eq(PgFunc::any::<Value>(values.into())),
        _ => column.is_in(values),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "ids are passed as they are: a reference would say nothing"
)]
fn corrupt(table: &'static str, column: &'static str, row: impl ToString) -> StoreError {
    StoreError::Corrupt { table, column, row: row.to_string(), cause: Corruption::ValueInvalid }
}
