//! What is left of deleted accounts: rows as they are found and written. Earlier versions don't know the table: its rows have
//! digests, whatever the form of others.

use portal_core::Timestamp;
use portal_core::id::{AccountId, Id, SubjectId};
use portal_store::sealed::RowDigests;
use portal_store::{ReadTx, StoreError, Tx};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::Listed;
use super::account_tombstone::{self, Column};
use crate::domain::Tombstone;

/// The table.
pub struct Tombstones {
    digests: RowDigests,
}

impl Tombstones {
    /// The table, stamped and checked with `digests`.
    #[must_use]
    pub const fn new(digests: RowDigests) -> Self {
        Self { digests }
    }

    /// What is left of this account.
    pub async fn find(&self, tx: &ReadTx, account: AccountId) -> Result<Option<Tombstone>, StoreError> {
        let found = account_tombstone::Entity::find_by_id(account.uuid()).one(tx.conn()).await?;
        found.map(|model| self.checked(&model)).transpose()
    }

    /// Adds one.
    pub async fn insert(&self, tx: &Tx, new: &Tombstone) -> Result<(), StoreError> {
        let row = self.stamped(new)?.into_active_model().reset_all();
        account_tombstone::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// Notes that the keys of the person are destroyed. Where that is noted already nothing changes.
    pub async fn erased(&self, tx: &Tx, stone: &Tombstone, now: Timestamp) -> Result<(), StoreError> {
        let model = self.stamped(&Tombstone { erased_at: Some(now), ..*stone })?;
        account_tombstone::Entity::update_many()
            .col_expr(Column::ErasedAt, Expr::value(model.erased_at))
            .col_expr(Column::RowDigest, Expr::value(model.row_digest))
            .filter(Column::AccountId.eq(model.account_id))
            .filter(Column::ErasedAt.is_null())
            .exec(tx.conn())
            .await?;
        Ok(())
    }

    /// Those whose person's keys are still to be destroyed, the next `limit` at most after `after`. Those that are not what was
    /// written are left to the scan: they keep the others from nothing.
    pub async fn unerased(
        &self,
        tx: &ReadTx,
        mut after: Option<AccountId>,
        limit: u64,
    ) -> Result<Vec<Tombstone>, StoreError> {
        let sound = |model: &account_tombstone::Model| match self.checked(model) {
            Err(StoreError::Corrupt { .. }) => None,
            read => Some(read),
        };
        loop {
            let after_it = after.map(|after| Column::AccountId.gt(after.uuid()));
            let waiting = Condition::all().add(Column::ErasedAt.is_null()).add_option(after_it);
            let waiting = account_tombstone::Entity::find().filter(waiting);
            let page = waiting.order_by_asc(Column::AccountId).limit(limit).all(tx.conn()).await?;
            let Some(last) = page.last() else { return Ok(Vec::new()) };
            after = Some(AccountId::from_uuid(last.account_id));
            let stones: Vec<Tombstone> = page.iter().filter_map(sound).collect::<Result<_, _>>()?;
            if !stones.is_empty() {
                return Ok(stones);
            }
        }
    }

    /// `size` of them at most, newest account first, after `after`.
    pub async fn list(
        &self,
        tx: &ReadTx,
        (after, size): (Option<AccountId>, usize),
    ) -> Result<Listed<Tombstone, AccountId>, StoreError> {
        let after = after.map(|after| Column::AccountId.lt(after.uuid()));
        let list = account_tombstone::Entity::find()
            .filter(Condition::all().add_option(after))
            .order_by_desc(Column::AccountId)
            .limit(size as u64 + 1);
        let place = |model: &account_tombstone::Model| AccountId::from_uuid(model.account_id);
        Listed::new(list.all(tx.conn()).await?, size, place, |model| self.checked(&model))
    }

    /// The tombstone in `model`, if that is what was written.
    pub(crate) fn checked(&self, model: &account_tombstone::Model) -> Result<Tombstone, StoreError> {
        self.digests.check(model)?;
        Ok(Tombstone {
            account: AccountId::from_uuid(model.account_id),
            subject: SubjectId::from_uuid(model.subject_id),
            created_at: Timestamp::from_micros(model.created_at),
            deleted_at: Timestamp::from_micros(model.deleted_at),
            erased_at: model.erased_at.map(Timestamp::from_micros),
        })
    }

    fn stamped(&self, stone: &Tombstone) -> Result<account_tombstone::Model, StoreError> {
        let mut model = account_tombstone::Model {
            account_id: stone.account.uuid(),
            subject_id: stone.subject.uuid(),
            created_at: stone.created_at.as_micros(),
            deleted_at: stone.deleted_at.as_micros(),
            erased_at: stone.erased_at.map(Timestamp::as_micros),
            row_digest: None,
        };
        self.digests.stamp(&mut model)?;
        Ok(model)
    }
}
