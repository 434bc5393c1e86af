//! The repository: what is kept, and how it is found again. Functions over a transaction that the caller began.
//!
//! Invariants: what belongs to a controller is only ever looked up together with its owner; records are visible once
//! their append has a revision, values once their valuation has succeeded, each by one row that a transaction changes.
//! What is personal is sealed under the key of the person it is about. Functions are given the keys: nothing waits for
//! one in a transaction, but for the [data migration](moving). A row that is not what was written is a typed error; in
//! a list it is left out and counted.

mod cells;
mod digests;
mod entity;
mod rows;
mod seals;

pub mod appends;
pub mod datasets;
pub mod moving;
pub mod results;
pub mod scanned;
pub mod valuations;

use portal_store::StoreError;

pub(crate) use rows::failure_name;
pub use seals::{Reading, Seals, Writing};

/// A row of a list by its place in it: `None` if it is left out, since it is corrupt or its person was erased.
pub type Listed<P, T> = (P, Option<T>);

/// What was read, unless its row is corrupt, which is logged.
fn sound<T>(row: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match row {
        Ok(row) => Ok(Some(row)),
        Err(error @ StoreError::Corrupt { .. }) => {
            tracing::error!(%error, "a corrupt row is left out");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Rows of one INSERT: SQLite takes at most 32,766 bound values a statement.
const ROWS: usize = 1_000;

/// A length as a column holds it.
fn integer(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
