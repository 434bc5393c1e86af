//! Valuations and their leases.
//!
//! Invariants: whoever holds a lease is named in `lease_owner`; every change a worker makes asks for its own name and
//! for RUNNING, so one that lost its lease, or whose job was cancelled, changes nothing.

use std::collections::HashMap;

use portal_core::Timestamp;
use portal_core::id::{AccountId, DatasetId, Id, ValuationId};
use portal_store::{ReadTx, StoreError, Tx};
use sea_orm::prelude::{Expr, Uuid};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, UpdateMany,
};

use super::entity::exclusion;
use super::entity::valuation::{ActiveModel, Column, Entity, Model};
use super::rows::{self, failure_name, state_code};
use crate::domain::id::WorkerId;
use crate::domain::valuation::{Exclusion, Failure, Progress, State, Summary, Valuation};

/// Keeps a new valuation.
pub async fn insert(tx: &Tx, valuation: &Valuation) -> Result<(), StoreError> {
    Entity::insert(ActiveModel::from(valuation)).exec_without_returning(tx.conn()).await?;
    Ok(())
}

/// The valuation, whoever's it is: for a subject that asks for its own value, and for workers.
pub async fn find_any(tx: &ReadTx, id: ValuationId) -> Result<Option<Valuation>, StoreError> {
    let Some(row) = Entity::find_by_id(id.uuid()).one(tx.conn()).await? else { return Ok(None) };
    let mut found = with_exclusions(tx, &[row]).await?;
    Ok(found.pop())
}

/// The valuation, if `owner` has it.
pub async fn find(tx: &ReadTx, id: ValuationId, owner: AccountId) -> Result<Option<Valuation>, StoreError> {
    Ok(find_any(tx, id).await?.filter(|valuation| valuation.owner == owner))
}

/// Which valuations a list holds.
pub struct Filter {
    /// Whose.
    pub owner: AccountId,
    /// Of this dataset only.
    pub dataset: Option<DatasetId>,
    /// In this state only.
    pub state: Option<State>,
}

/// The owner's valuations, newest first, from the one after `after` on.
pub async fn list(
    tx: &ReadTx,
    filter: &Filter,
    after: Option<ValuationId>,
    limit: u64,
) -> Result<Vec<Valuation>, StoreError> {
    let mut query = Entity::find().filter(Column::Owner.eq(filter.owner.uuid()));
    if let Some(dataset) = filter.dataset {
        query = query.filter(Column::DatasetId.eq(dataset.uuid()));
    }
    if let Some(state) = filter.state {
        query = query.filter(Column::State.eq(state_code(state)));
    }
    if let Some(after) = after {
        query = query.filter(Column::Id.lt(after.uuid()));
    }
    let rows = query.order_by_desc(Column::Id).limit(limit).all(tx.conn()).await?;
    with_exclusions(tx, &rows).await
}

async fn with_exclusions(tx: &ReadTx, found: &[Model]) -> Result<Vec<Valuation>, StoreError> {
    let ended = found.iter().filter(|row| row.ended_at.is_some()).map(|row| row.id);
    let mut exclusions: HashMap<Uuid, Vec<Exclusion>> = HashMap::new();
    let of_these = exclusion::Column::ValuationId.is_in(ended);
    let query = exclusion::Entity::find().filter(of_these).order_by_asc(exclusion::Column::Cause);
    for row in query.all(tx.conn()).await? {
        exclusions.entry(row.valuation_id).or_default().push(rows::exclusion(&row)?);
    }
    found.iter().map(|row| rows::valuation(row, exclusions.remove(&row.id).unwrap_or_default())).collect()
}

/// Gives the oldest job without a valid lease to `worker`, if there is one.
pub async fn claim(
    tx: &Tx,
    worker: WorkerId,
    until: Timestamp,
    now: Timestamp,
) -> Result<Option<Valuation>, StoreError> {
    let waiting = [State::Pending, State::Running].map(state_code);
    let free =
        Condition::all().add(Column::State.is_in(waiting)).add(Column::LeaseUntil.lte(now.as_micros()));
    let Some(row) = Entity::find().filter(free.clone()).order_by_asc(Column::Id).one(tx.conn()).await? else {
        return Ok(None);
    };
    let started_at = row.started_at.unwrap_or_else(|| now.as_micros());
    let claimed = Entity::update_many()
        .col_expr(Column::State, state_code(State::Running).into())
        .col_expr(Column::LeaseOwner, worker.uuid().into())
        .col_expr(Column::LeaseUntil, until.as_micros().into())
        .col_expr(Column::Attempt, Expr::col(Column::Attempt).add(1))
        .col_expr(Column::DoneUnits, 0.into())
        .col_expr(Column::TotalUnits, 0.into())
        .col_expr(Column::RunStartedAt, Expr::val(None::<i64>))
        .col_expr(Column::MeasuredAt, now.as_micros().into())
        .col_expr(Column::StartedAt, started_at.into())
        .filter(Column::Id.eq(row.id))
        .filter(free)
        .exec(tx.conn())
        .await?;
    if claimed.rows_affected == 0 {
        return Ok(None);
    }
    find_any(tx, ValuationId::from_uuid(row.id)).await
}

/// A change of a job by the worker that holds it.
fn held(id: ValuationId, worker: WorkerId) -> UpdateMany<Entity> {
    Entity::update_many()
        .filter(Column::Id.eq(id.uuid()))
        .filter(Column::LeaseOwner.eq(worker.uuid()))
        .filter(Column::State.eq(state_code(State::Running)))
}

/// Renews the lease and tells how far the job is; `false` if it is not this worker's any more.
pub async fn renew(
    tx: &Tx,
    id: ValuationId,
    worker: WorkerId,
    until: Timestamp,
    progress: &Progress,
) -> Result<bool, StoreError> {
    let renewed = held(id, worker)
        .col_expr(Column::LeaseUntil, until.as_micros().into())
        .col_expr(Column::DoneUnits, progress.done.into())
        .col_expr(Column::TotalUnits, progress.total.into())
        .col_expr(Column::RunStartedAt, Expr::val(progress.started_at.map(Timestamp::as_micros)))
        .col_expr(Column::MeasuredAt, progress.measured_at.as_micros().into())
        .exec(tx.conn())
        .await?;
    Ok(renewed.rows_affected == 1)
}

/// Gives the job back, to be taken by anybody at once; the attempt does not count.
pub async fn release(tx: &Tx, id: ValuationId, worker: WorkerId) -> Result<(), StoreError> {
    held(id, worker)
        .col_expr(Column::State, state_code(State::Pending).into())
        .col_expr(Column::LeaseOwner, Expr::val(None::<Uuid>))
        .col_expr(Column::LeaseUntil, 0.into())
        .col_expr(Column::Attempt, Expr::col(Column::Attempt).sub(1))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// Ends the job without values; `false` if it is not this worker's any more.
pub async fn fail(
    tx: &Tx,
    id: ValuationId,
    worker: WorkerId,
    failure: Failure,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let failed = held(id, worker)
        .col_expr(Column::State, state_code(State::Failed).into())
        .col_expr(Column::Failure, failure_name(failure).into())
        .col_expr(Column::EndedAt, now.as_micros().into())
        .exec(tx.conn())
        .await?;
    Ok(failed.rows_affected == 1)
}

/// Ends the job with values, which the caller writes in the same transaction; `false` if it is not this worker's any
/// more.
pub async fn succeed(
    tx: &Tx,
    id: ValuationId,
    worker: WorkerId,
    (summary, units): (&Summary, i64),
    now: Timestamp,
) -> Result<bool, StoreError> {
    let succeeded = held(id, worker)
        .col_expr(Column::State, state_code(State::Succeeded).into())
        .col_expr(Column::DoneUnits, units.into())
        .col_expr(Column::TotalUnits, units.into())
        .col_expr(Column::MeasuredAt, now.as_micros().into())
        .col_expr(Column::RecordCount, summary.records.into())
        .col_expr(Column::SubjectCount, summary.subjects.into())
        .col_expr(Column::ValueSum, summary.value_sum.into())
        .col_expr(Column::FullUtility, summary.full_utility.into())
        .col_expr(Column::EmptyUtility, summary.empty_utility.into())
        .col_expr(Column::MinValue, summary.min_value.into())
        .col_expr(Column::MaxValue, summary.max_value.into())
        .col_expr(Column::EndedAt, now.as_micros().into())
        .exec(tx.conn())
        .await?;
    Ok(succeeded.rows_affected == 1)
}

/// Ends the valuation by its owner's wish; nothing if it has ended.
pub async fn cancel(tx: &Tx, id: ValuationId, now: Timestamp) -> Result<(), StoreError> {
    Entity::update_many()
        .col_expr(Column::State, state_code(State::Cancelled).into())
        .col_expr(Column::EndedAt, now.as_micros().into())
        .filter(Column::Id.eq(id.uuid()))
        .filter(Column::State.is_in([State::Pending, State::Running].map(state_code)))
        .exec(tx.conn())
        .await?;
    Ok(())
}
