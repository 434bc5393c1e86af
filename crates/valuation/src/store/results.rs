//! The values of a valuation. Position 0 is the highest value.

use portal_core::id::{Id, SubjectId, ValuationId};
use portal_store::{ReadTx, StoreError, Tx};
use sea_orm::{ColumnTrait, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect};

use super::entity::{exclusion, record_value, subject_value};
use super::rows::{exclusion_row, record_value_row, subject_value_row};
use super::{ROWS, integer};
use crate::domain::outcome::{Outcome, RecordValue, SubjectValue};
use crate::domain::valuation::Exclusion;

/// Keeps a result.
pub async fn insert(
    tx: &Tx,
    id: ValuationId,
    outcome: &Outcome,
    exclusions: &[Exclusion],
) -> Result<(), StoreError> {
    if !exclusions.is_empty() {
        let rows = exclusions.iter().map(|exclusion| exclusion_row(id, exclusion));
        exclusion::Entity::insert_many(rows).exec_without_returning(tx.conn()).await?;
    }
    for (chunk, values) in outcome.records.chunks(ROWS).enumerate() {
        let position = |row: usize| integer(chunk * ROWS + row);
        let rows = values.iter().enumerate().map(|(row, value)| record_value_row(id, position(row), value));
        record_value::Entity::insert_many(rows).exec_without_returning(tx.conn()).await?;
    }
    for (chunk, values) in outcome.subjects.chunks(ROWS).enumerate() {
        let position = |row: usize| integer(chunk * ROWS + row);
        let rows = values.iter().enumerate().map(|(row, value)| subject_value_row(id, position(row), value));
        subject_value::Entity::insert_many(rows).exec_without_returning(tx.conn()).await?;
    }
    Ok(())
}

/// A part of a list of values.
pub struct Window {
    /// Lowest value first.
    pub lowest_first: bool,
    /// Begins behind this position.
    pub after: Option<i64>,
    /// Only of this subject.
    pub subject: Option<SubjectId>,
    /// At most so many.
    pub limit: u64,
}

impl Window {
    fn order(&self) -> Order {
        if self.lowest_first { Order::Desc } else { Order::Asc }
    }
}

/// Values of records with their positions.
pub async fn records(
    tx: &ReadTx,
    id: ValuationId,
    window: &Window,
) -> Result<Vec<(i64, RecordValue)>, StoreError> {
    use record_value::{Column, Entity};
    let mut query = Entity::find().filter(Column::ValuationId.eq(id.uuid()));
    if let Some(subject) = window.subject {
        query = query.filter(Column::SubjectId.eq(subject.uuid()));
    }
    if let Some(after) = window.after {
        let behind = Column::Position;
        query = query.filter(if window.lowest_first { behind.lt(after) } else { behind.gt(after) });
    }
    let query = query.order_by(Column::Position, window.order()).limit(window.limit);
    let rows = query.all(tx.conn()).await?;
    Ok(rows.into_iter().map(|row| (row.position, RecordValue::from(row))).collect())
}

/// Values of subjects with their positions.
pub async fn subjects(
    tx: &ReadTx,
    id: ValuationId,
    window: &Window,
) -> Result<Vec<(i64, SubjectValue)>, StoreError> {
    use subject_value::{Column, Entity};
    let mut query = Entity::find().filter(Column::ValuationId.eq(id.uuid()));
    if let Some(subject) = window.subject {
        query = query.filter(Column::SubjectId.eq(subject.uuid()));
    }
    if let Some(after) = window.after {
        let behind = Column::Position;
        query = query.filter(if window.lowest_first { behind.lt(after) } else { behind.gt(after) });
    }
    let query = query.order_by(Column::Position, window.order()).limit(window.limit);
    let rows = query.all(tx.conn()).await?;
    Ok(rows.into_iter().map(|row| (row.position, SubjectValue::from(row))).collect())
}
