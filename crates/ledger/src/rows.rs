//! What rows hold, checked.

use portal_crypto::hash::Sha256;
use portal_store::{Corruption, ReadTx, StoreError};
use sea_orm::entity::prelude::*;

use crate::Kind;
use crate::entity::head;
use crate::leaf::Commitment;
use crate::schema::HEAD;

pub(crate) async fn head(tx: &ReadTx) -> Result<head::Model, StoreError> {
    let found = head::Entity::find_by_id(HEAD).one(tx.conn()).await?;
    found.ok_or_else(|| corrupt("ledger_head", "id", HEAD))
}

/// Positions and sizes are `bigint` in both databases.
pub(crate) fn position(table: &'static str, column: &'static str, at: i64) -> Result<u64, StoreError> {
    u64::try_from(at).map_err(|_| corrupt(table, column, at))
}

pub(crate) fn signed(position: u64) -> Result<i64, StoreError> {
    i64::try_from(position).map_err(|_| corrupt("ledger_entry", "position", i64::MAX))
}

pub(crate) fn kind(row: i64, kind: i64) -> Result<Kind, StoreError> {
    u8::try_from(kind).map(Kind).map_err(|_| corrupt("ledger_entry", "kind", row))
}

pub(crate) fn commitment(table: &'static str, row: i64, bytes: &[u8]) -> Result<Commitment, StoreError> {
    let bytes = Sha256::try_from(bytes).map_err(|_| corrupt(table, "commitment", row))?;
    Ok(Commitment::from_bytes(bytes))
}

/// The column by which a leaf hash is found.
pub(crate) fn lookup(leaf: &Sha256) -> i64 {
    let [first @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *leaf;
    i64::from_be_bytes(first)
}

pub(crate) fn corrupt(table: &'static str, column: &'static str, row: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { table, column, row: row.to_string(), cause: Corruption::LedgerMismatch }
}
