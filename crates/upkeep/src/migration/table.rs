//! The tables of data migrations. The record changes when the state does and is what services ask for the mode; the
//! progress changes with every batch. They are two tables, so that live transactions never meet a batch on a row.

use portal_core::Timestamp;
use portal_store::{Corruption, ReadTx, StoreError, Tx, columns};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, QueryOrder};
use sea_orm_migration::SchemaManager;
use sea_orm_migration::sea_query::{Index, Table};

use super::progress::Progress;
use super::state::{Record, State, Step};

mod record {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel)]
    #[sea_orm(table_name = "data_migration")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub state: String,
        pub step: String,
        pub committed: bool,
        pub max_rows_per_second: Option<i64>,
        pub failure_reason: Option<String>,
        pub started_at: Option<i64>,
        pub changed_at: i64,
        pub ended_at: Option<i64>,
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod progress {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel)]
    #[sea_orm(table_name = "data_migration_progress")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub cursor: Option<Vec<u8>>,
        pub at_end: bool,
        pub counted: bool,
        pub step_total: i64,
        pub step_done: i64,
        pub rows_total: i64,
        pub rows_done: i64,
        pub rows_verified: i64,
        pub rows_per_second: f64,
        pub updated_at: i64,
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The record of `name`; `None` if the migration was never seen.
pub(super) async fn record(tx: &ReadTx, name: &str) -> Result<Option<Record>, StoreError> {
    record::Entity::find_by_id(name).one(tx.conn()).await?.map(to_record).transpose()
}

/// The record of `name`, a pending one if the migration was never seen.
pub(super) async fn record_or_pending(tx: &ReadTx, name: &str) -> Result<Record, StoreError> {
    Ok(record(tx, name).await?.unwrap_or_else(|| Record::pending(name, Timestamp::default())))
}

/// All records.
pub(super) async fn records(tx: &ReadTx) -> Result<Vec<Record>, StoreError> {
    let rows = record::Entity::find().order_by_asc(record::Column::Name).all(tx.conn()).await?;
    rows.into_iter().map(to_record).collect()
}

/// Writes a record, new or not.
pub(super) async fn save_record(tx: &Tx, record: &Record) -> Result<(), StoreError> {
    use record::Column;
    let row = record::ActiveModel {
        name: Set(record.name.clone()),
        state: Set(record.state.name().to_owned()),
        step: Set(record.step.name().to_owned()),
        committed: Set(record.committed),
        max_rows_per_second: Set(record.max_rows_per_second.map(i64::from)),
        failure_reason: Set(record.failure_reason.clone()),
        started_at: Set(record.started_at.map(Timestamp::as_micros)),
        changed_at: Set(record.changed_at.as_micros()),
        ended_at: Set(record.ended_at.map(Timestamp::as_micros)),
    };
    let replace = OnConflict::column(Column::Name)
        .update_columns([
            Column::State,
            Column::Step,
            Column::Committed,
            Column::MaxRowsPerSecond,
            Column::FailureReason,
            Column::StartedAt,
            Column::ChangedAt,
            Column::EndedAt,
        ])
        .to_owned();
    let written = record::Entity::insert(row).on_conflict(replace).exec_without_returning(tx.conn()).await?;
    StoreError::check_rows(1, written)
}

/// How far `name` is; nowhere if it never began.
pub(super) async fn progress(tx: &ReadTx, name: &str) -> Result<Progress, StoreError> {
    let row = progress::Entity::find_by_id(name).one(tx.conn()).await?;
    row.map_or_else(|| Ok(Progress::default()), to_progress)
}

/// Writes how far `name` is.
pub(super) async fn save_progress(tx: &Tx, name: &str, progress: &Progress) -> Result<(), StoreError> {
    use progress::Column;
    let row = progress::ActiveModel {
        name: Set(name.to_owned()),
        cursor: Set(progress.cursor.clone()),
        at_end: Set(progress.at_end),
        counted: Set(progress.counted),
        step_total: Set(signed(progress.step_total)),
        step_done: Set(signed(progress.step_done)),
        rows_total: Set(signed(progress.rows_total)),
        rows_done: Set(signed(progress.rows_done)),
        rows_verified: Set(signed(progress.rows_verified)),
        rows_per_second: Set(progress.rows_per_second),
        updated_at: Set(progress.updated_at.as_micros()),
    };
    let replace = OnConflict::column(Column::Name)
        .update_columns([
            Column::Cursor,
            Column::AtEnd,
            Column::Counted,
            Column::StepTotal,
            Column::StepDone,
            Column::RowsTotal,
            Column::RowsDone,
            Column::RowsVerified,
            Column::RowsPerSecond,
            Column::UpdatedAt,
        ])
        .to_owned();
    let written =
        progress::Entity::insert(row).on_conflict(replace).exec_without_returning(tx.conn()).await?;
    StoreError::check_rows(1, written)
}

/// Creates both tables.
pub(crate) async fn create(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use record::Column;
    let table = Table::create()
        .table(record::Entity)
        .col(columns::text(Column::Name))
        .col(columns::text(Column::State))
        .col(columns::text(Column::Step))
        .col(columns::boolean(Column::Committed))
        .col(columns::integer(Column::MaxRowsPerSecond).null())
        .col(columns::text(Column::FailureReason).null())
        .col(columns::timestamp(Column::StartedAt).null())
        .col(columns::timestamp(Column::ChangedAt))
        .col(columns::timestamp(Column::EndedAt).null())
        .primary_key(Index::create().col(Column::Name))
        .take();
    manager.create_table(table).await?;
    use progress::Column as Progress;
    let table = Table::create()
        .table(progress::Entity)
        .col(columns::text(Progress::Name))
        .col(columns::bytes(Progress::Cursor).null())
        .col(columns::boolean(Progress::AtEnd))
        .col(columns::boolean(Progress::Counted))
        .col(columns::integer(Progress::StepTotal))
        .col(columns::integer(Progress::StepDone))
        .col(columns::integer(Progress::RowsTotal))
        .col(columns::integer(Progress::RowsDone))
        .col(columns::integer(Progress::RowsVerified))
        .col(columns::float(Progress::RowsPerSecond))
        .col(columns::timestamp(Progress::UpdatedAt))
        .primary_key(Index::create().col(Progress::Name))
        .take();
    manager.create_table(table).await
}

/// Drops both tables.
pub(crate) async fn drop(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager.drop_table(Table::drop().table(progress::Entity).take()).await?;
    manager.drop_table(Table::drop().table(record::Entity).take()).await
}

fn to_record(row: record::Model) -> Result<Record, StoreError> {
    let bad = |column| corrupt("data_migration", column, &row.name);
    let rate = row.max_rows_per_second.map(u32::try_from).transpose();
    Ok(Record {
        state: State::parse(&row.state).ok_or_else(|| bad("state"))?,
        step: Step::parse(&row.step).ok_or_else(|| bad("step"))?,
        committed: row.committed,
        max_rows_per_second: rate.map_err(|_| bad("max_rows_per_second"))?,
        started_at: row.started_at.map(Timestamp::from_micros),
        changed_at: Timestamp::from_micros(row.changed_at),
        ended_at: row.ended_at.map(Timestamp::from_micros),
        failure_reason: row.failure_reason,
        name: row.name,
    })
}

fn to_progress(row: progress::Model) -> Result<Progress, StoreError> {
    let count = |column, value: i64| {
        u64::try_from(value).map_err(|_| corrupt("data_migration_progress", column, &row.name))
    };
    Ok(Progress {
        at_end: row.at_end,
        counted: row.counted,
        step_total: count("step_total", row.step_total)?,
        step_done: count("step_done", row.step_done)?,
        rows_total: count("rows_total", row.rows_total)?,
        rows_done: count("rows_done", row.rows_done)?,
        rows_verified: count("rows_verified", row.rows_verified)?,
        rows_per_second: row.rows_per_second,
        updated_at: Timestamp::from_micros(row.updated_at),
        cursor: row.cursor,
    })
}

fn corrupt(table: &'static str, column: &'static str, name: &str) -> StoreError {
    StoreError::Corrupt { table, column, row: name.to_owned(), cause: Corruption::ValueInvalid }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
