//! Datasets, always looked up with their owner.

use portal_core::id::{AccountId, DatasetId, Id, PurposeId};
use portal_store::StoreError;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::entity::dataset::{ActiveModel, Column, Entity, Model};
use super::{Listed, Reading, Writing, sound};
use crate::domain::dataset::Dataset;

/// Keeps a new dataset.
pub async fn insert(writing: &Writing<'_>, dataset: &Dataset) -> Result<(), StoreError> {
    let row: ActiveModel = writing.stamped(Model::from(dataset))?;
    Entity::insert(row).exec_without_returning(writing.conn()).await?;
    Ok(())
}

/// The dataset, if `owner` has it.
pub async fn find(
    reading: &Reading<'_>,
    id: DatasetId,
    owner: AccountId,
) -> Result<Option<Dataset>, StoreError> {
    let found = Entity::find_by_id(id.uuid()).filter(Column::Owner.eq(owner.uuid()));
    let row = found.one(reading.conn()).await?;
    row.map(|row| Dataset::try_from(reading.checked(row)?)).transpose()
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
    reading: &Reading<'_>,
    filter: &Filter,
    after: Option<DatasetId>,
    limit: u64,
) -> Result<Vec<Listed<DatasetId, Dataset>>, StoreError> {
    let mut query = Entity::find().filter(Column::Owner.eq(filter.owner.uuid()));
    if let Some(purpose) = filter.purpose {
        query = query.filter(Column::PurposeId.eq(purpose.uuid()));
    }
    if let Some(after) = after {
        query = query.filter(Column::Id.lt(after.uuid()));
    }
    let rows = query.order_by_desc(Column::Id).limit(limit).all(reading.conn()).await?;
    let listed = |row: Model| {
        let id = DatasetId::from_uuid(row.id);
        Ok((id, sound(reading.checked(row).and_then(Dataset::try_from))?))
    };
    rows.into_iter().map(listed).collect()
}

/// Replaces the revision before `dataset`'s by it.
pub async fn advance(writing: &Writing<'_>, dataset: &Dataset) -> Result<(), StoreError> {
    let before = dataset.revision.saturating_sub(1);
    let row: ActiveModel = writing.stamped(Model::from(dataset))?;
    let changed = Entity::update_many()
        .set(row)
        .filter(Column::Id.eq(dataset.id.uuid()))
        .filter(Column::Revision.eq(before))
        .exec(writing.conn())
        .await?;
    StoreError::check_rows(1, changed.rows_affected)
}
