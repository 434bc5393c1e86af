//! Datasets, always looked up with their owner.

use portal_core::id::{AccountId, DatasetId, Id, PurposeId};
use portal_store::{ReadTx, StoreError, Tx};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::entity::dataset::{ActiveModel, Column, Entity};
use crate::domain::dataset::Dataset;

/// Keeps a new dataset.
pub async fn insert(tx: &Tx, dataset: &Dataset) -> Result<(), StoreError> {
    Entity::insert(ActiveModel::from(dataset)).exec_without_returning(tx.conn()).await?;
    Ok(())
}

/// The dataset, if `owner` has it.
pub async fn find(tx: &ReadTx, id: DatasetId, owner: AccountId) -> Result<Option<Dataset>, StoreError> {
    let row = Entity::find_by_id(id.uuid()).filter(Column::Owner.eq(owner.uuid())).one(tx.conn()).await?;
    row.map(Dataset::try_from).transpose()
}

/// Which datasets a list holds.
pub struct Filter {
    /// Whose.
    pub owner: AccountId,
    /// With this purpose only.
    pub purpose: Option<PurposeId>,
}

/// The owner's datasets, newest first, from the one after `after` on.
pub async fn list(
    tx: &ReadTx,
    filter: &Filter,
    after: Option<DatasetId>,
    limit: u64,
) -> Result<Vec<Dataset>, StoreError> {
    let mut query = Entity::find().filter(Column::Owner.eq(filter.owner.uuid()));
    if let Some(purpose) = filter.purpose {
        query = query.filter(Column::PurposeId.eq(purpose.uuid()));
    }
    if let Some(after) = after {
        query = query.filter(Column::Id.lt(after.uuid()));
    }
    let rows = query.order_by_desc(Column::Id).limit(limit).all(tx.conn()).await?;
    rows.into_iter().map(Dataset::try_from).collect()
}

/// Replaces the revision before `dataset`'s by it.
pub async fn advance(tx: &Tx, dataset: &Dataset) -> Result<(), StoreError> {
    let before = dataset.revision.saturating_sub(1);
    let changed = Entity::update_many()
        .set(ActiveModel::from(dataset))
        .filter(Column::Id.eq(dataset.id.uuid()))
        .filter(Column::Revision.eq(before))
        .exec(tx.conn())
        .await?;
    StoreError::check_rows(1, changed.rows_affected)
}
