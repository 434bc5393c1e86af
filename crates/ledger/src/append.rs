//! Appending, in the caller's transaction.

use portal_core::Timestamp;
use portal_store::{StoreError, Tx};
use sea_orm::entity::prelude::*;
use sea_orm::{ActiveValue, ActiveValue::Set};

use crate::entity::pending;
use crate::leaf::Commitment;

/// What an entry is about. Each service numbers its own kinds, and never gives a number to another one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Kind(pub u8);

/// What is appended.
#[derive(Clone, Copy, Debug)]
pub struct Append {
    /// What it is about.
    pub kind: Kind,
    /// The record it is about, in the service's own tables: no two entries of a kind have the same. Not published.
    pub reference: Uuid,
    /// What is published.
    pub commitment: Commitment,
}

/// Rows per statement: PostgreSQL takes 65,535 values, SQLite 32,766.
const ROWS: usize = 4_000;

/// Appends an entry: it is in the ledger if and only if the transaction is committed, and gets its position soon after.
/// Transactions that append do not wait for each other.
///
/// # Errors
/// [`StoreError`]; return it, so that the transaction is rolled back.
pub async fn append(tx: &Tx, entry: Append, now: Timestamp) -> Result<(), StoreError> {
    append_many(tx, &[entry], now).await
}

/// Appends several entries, in their order.
///
/// # Errors
/// As [`append`].
pub async fn append_many(tx: &Tx, entries: &[Append], now: Timestamp) -> Result<(), StoreError> {
    for entries in entries.chunks(ROWS) {
        let rows = entries.iter().map(|entry| pending::ActiveModel {
            sequence: ActiveValue::NotSet,
            kind: Set(entry.kind.0.into()),
            reference: Set(entry.reference),
            commitment: Set(entry.commitment.as_bytes().to_vec()),
            recorded_at: Set(now.as_micros()),
        });
        pending::Entity::insert_many(rows).exec_without_returning(tx.conn()).await?;
    }
    Ok(())
}
