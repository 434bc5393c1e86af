//! The values of a valuation. Position 0 is the highest value.
//!
//! What a record or a person is worth is sealed under the key of the person: rows are read in a transaction, and opened
//! after it.

use portal_core::id::{Id, SubjectId, ValuationId};
use portal_keys::{KeysError, SubjectKeys};
use portal_store::sealed::{DigestedRow, Row, SealedColumn};
use portal_store::{Corruption, Sealed, StoreError};
use sea_orm::{
    ColumnTrait, EntityName, EntityTrait, IntoActiveModel, Order, QueryFilter, QueryOrder, QuerySelect,
};

use super::cells::{RECORD_MEASURE, SUBJECT_MEASURE, opening_key};
use super::entity::{exclusion, record_value, subject_value};
use super::rows::{ValueRow, exclusion_row, record_value_row, subject_value_row};
use super::{ROWS, Reading, Seals, Writing, integer, sound};
use crate::domain::outcome::{Outcome, RecordValue, Standing, SubjectValue};
use crate::domain::valuation::Exclusion;
use crate::error::Error;

/// Values, each sealed under the key of the person it is about.
pub struct SealedOutcome {
    records: Vec<record_value::Model>,
    subjects: Vec<subject_value::Model>,
}

/// Seals the values of a valuation.
///
/// # Errors
/// [`Error::Keys`] if the key of one of the people can't be had: [`KeysError::Erased`] if it was destroyed meanwhile.
pub fn seal(
    seals: &Seals,
    keys: &SubjectKeys,
    id: ValuationId,
    outcome: &Outcome,
) -> Result<SealedOutcome, Error> {
    let record = |(position, value): (usize, &RecordValue)| {
        let mut row = record_value_row(id, integer(position), value);
        let key = keys.get(value.member.subject)?;
        row.measure = Some(RECORD_MEASURE.seal(&seals.sealing, key, row.row(), &value.standing)?);
        Ok::<_, Error>(row)
    };
    let subject = |(position, value): (usize, &SubjectValue)| {
        let mut row = subject_value_row(id, integer(position), value);
        let key = keys.get(value.subject)?;
        row.measure = Some(SUBJECT_MEASURE.seal(&seals.sealing, key, row.row(), &value.standing)?);
        Ok::<_, Error>(row)
    };
    Ok(SealedOutcome {
        records: outcome.records.iter().enumerate().map(record).collect::<Result<_, _>>()?,
        subjects: outcome.subjects.iter().enumerate().map(subject).collect::<Result<_, _>>()?,
    })
}

/// Keeps a result.
pub async fn insert(
    writing: &Writing<'_>,
    id: ValuationId,
    outcome: &SealedOutcome,
    exclusions: &[Exclusion],
) -> Result<(), StoreError> {
    if !exclusions.is_empty() {
        let rows = exclusions.iter().map(|exclusion| writing.stamped(exclusion_row(id, exclusion)));
        let rows: Vec<exclusion::ActiveModel> = rows.collect::<Result<_, _>>()?;
        exclusion::Entity::insert_many(rows).exec_without_returning(writing.conn()).await?;
    }
    for values in outcome.records.chunks(ROWS) {
        let rows = values.iter().map(|row| {
            let mut row = row.clone();
            (!writing.leaves_new()).then(|| row.measure = None);
            stamped(writing, row)
        });
        let rows: Vec<record_value::ActiveModel> = rows.collect::<Result<_, _>>()?;
        record_value::Entity::insert_many(rows).exec_without_returning(writing.conn()).await?;
    }
    for values in outcome.subjects.chunks(ROWS) {
        let rows = values.iter().map(|row| {
            let mut row = row.clone();
            (!writing.leaves_new()).then(|| row.measure = None);
            stamped(writing, row)
        });
        let rows: Vec<subject_value::ActiveModel> = rows.collect::<Result<_, _>>()?;
        subject_value::Entity::insert_many(rows).exec_without_returning(writing.conn()).await?;
    }
    Ok(())
}

fn stamped<M, A>(writing: &Writing<'_>, mut row: M) -> Result<A, StoreError>
where
    M: ValueRow + DigestedRow + IntoActiveModel<A>,
    M::Entity: EntityTrait<Model = M>,
    A: sea_orm::ActiveModelTrait<Entity = M::Entity>,
{
    if !writing.leaves_old() {
        row.blank();
    }
    writing.stamped(row)
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

/// Values with their positions, to be opened with the keys of [`Self::people`].
pub struct Found<V> {
    column: SealedColumn<Standing>,
    values: Vec<(i64, Result<FoundValue<V>, StoreError>)>,
}

struct FoundValue<V> {
    subject: SubjectId,
    /// Its standing is blank if it is sealed.
    value: V,
    sealed: Option<(Row, Sealed<Standing>)>,
}

/// Something that has a standing.
pub trait Valued {
    /// Puts the standing in.
    fn set_standing(&mut self, standing: Standing);
}

impl Valued for RecordValue {
    fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
    }
}

impl Valued for SubjectValue {
    fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
    }
}

impl<V: Valued> Found<V> {
    fn new<M: ValueRow<Value = V> + DigestedRow>(
        reading: &Reading<'_>,
        column: SealedColumn<Standing>,
        rows: Vec<M>,
        parts: impl Fn(&mut M) -> (i64, Option<Sealed<Standing>>),
    ) -> Self {
        let read = |mut row: M| {
            let checked = reading.check(&row);
            let at = row.row();
            let (position, measure) = parts(&mut row);
            (position, checked.and_then(|()| FoundValue::read(reading.finds_old(), row, at, measure)))
        };
        Self { column, values: rows.into_iter().map(read).collect() }
    }

    /// Whom the sealed ones are about.
    pub fn people(&self) -> Vec<SubjectId> {
        let sealed = self.values.iter().filter_map(|(_, value)| value.as_ref().ok());
        sealed.filter(|value| value.sealed.is_some()).map(|value| value.subject).collect()
    }

    /// The values.
    pub fn open(self, seals: &Seals, keys: &SubjectKeys) -> Vec<(i64, Result<V, Error>)> {
        let column = self.column;
        let open = |(position, value): (i64, Result<FoundValue<V>, StoreError>)| {
            (position, value.map_err(Error::from).and_then(|value| value.open(seals, column, keys)))
        };
        self.values.into_iter().map(open).collect()
    }
}

impl<V: Valued> FoundValue<V> {
    fn read<M: ValueRow<Value = V> + DigestedRow>(
        finds_old: bool,
        row: M,
        at: Row,
        measure: Option<Sealed<Standing>>,
    ) -> Result<Self, StoreError> {
        let subject = row.subject();
        let sealed = if finds_old {
            None
        } else {
            let missing = || StoreError::Corrupt {
                table: <M::Entity as Default>::default().table_name(),
                column: "measure",
                row: at.to_string(),
                cause: Corruption::ValueInvalid,
            };
            Some((at, measure.ok_or_else(missing)?))
        };
        let standing = row.plain();
        Ok(Self { subject, value: row.value(standing), sealed })
    }

    fn open(mut self, seals: &Seals, column: SealedColumn<Standing>, keys: &SubjectKeys) -> Result<V, Error> {
        if let Some((row, sealed)) = &self.sealed {
            let key = opening_key(keys, self.subject, |cause| StoreError::Corrupt {
                table: column.table(),
                column: column.column(),
                row: row.to_string(),
                cause,
            })?;
            self.value.set_standing(column.open(&seals.sealing, key, *row, sealed)?);
        }
        Ok(self.value)
    }
}

/// What was opened, unless its row is corrupt or its person was erased.
///
/// # Errors
/// Everything else that went wrong.
pub fn seen<V>(value: Result<V, Error>) -> Result<Option<V>, Error> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(Error::Keys(KeysError::Erased(_))) => Ok(None),
        Err(Error::Store(error)) => Ok(sound(Err(error))?),
        Err(error) => Err(error),
    }
}

/// Values of records.
pub async fn records(
    reading: &Reading<'_>,
    id: ValuationId,
    window: &Window,
) -> Result<Found<RecordValue>, StoreError> {
    use record_value::{Column, Entity, Model};
    let mut query = Entity::find().filter(Column::ValuationId.eq(id.uuid()));
    if let Some(subject) = window.subject {
        query = query.filter(Column::SubjectId.eq(subject.uuid()));
    }
    if let Some(after) = window.after {
        let behind = Column::Position;
        query = query.filter(if window.lowest_first { behind.lt(after) } else { behind.gt(after) });
    }
    let query = query.order_by(Column::Position, window.order()).limit(window.limit);
    let rows = query.all(reading.conn()).await?;
    let parts = |row: &mut Model| (row.position, row.measure.take());
    Ok(Found::new(reading, RECORD_MEASURE, rows, parts))
}

/// Values of subjects.
pub async fn subjects(
    reading: &Reading<'_>,
    id: ValuationId,
    window: &Window,
) -> Result<Found<SubjectValue>, StoreError> {
    use subject_value::{Column, Entity, Model};
    let mut query = Entity::find().filter(Column::ValuationId.eq(id.uuid()));
    if let Some(subject) = window.subject {
        query = query.filter(Column::SubjectId.eq(subject.uuid()));
    }
    if let Some(after) = window.after {
        let behind = Column::Position;
        query = query.filter(if window.lowest_first { behind.lt(after) } else { behind.gt(after) });
    }
    let query = query.order_by(Column::Position, window.order()).limit(window.limit);
    let rows = query.all(reading.conn()).await?;
    let parts = |row: &mut Model| (row.position, row.measure.take());
    Ok(Found::new(reading, SUBJECT_MEASURE, rows, parts))
}
