//! The feed of revocations.
//!
//! Invariant: places are given out without gaps and in the order of commits. Whoever appends first updates the one row
//! that holds the last place; its lock is kept until the commit, so the next place is given out only after the last
//! one can be read, or was never given. A reader that has seen a place has seen all before it.

use portal_core::Timestamp;
use portal_store::{Corruption, ReadTx, StoreError, Tx};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::revocation::{self, Column};
use super::{revocation_head, rows};
use crate::domain::{Revocation, Target};

const HEAD: i64 = 1;

/// Appends `targets`, in the transaction that revokes them.
pub async fn append(tx: &Tx, targets: &[Target], now: Timestamp) -> Result<(), StoreError> {
    if targets.is_empty() {
        return Ok(());
    }
    let count = i64::try_from(targets.len()).unwrap_or(i64::MAX);
    let done = revocation_head::Entity::update_many()
        .col_expr(revocation_head::Column::Position, Expr::col(revocation_head::Column::Position).add(count))
        .filter(revocation_head::Column::Id.eq(HEAD))
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, done.rows_affected)?;
    let first = head(tx).await? - count + 1;
    let row = |(position, target): (i64, &Target)| {
        rows::from_revocation(&Revocation { position, at: now, target: *target })
    };
    let rows: Vec<_> = (first..).zip(targets).map(row).collect();
    // A database takes only so many values in one statement.
    for chunk in rows.chunks(500) {
        revocation::Entity::insert_many(chunk.to_vec()).exec_without_returning(tx.conn()).await?;
    }
    Ok(())
}

/// The last place that was given out; 0 if none was.
pub async fn head(tx: &ReadTx) -> Result<i64, StoreError> {
    let row = revocation_head::Entity::find_by_id(HEAD).one(tx.conn()).await?;
    let missing = || StoreError::Corrupt {
        table: "revocation_head",
        column: "id",
        row: HEAD.to_string(),
        cause: Corruption::ValueInvalid,
    };
    Ok(row.ok_or_else(missing)?.position)
}

/// Up to `limit` entries after `position`, in order.
pub async fn after(tx: &ReadTx, position: i64, limit: u64) -> Result<Vec<Revocation>, StoreError> {
    let list = revocation::Entity::find()
        .filter(Column::Position.gt(position))
        .order_by_asc(Column::Position)
        .limit(limit)
        .all(tx.conn())
        .await?;
    list.iter().map(rows::to_revocation).collect()
}

/// Forgets entries from before `before`, and says how many.
pub async fn purge(tx: &Tx, before: Timestamp) -> Result<u64, StoreError> {
    let old = Column::RevokedAt.lt(before.as_micros());
    Ok(revocation::Entity::delete_many().filter(old).exec(tx.conn()).await?.rows_affected)
}
