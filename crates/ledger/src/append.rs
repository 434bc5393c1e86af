//! Appending, in the caller's transaction.

use portal_core::Timestamp;
use portal_store::{Inserts, StoreError, Tx};
use sea_orm::entity::prelude::*;

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

/// All but the number, which the database gives.
const COLUMNS: [pending::Column; 4] = [
    pending::Column::Kind,
    pending::Column::Reference,
    pending::Column::Commitment,
    pending::Column::RecordedAt,
];

/// Appends an entry: it is in the ledger if and only if the transaction is committed, and gets its position soon after.
/// Transactions that append do not wait for each other.
///
/// # Errors
/// [`StoreError`]; return it, so that the transaction is rolled back.
pub async fn append(tx: &Tx, entry: Append, now: Timestamp) -> Result<(), StoreError> {
    let mut inserts = Inserts::of(tx);
    append_many(&mut inserts, &[entry], now)?;
    inserts.run(tx).await
}

/// Appends several entries, in their order, with what else is inserted.
///
/// # Errors
/// As [`append`].
pub fn append_many(inserts: &mut Inserts, entries: &[Append], now: Timestamp) -> Result<(), StoreError> {
    let values = |entry: &Append| {
        vec![
            i64::from(entry.kind.0).into(),
            entry.reference.into(),
            entry.commitment.as_bytes().to_vec().into(),
            now.as_micros().into(),
        ]
    };
    inserts.add::<pending::Entity>(&COLUMNS, entries.iter().map(values).collect())
}
