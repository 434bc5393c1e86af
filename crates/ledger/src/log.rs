//! Appending, and proving what was appended.

use portal_core::Timestamp;
use portal_crypto::hash::Sha256;
use portal_crypto::merkle::{CompactRange, TreeHead, proof};
use portal_store::{Corruption, ReadTx, StoreError, Tx};
use sea_orm::entity::prelude::*;
use sea_orm::{ActiveValue::Set, QueryOrder, QuerySelect};

use crate::entity::{entry, head};
use crate::leaf::{Commitment, Leaf, Salt};

/// The id of the only row of the head table.
pub(crate) const HEAD: i64 = 1;

/// A leaf in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Where it is, from 0.
    pub position: u64,
    /// What the log keeps of it.
    pub commitment: Commitment,
}

/// Shows that a leaf is in the tree with `head`: checked by [`portal_crypto::merkle::proof::verify_inclusion`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inclusion {
    /// The leaf.
    pub entry: Entry,
    /// The tree.
    pub head: TreeHead,
    /// The sibling hashes, from the leaf upwards.
    pub path: Vec<Sha256>,
}

/// Appends `leaf` at the next position, in the caller's transaction.
///
/// # Errors
/// [`StoreError`]; return it, so that the transaction is rolled back, and run again if another one was faster.
pub async fn append(tx: &Tx, leaf: Leaf<'_>, salt: &Salt, now: Timestamp) -> Result<Entry, StoreError> {
    let mut range = range(tx).await?;
    let position = signed(range.size())?;
    let entry = Entry { position: range.size(), commitment: Commitment::of(leaf, salt) };
    range.append(entry.commitment.leaf_hash());
    let row = entry::ActiveModel {
        position: Set(position),
        commitment: Set(entry.commitment.as_bytes().to_vec()),
        salt: Set(Some(salt.expose().to_vec())),
        recorded_at: Set(now.as_micros()),
    };
    // The head first: of two transactions that append at once, the slower one fails here in a way that is run again,
    // and not on the entry's key, which would look like an error.
    let moved = head::Entity::update_many()
        .col_expr(head::Column::Size, Expr::value(signed(range.size())?))
        .col_expr(head::Column::Peaks, Expr::value(range.peaks().concat()))
        .filter(head::Column::Id.eq(HEAD))
        .filter(head::Column::Size.eq(position))
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, moved.rows_affected)?;
    entry::Entity::insert(row).exec_without_returning(tx.conn()).await?;
    Ok(entry)
}

/// The size and root of the tree.
///
/// # Errors
/// [`StoreError`].
pub async fn head(tx: &ReadTx) -> Result<TreeHead, StoreError> {
    Ok(range(tx).await?.head())
}

/// The proof that the leaf at `position` is in the tree as it is now; `None` if there is no such leaf. Reads all leaves.
///
/// # Errors
/// [`StoreError::Corrupt`] if the leaves are not those that the head was made of.
pub async fn prove_inclusion(tx: &ReadTx, position: u64) -> Result<Option<Inclusion>, StoreError> {
    let head = head(tx).await?;
    let commitments = commitments(tx).await?;
    let leaves: Vec<Sha256> = commitments.iter().map(Commitment::leaf_hash).collect();
    if TreeHead::of(&leaves) != head {
        return Err(corrupt("ledger_head", "peaks", HEAD));
    }
    let index = usize::try_from(position).unwrap_or(usize::MAX);
    let found = commitments.get(index).copied().zip(proof::inclusion_proof(&leaves, index));
    Ok(found.map(|(commitment, path)| Inclusion { entry: Entry { position, commitment }, head, path }))
}

/// Erases the salt of the leaf at `position`: nobody can tell any more what it commits to, and the tree stays.
///
/// # Errors
/// [`StoreError::RowsAffected`] if there is no such leaf.
pub async fn forget_salt(tx: &Tx, position: u64) -> Result<(), StoreError> {
    let erased = entry::Entity::update_many()
        .col_expr(entry::Column::Salt, Expr::value(None::<Vec<u8>>))
        .filter(entry::Column::Position.eq(signed(position)?))
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, erased.rows_affected)
}

async fn range(tx: &ReadTx) -> Result<CompactRange, StoreError> {
    let found = head::Entity::find_by_id(HEAD).one(tx.conn()).await?;
    let row = found.ok_or_else(|| corrupt("ledger_head", "id", HEAD))?;
    let size = u64::try_from(row.size).map_err(|_| corrupt("ledger_head", "size", HEAD))?;
    let (peaks, rest) = row.peaks.as_chunks::<32>();
    let range = CompactRange::from_parts(size, peaks.to_vec()).filter(|_| rest.is_empty());
    range.ok_or_else(|| corrupt("ledger_head", "peaks", HEAD))
}

async fn commitments(tx: &ReadTx) -> Result<Vec<Commitment>, StoreError> {
    let rows: Vec<(i64, Vec<u8>)> = entry::Entity::find()
        .select_only()
        .columns([entry::Column::Position, entry::Column::Commitment])
        .order_by_asc(entry::Column::Position)
        .into_tuple()
        .all(tx.conn())
        .await?;
    let parse = |(expected, (position, bytes)): (i64, (i64, Vec<u8>))| {
        if position != expected {
            return Err(corrupt("ledger_entry", "position", position));
        }
        let bytes = Sha256::try_from(bytes).map_err(|_| corrupt("ledger_entry", "commitment", position))?;
        Ok(Commitment::from_bytes(bytes))
    };
    (0..).zip(rows).map(parse).collect()
}

/// Positions are `bigint` in both databases.
fn signed(position: u64) -> Result<i64, StoreError> {
    i64::try_from(position).map_err(|_| corrupt("ledger_entry", "position", i64::MAX))
}

fn corrupt(table: &'static str, column: &'static str, row: i64) -> StoreError {
    StoreError::Corrupt { table, column, row: row.to_string(), cause: Corruption::LedgerMismatch }
}
