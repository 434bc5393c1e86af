//! Valuations and their leases.
//!
//! Invariants: whoever holds a lease is named in `lease_owner`; every change a worker makes asks for its own name and
//! for RUNNING, so one that lost its lease, or whose job was cancelled, changes nothing. What was asked is under one
//! digest and what came of it, once it has ended, under another; leases and progress are under none.

use std::collections::HashMap;

use portal_core::Timestamp;
use portal_core::id::{AccountId, DatasetId, Id, ValuationId};
use portal_store::{StoreError, Tx};
use sea_orm::prelude::{Expr, Uuid};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect, UpdateMany,
};

use super::entity::valuation::{ActiveModel, Column, Entity, Model};
use super::entity::{exclusion, valuation_answer, valuation_question};
use super::rows::{self, failure_name, state_code};
use super::{Listed, Reading, Writing, sound};
use crate::domain::id::WorkerId;
use crate::domain::valuation::{Failure, Progress, State, Summary, Valuation};

/// Keeps a new valuation.
pub async fn insert(writing: &Writing<'_>, valuation: &Valuation) -> Result<(), StoreError> {
    let mut row = Model::from(valuation);
    row.row_digest = writing.stamp(valuation_question::Model::from(&row))?.row_digest;
    let row: ActiveModel = row.into_active_model().reset_all();
    Entity::insert(row).exec_without_returning(writing.conn()).await?;
    Ok(())
}

/// The valuation, whoever's it is: for a subject that asks for its own value, and for workers.
pub async fn find_any(reading: &Reading<'_>, id: ValuationId) -> Result<Option<Valuation>, StoreError> {
    let Some(row) = Entity::find_by_id(id.uuid()).one(reading.conn()).await? else { return Ok(None) };
    let mut found = with_exclusions(reading, &[row]).await?;
    found.pop().map(|(_, valuation)| valuation).transpose()
}

/// The valuation, if `owner` has it.
pub async fn find(
    reading: &Reading<'_>,
    id: ValuationId,
    owner: AccountId,
) -> Result<Option<Valuation>, StoreError> {
    Ok(find_any(reading, id).await?.filter(|valuation| valuation.owner == owner))
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
    reading: &Reading<'_>,
    filter: &Filter,
    after: Option<ValuationId>,
    limit: u64,
) -> Result<Vec<Listed<ValuationId, Valuation>>, StoreError> {
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
    let rows = query.order_by_desc(Column::Id).limit(limit).all(reading.conn()).await?;
    let found = with_exclusions(reading, &rows).await?;
    found.into_iter().map(|(id, valuation)| Ok((id, sound(valuation)?))).collect()
}

type Found = Vec<(ValuationId, Result<Valuation, StoreError>)>;

async fn with_exclusions(reading: &Reading<'_>, found: &[Model]) -> Result<Found, StoreError> {
    let ended = found.iter().filter(|row| row.ended_at.is_some()).map(|row| row.id);
    let mut exclusions: HashMap<Uuid, Vec<exclusion::Model>> = HashMap::new();
    let of_these = exclusion::Column::ValuationId.is_in(ended);
    let query = exclusion::Entity::find().filter(of_these).order_by_asc(exclusion::Column::Cause);
    for row in query.all(reading.conn()).await? {
        exclusions.entry(row.valuation_id).or_default().push(row);
    }
    let read = |row: &Model| {
        let exclusions = exclusions.remove(&row.id).unwrap_or_default();
        (ValuationId::from_uuid(row.id), checked(reading, row, exclusions))
    };
    Ok(found.iter().map(read).collect())
}

/// The valuation, if it is what was written.
pub(super) fn checked(
    reading: &Reading<'_>,
    row: &Model,
    exclusions: Vec<exclusion::Model>,
) -> Result<Valuation, StoreError> {
    reading.check(&valuation_question::Model::from(row))?;
    let exclusion = |row| rows::exclusion(&reading.checked(row)?);
    let valuation = rows::valuation(row, exclusions.into_iter().map(exclusion).collect::<Result<_, _>>()?)?;
    if valuation.state.is_final() {
        reading.check(&valuation_answer::Model::from(row))?;
    }
    Ok(valuation)
}

/// What there was to do.
pub enum Claimed {
    /// This job was corrupt, and is ended, so that it is not in the way of the others.
    Ended(ValuationId),
    /// Nothing.
    Nothing,
    /// This job is the worker's now.
    Taken(Box<Valuation>),
}

/// Gives the oldest job without a valid lease to `worker`, if there is one.
pub async fn claim(
    writing: &Writing<'_>,
    worker: WorkerId,
    until: Timestamp,
    now: Timestamp,
) -> Result<Claimed, StoreError> {
    let tx = writing.tx();
    let waiting = [State::Pending, State::Running].map(state_code);
    let free =
        Condition::all().add(Column::State.is_in(waiting)).add(Column::LeaseUntil.lte(now.as_micros()));
    let Some(row) = Entity::find().filter(free.clone()).order_by_asc(Column::Id).one(tx.conn()).await? else {
        return Ok(Claimed::Nothing);
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
        return Ok(Claimed::Nothing);
    }
    let id = ValuationId::from_uuid(row.id);
    match find_any(writing, id).await {
        Err(error @ StoreError::Corrupt { .. }) => {
            tracing::error!(valuation = %id, %error, "a corrupt job is given up");
            fail(writing, id, worker, Failure::Unreadable, now).await?;
            Ok(Claimed::Ended(id))
        }
        found => Ok(found?.map_or(Claimed::Nothing, |found| Claimed::Taken(Box::new(found)))),
    }
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

/// Gives the job back, to be taken by anybody at once; the attempt does not count. `false` if it is not this worker's any
/// more.
pub async fn release(tx: &Tx, id: ValuationId, worker: WorkerId) -> Result<bool, StoreError> {
    let released = held(id, worker)
        .col_expr(Column::State, state_code(State::Pending).into())
        .col_expr(Column::LeaseOwner, Expr::val(None::<Uuid>))
        .col_expr(Column::LeaseUntil, 0.into())
        .col_expr(Column::Attempt, Expr::col(Column::Attempt).sub(1))
        .exec(tx.conn())
        .await?;
    Ok(released.rows_affected == 1)
}

/// Ends the job without values; `false` if it is not this worker's any more.
pub async fn fail(
    writing: &Writing<'_>,
    id: ValuationId,
    worker: WorkerId,
    failure: Failure,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let answer = ended(writing, id, (State::Failed, Some(failure)), None, now)?;
    let failed = held(id, worker)
        .col_expr(Column::State, answer.state.into())
        .col_expr(Column::Failure, Expr::val(answer.failure))
        .col_expr(Column::EndedAt, Expr::val(answer.ended_at))
        .col_expr(Column::ResultDigest, Expr::val(answer.result_digest))
        .exec(writing.conn())
        .await?;
    Ok(failed.rows_affected == 1)
}

/// Ends the job with values, which the caller writes in the same transaction; `false` if it is not this worker's any
/// more.
pub async fn succeed(
    writing: &Writing<'_>,
    id: ValuationId,
    worker: WorkerId,
    (summary, units): (&Summary, i64),
    now: Timestamp,
) -> Result<bool, StoreError> {
    let answer = ended(writing, id, (State::Succeeded, None), Some(summary), now)?;
    let succeeded = held(id, worker)
        .col_expr(Column::State, answer.state.into())
        .col_expr(Column::DoneUnits, units.into())
        .col_expr(Column::TotalUnits, units.into())
        .col_expr(Column::MeasuredAt, now.as_micros().into())
        .col_expr(Column::RecordCount, Expr::val(answer.record_count))
        .col_expr(Column::SubjectCount, Expr::val(answer.subject_count))
        .col_expr(Column::ValueSum, Expr::val(answer.value_sum))
        .col_expr(Column::FullUtility, Expr::val(answer.full_utility))
        .col_expr(Column::EmptyUtility, Expr::val(answer.empty_utility))
        .col_expr(Column::MinValue, Expr::val(answer.min_value))
        .col_expr(Column::MaxValue, Expr::val(answer.max_value))
        .col_expr(Column::EndedAt, Expr::val(answer.ended_at))
        .col_expr(Column::ResultDigest, Expr::val(answer.result_digest))
        .exec(writing.conn())
        .await?;
    Ok(succeeded.rows_affected == 1)
}

/// Ends the valuation by its owner's wish; `false` if it has ended.
pub async fn cancel(writing: &Writing<'_>, id: ValuationId, now: Timestamp) -> Result<bool, StoreError> {
    let answer = ended(writing, id, (State::Cancelled, None), None, now)?;
    let cancelled = Entity::update_many()
        .col_expr(Column::State, answer.state.into())
        .col_expr(Column::EndedAt, Expr::val(answer.ended_at))
        .col_expr(Column::ResultDigest, Expr::val(answer.result_digest))
        .filter(Column::Id.eq(id.uuid()))
        .filter(Column::State.is_in([State::Pending, State::Running].map(state_code)))
        .exec(writing.conn())
        .await?;
    Ok(cancelled.rows_affected == 1)
}

/// What came of a valuation, with its digest.
fn ended(
    writing: &Writing<'_>,
    id: ValuationId,
    (state, failure): (State, Option<Failure>),
    summary: Option<&Summary>,
    now: Timestamp,
) -> Result<valuation_answer::Model, StoreError> {
    // Sealed, they stand with the records that they are the values of.
    let extremes = summary.and_then(|summary| summary.extremes).filter(|_| writing.leaves_old());
    writing.stamp(valuation_answer::Model {
        id: id.uuid(),
        state: state_code(state),
        failure: failure.map(|failure| failure_name(failure).to_owned()),
        record_count: summary.map(|summary| summary.records),
        subject_count: summary.map(|summary| summary.subjects),
        value_sum: summary.map(|summary| summary.value_sum),
        full_utility: summary.map(|summary| summary.full_utility),
        empty_utility: summary.map(|summary| summary.empty_utility),
        min_value: extremes.map(|extremes| extremes.min),
        max_value: extremes.map(|extremes| extremes.max),
        ended_at: Some(now.as_micros()),
        result_digest: None,
    })
}
