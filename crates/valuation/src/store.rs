//! The repository: what is kept, and how it is found again. Functions over a transaction that the caller began.
//!
//! Invariants: what belongs to a controller is only ever looked up together with its owner; records are visible once
//! their append has a revision, values once their valuation has succeeded, each by one row that a transaction changes.

mod entity;
mod rows;

pub mod appends;
pub mod datasets;
pub mod results;
pub mod valuations;

/// Rows of one INSERT: SQLite takes at most 32,766 bound values a statement.
const ROWS: usize = 1_000;

/// A length as a column holds it.
fn integer(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
