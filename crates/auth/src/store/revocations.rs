//! The feed of revocations.
//!
//! Invariant: places are given out without gaps and in the order of commits. Whoever appends first updates the one row
//! that holds the last place; its lock is kept until the commit, so the next place is given out only after the last
//! one can be read, or was never given. A reader that has seen a place has seen all before it.
//!
//! An entry that is not what was written is never passed over: whoever reads the feed learns that it is corrupt, and
//! trusts nothing.

use portal_core::Timestamp;
use portal_store::{Corruption, ReadTx, StoreError, Tx};
use portal_upkeep::migration::Mode;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
};

use super::revocation::{self, Column};
use super::{Seals, revocation_head, rows};
use crate::domain::{Revocation, Target};

const HEAD: i64 = 1;

/// The table.
pub struct Revocations {
    seals: Seals,
}

impl Revocations {
    /// The table, checked with `seals`.
    #[must_use]
    pub const fn new(seals: Seals) -> Self {
        Self { seals }
    }

    /// Appends `targets`, in the transaction that revokes them.
    pub async fn append(&self, tx: &Tx, targets: &[Target], now: Timestamp) -> Result<(), StoreError> {
        if targets.is_empty() {
            return Ok(());
        }
        let mode = self.seals.mode(tx).await?;
        let count = i64::try_from(targets.len()).unwrap_or(i64::MAX);
        let done = revocation_head::Entity::update_many()
            .col_expr(
                revocation_head::Column::Position,
                Expr::col(revocation_head::Column::Position).add(count),
            )
            .filter(revocation_head::Column::Id.eq(HEAD))
            .exec(tx.conn())
            .await?;
        StoreError::check_rows(1, done.rows_affected)?;
        let first = head(tx).await? - count + 1;
        let row = |(position, target): (i64, &Target)| {
            let mut row = rows::from_revocation(&Revocation { position, at: now, target: *target });
            if mode != Mode::Old {
                self.seals.digests.stamp(&mut row)?;
            }
            Ok(row.into_active_model().reset_all())
        };
        let rows: Vec<revocation::ActiveModel> =
            (first..).zip(targets).map(row).collect::<Result<_, StoreError>>()?;
        // A database takes only so many values in one statement.
        for chunk in rows.chunks(500) {
            revocation::Entity::insert_many(chunk.to_vec()).exec_without_returning(tx.conn()).await?;
        }
        Ok(())
    }

    /// Up to `limit` entries after `position`, in order.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if one of them is not what was written.
    pub async fn after(&self, tx: &ReadTx, position: i64, limit: u64) -> Result<Vec<Revocation>, StoreError> {
        let mode = self.seals.mode(tx).await?;
        let list = revocation::Entity::find()
            .filter(Column::Position.gt(position))
            .order_by_asc(Column::Position)
            .limit(limit)
            .all(tx.conn())
            .await?;
        list.iter().map(|model| self.checked(model, mode)).collect()
    }

    /// The entry in `model`, checked against its digest once nobody writes entries without one.
    pub(crate) fn checked(&self, model: &revocation::Model, mode: Mode) -> Result<Revocation, StoreError> {
        match mode {
            Mode::Old | Mode::Both => {}
            Mode::New => self.seals.digests.check(model)?,
        }
        rows::to_revocation(model)
    }
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

/// Forgets entries from before `before`, and says how many.
pub async fn purge(tx: &Tx, before: Timestamp) -> Result<u64, StoreError> {
    let old = Column::RevokedAt.lt(before.as_micros());
    Ok(revocation::Entity::delete_many().filter(old).exec(tx.conn()).await?.rows_affected)
}
