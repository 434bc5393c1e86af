//! Sign-ins that failed: rows as they are found and written. Earlier versions don't know the table: whatever the form of other
//! rows, these have digests.

use portal_core::Timestamp;
use portal_store::sealed::{DigestedRow, RowDigests};
use portal_store::{Corruption, ReadTx, StoreError, Tx};
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};

use super::rows;
use super::sign_in_failure::{self, Column};
use crate::domain::Failures;

/// A keyed hash of an e-mail address.
pub type AddressHash = [u8; 32];

/// The table.
pub struct SignInFailures {
    digests: RowDigests,
}

impl SignInFailures {
    /// The table, stamped and checked with `digests`.
    #[must_use]
    pub const fn new(digests: RowDigests) -> Self {
        Self { digests }
    }

    /// What failed for this address since the last success.
    pub async fn find(&self, tx: &ReadTx, address: &AddressHash) -> Result<Option<Failures>, StoreError> {
        let model = sign_in_failure::Entity::find_by_id(address.to_vec()).one(tx.conn()).await?;
        model.map(|model| self.checked(&model)).transpose()
    }

    /// Writes `after` over what was found before.
    pub async fn put(
        &self,
        tx: &Tx,
        address: &AddressHash,
        (before, after): (Option<&Failures>, &Failures),
    ) -> Result<(), StoreError> {
        let mut model = sign_in_failure::Model {
            address_hash: address.to_vec(),
            count: after.count.into(),
            last_at: after.last_at.as_micros(),
            locked_until: after.locked_until.map(Timestamp::as_micros),
            row_digest: None,
        };
        self.digests.stamp(&mut model)?;
        let Some(before) = before else {
            let row = model.into_active_model().reset_all();
            // One that is there by now makes the transaction run again.
            sign_in_failure::Entity::insert(row).exec_without_returning(tx.conn()).await?;
            return Ok(());
        };
        let done = sign_in_failure::Entity::update_many()
            .col_expr(Column::Count, Expr::value(model.count))
            .col_expr(Column::LastAt, Expr::value(model.last_at))
            .col_expr(Column::LockedUntil, Expr::value(model.locked_until))
            .col_expr(Column::RowDigest, Expr::value(model.row_digest))
            .filter(Column::AddressHash.eq(model.address_hash))
            .filter(Column::Count.eq(i64::from(before.count)))
            .exec(tx.conn())
            .await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// Forgets what failed for this address.
    pub async fn clear(&self, tx: &Tx, address: &AddressHash) -> Result<(), StoreError> {
        sign_in_failure::Entity::delete_by_id(address.to_vec()).exec(tx.conn()).await?;
        Ok(())
    }

    /// The failures in `model`, if that is what was written.
    pub(crate) fn checked(&self, model: &sign_in_failure::Model) -> Result<Failures, StoreError> {
        self.digests.check(model)?;
        let row = || Uuid::from_bytes(model.row().id);
        let invalid = |_| rows::corrupt("sign_in_failure", "count", &row(), Corruption::ValueInvalid);
        let count = u32::try_from(model.count).map_err(invalid)?;
        Ok(Failures {
            count,
            last_at: Timestamp::from_micros(model.last_at),
            locked_until: model.locked_until.map(Timestamp::from_micros),
        })
    }
}

/// Forgets what failed last before `then`, and says of how many addresses.
pub async fn purge(tx: &Tx, then: Timestamp) -> Result<u64, StoreError> {
    let old = Column::LastAt.lte(then.as_micros());
    Ok(sign_in_failure::Entity::delete_many().filter(old).exec(tx.conn()).await?.rows_affected)
}
