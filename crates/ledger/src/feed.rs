//! The order of the ledger, for those who follow what happens: what is committed is either pending or has a position, so
//! one transaction that looks at both misses nothing.

use std::collections::HashMap;

use portal_core::Timestamp;
use portal_store::{ReadTx, StoreError};
use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, QuerySelect};

use crate::entity::{entry, pending};
use crate::rows::{commitment, head, kind, position, signed};
use crate::{Commitment, Kind};

/// An entry that has its position, which never changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Where it is, from 0.
    pub position: u64,
    /// What it is about.
    pub kind: Kind,
    /// Which record it is about.
    pub reference: Uuid,
}

/// The number of entries that have a position.
///
/// # Errors
/// [`StoreError`].
pub async fn size(tx: &ReadTx) -> Result<u64, StoreError> {
    position("ledger_head", "size", head(tx).await?.size)
}

/// Entries from position `from` on, `limit` at most, in their order.
///
/// # Errors
/// [`StoreError`].
pub async fn entries(tx: &ReadTx, from: u64, limit: u64) -> Result<Vec<Entry>, StoreError> {
    let rows: Vec<(i64, i64, Uuid)> = entry::Entity::find()
        .select_only()
        .columns([entry::Column::Position, entry::Column::Kind, entry::Column::Reference])
        .filter(entry::Column::Position.gte(signed(from)?))
        .order_by_asc(entry::Column::Position)
        .limit(limit)
        .into_tuple()
        .all(tx.conn())
        .await?;
    let read = |(at, of, reference)| {
        Ok(Entry { position: position("ledger_entry", "position", at)?, kind: kind(at, of)?, reference })
    };
    rows.into_iter().map(read).collect()
}

/// What has no position yet, in the order in which it will get one: what began after another was committed comes after it.
///
/// # Errors
/// [`StoreError`].
pub async fn pending(tx: &ReadTx) -> Result<Vec<(Kind, Uuid)>, StoreError> {
    let rows: Vec<(i64, i64, Uuid)> = pending::Entity::find()
        .select_only()
        .columns([pending::Column::Sequence, pending::Column::Kind, pending::Column::Reference])
        .order_by_asc(pending::Column::Sequence)
        .into_tuple()
        .all(tx.conn())
        .await?;
    rows.into_iter().map(|(at, of, reference)| Ok((kind(at, of)?, reference))).collect()
}

/// The positions of those of `references` that have one.
///
/// # Errors
/// [`StoreError`].
pub async fn positions(tx: &ReadTx, of: Kind, references: &[Uuid]) -> Result<HashMap<Uuid, u64>, StoreError> {
    if references.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, i64)> = entry::Entity::find()
        .select_only()
        .columns([entry::Column::Reference, entry::Column::Position])
        .filter(entry::Column::Reference.is_in(references.iter().copied()))
        .filter(entry::Column::Kind.eq(i64::from(of.0)))
        .into_tuple()
        .all(tx.conn())
        .await?;
    rows.into_iter()
        .map(|(reference, at)| Ok((reference, position("ledger_entry", "position", at)?)))
        .collect()
}

/// What `references` are committed to by, whether it has a position yet or not.
///
/// # Errors
/// [`StoreError`].
pub async fn commitments(
    tx: &ReadTx,
    of: Kind,
    references: &[Uuid],
) -> Result<HashMap<Uuid, Vec<Commitment>>, StoreError> {
    let mut found: HashMap<Uuid, Vec<Commitment>> = HashMap::new();
    if references.is_empty() {
        return Ok(found);
    }
    let placed: Vec<(Uuid, i64, Vec<u8>)> = entry::Entity::find()
        .select_only()
        .columns([entry::Column::Reference, entry::Column::Position, entry::Column::Commitment])
        .filter(entry::Column::Reference.is_in(references.iter().copied()))
        .filter(entry::Column::Kind.eq(i64::from(of.0)))
        .into_tuple()
        .all(tx.conn())
        .await?;
    let waiting: Vec<(Uuid, i64, Vec<u8>)> = pending::Entity::find()
        .select_only()
        .columns([pending::Column::Reference, pending::Column::Sequence, pending::Column::Commitment])
        .filter(pending::Column::Reference.is_in(references.iter().copied()))
        .filter(pending::Column::Kind.eq(i64::from(of.0)))
        .into_tuple()
        .all(tx.conn())
        .await?;
    let placed = placed.into_iter().map(|row| ("ledger_entry", row));
    let waiting = waiting.into_iter().map(|row| ("ledger_pending", row));
    for (table, (reference, row, bytes)) in placed.chain(waiting) {
        found.entry(reference).or_default().push(commitment(table, row, &bytes)?);
    }
    Ok(found)
}

/// When the first entry of a kind was appended, if there is one.
///
/// # Errors
/// [`StoreError`].
pub async fn since(tx: &ReadTx, of: Kind) -> Result<Option<Timestamp>, StoreError> {
    let kind = i64::from(of.0);
    let placed = entry::Entity::find()
        .select_only()
        .column(entry::Column::RecordedAt)
        .filter(entry::Column::Kind.eq(kind))
        .order_by_asc(entry::Column::Position)
        .limit(1)
        .into_tuple();
    let placed: Option<i64> = placed.one(tx.conn()).await?;
    let waiting = pending::Entity::find()
        .select_only()
        .column(pending::Column::RecordedAt)
        .filter(pending::Column::Kind.eq(kind))
        .order_by_asc(pending::Column::Sequence)
        .limit(1)
        .into_tuple();
    let waiting: Option<i64> = waiting.one(tx.conn()).await?;
    Ok(placed.or(waiting).map(Timestamp::from_micros))
}
