//! The tables of reports and findings.

use portal_core::Timestamp;
use portal_store::{Corruption, ReadTx, StoreError, Tx, columns};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, QueryOrder, QuerySelect};
use sea_orm_migration::SchemaManager;
use sea_orm_migration::sea_query::{Index, Table};

use super::Finding;
use super::report::{MAX_FINDINGS, Position, Report, ReportedFinding, ScanState};

/// How many reports are kept.
const REPORTS: u64 = 30;
/// Between the names of tables.
const SEPARATOR: char = ',';

mod report {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel)]
    #[sea_orm(table_name = "integrity_report")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub state: String,
        pub tables: String,
        pub max_rows_per_second: Option<i64>,
        pub started_at: i64,
        pub updated_at: i64,
        pub ended_at: Option<i64>,
        pub rows_total: i64,
        pub rows_checked: i64,
        pub rows_unchecked: i64,
        pub ledger_entries_checked: i64,
        pub finding_count: i64,
        pub counted: bool,
        pub at_table: i64,
        pub after_row: Option<Vec<u8>>,
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod finding {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel)]
    #[sea_orm(table_name = "integrity_finding")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub report_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub number: i64,
        pub at_table: String,
        pub at_row: String,
        pub at_column: String,
        pub cause: String,
    }

    #[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The report with this id.
pub(super) async fn find(tx: &ReadTx, id: Uuid) -> Result<Option<Report>, StoreError> {
    report::Entity::find_by_id(id).one(tx.conn()).await?.map(to_report).transpose()
}

/// The newest report.
pub(super) async fn newest(tx: &ReadTx) -> Result<Option<Report>, StoreError> {
    let row = report::Entity::find().order_by_desc(report::Column::Id).one(tx.conn()).await?;
    row.map(to_report).transpose()
}

/// The scan that is running.
pub(super) async fn running(tx: &ReadTx) -> Result<Option<Report>, StoreError> {
    use report::Column;
    let running = Column::State.eq(ScanState::Running.name());
    let row = report::Entity::find().filter(running).order_by_asc(Column::Id).one(tx.conn()).await?;
    row.map(to_report).transpose()
}

/// Writes a report, new or not.
pub(super) async fn save(tx: &Tx, of: &Report) -> Result<(), StoreError> {
    use report::Column;
    let row = report::ActiveModel {
        id: Set(of.id),
        state: Set(of.state.name().to_owned()),
        tables: Set(of.tables.join(&SEPARATOR.to_string())),
        max_rows_per_second: Set(of.max_rows_per_second.map(i64::from)),
        started_at: Set(of.started_at.as_micros()),
        updated_at: Set(of.updated_at.as_micros()),
        ended_at: Set(of.ended_at.map(Timestamp::as_micros)),
        rows_total: Set(signed(of.rows_total)),
        rows_checked: Set(signed(of.rows_checked)),
        rows_unchecked: Set(signed(of.rows_unchecked)),
        ledger_entries_checked: Set(signed(of.ledger_entries_checked)),
        finding_count: Set(signed(of.finding_count)),
        counted: Set(of.position.counted),
        at_table: Set(signed(of.position.table as u64)),
        after_row: Set(of.position.after.clone()),
    };
    let replace = OnConflict::column(Column::Id)
        .update_columns([
            Column::State,
            Column::UpdatedAt,
            Column::EndedAt,
            Column::RowsTotal,
            Column::RowsChecked,
            Column::RowsUnchecked,
            Column::LedgerEntriesChecked,
            Column::FindingCount,
            Column::Counted,
            Column::AtTable,
            Column::AfterRow,
        ])
        .to_owned();
    let written = report::Entity::insert(row).on_conflict(replace).exec_without_returning(tx.conn()).await?;
    StoreError::check_rows(1, written)
}

/// Forgets all but the newest reports.
pub(super) async fn forget_old(tx: &Tx) -> Result<(), StoreError> {
    use report::Column;
    let oldest = report::Entity::find().order_by_desc(Column::Id).offset(REPORTS).one(tx.conn()).await?;
    if let Some(oldest) = oldest {
        let old = finding::Column::ReportId.lte(oldest.id);
        finding::Entity::delete_many().filter(old).exec(tx.conn()).await?;
        report::Entity::delete_many().filter(Column::Id.lte(oldest.id)).exec(tx.conn()).await?;
    }
    Ok(())
}

/// The findings of a report.
pub(super) async fn findings(tx: &ReadTx, report: Uuid) -> Result<Vec<ReportedFinding>, StoreError> {
    use finding::Column;
    let of = Column::ReportId.eq(report);
    let rows = finding::Entity::find().filter(of).order_by_asc(Column::Number).all(tx.conn()).await?;
    rows.into_iter().map(to_finding).collect()
}

/// Adds findings to a report that has `before`; those beyond [`MAX_FINDINGS`] are not kept.
pub(super) async fn add(tx: &Tx, report: Uuid, before: u64, findings: &[Finding]) -> Result<(), StoreError> {
    let kept = (before..MAX_FINDINGS).zip(findings);
    let rows = kept.map(|(number, finding)| finding::ActiveModel {
        report_id: Set(report),
        number: Set(signed(number)),
        at_table: Set(finding.table.to_owned()),
        at_row: Set(finding.row.clone()),
        at_column: Set(finding.column.to_owned()),
        cause: Set(finding.cause.name().to_owned()),
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        finding::Entity::insert_many(rows).exec_without_returning(tx.conn()).await?;
    }
    Ok(())
}

/// Creates both tables.
pub(crate) async fn create(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    use report::Column;
    let table = Table::create()
        .table(report::Entity)
        .col(columns::id(Column::Id).primary_key())
        .col(columns::text(Column::State))
        .col(columns::text(Column::Tables))
        .col(columns::integer(Column::MaxRowsPerSecond).null())
        .col(columns::timestamp(Column::StartedAt))
        .col(columns::timestamp(Column::UpdatedAt))
        .col(columns::timestamp(Column::EndedAt).null())
        .col(columns::integer(Column::RowsTotal))
        .col(columns::integer(Column::RowsChecked))
        .col(columns::integer(Column::LedgerEntriesChecked))
        .col(columns::integer(Column::FindingCount))
        .col(columns::boolean(Column::Counted))
        .col(columns::integer(Column::AtTable))
        .col(columns::bytes(Column::AfterRow).null())
        .take();
    manager.create_table(table).await?;
    use finding::Column as Of;
    let table = Table::create()
        .table(finding::Entity)
        .col(columns::id(Of::ReportId))
        .col(columns::integer(Of::Number))
        .col(columns::text(Of::AtTable))
        .col(columns::text(Of::AtRow))
        .col(columns::text(Of::AtColumn))
        .col(columns::text(Of::Cause))
        .primary_key(Index::create().col(Of::ReportId).col(Of::Number))
        .take();
    manager.create_table(table).await
}

/// Adds the column that counts rows that could not be checked.
pub(crate) async fn add_unchecked(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let column = columns::integer(report::Column::RowsUnchecked).default(0_i64).take();
    manager.alter_table(Table::alter().table(report::Entity).add_column(column).take()).await
}

/// Drops it.
pub(crate) async fn drop_unchecked(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let column = report::Column::RowsUnchecked;
    manager.alter_table(Table::alter().table(report::Entity).drop_column(column).take()).await
}

/// Drops both tables.
pub(crate) async fn drop(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager.drop_table(Table::drop().table(finding::Entity).take()).await?;
    manager.drop_table(Table::drop().table(report::Entity).take()).await
}

fn to_report(row: report::Model) -> Result<Report, StoreError> {
    let bad = |column| corrupt("integrity_report", column, row.id);
    let count = |column, value: i64| u64::try_from(value).map_err(|_| bad(column));
    let rate = row.max_rows_per_second.map(u32::try_from).transpose();
    let table = usize::try_from(row.at_table).map_err(|_| bad("at_table"))?;
    Ok(Report {
        id: row.id,
        state: ScanState::parse(&row.state).ok_or_else(|| bad("state"))?,
        tables: row.tables.split(SEPARATOR).filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        max_rows_per_second: rate.map_err(|_| bad("max_rows_per_second"))?,
        started_at: Timestamp::from_micros(row.started_at),
        updated_at: Timestamp::from_micros(row.updated_at),
        ended_at: row.ended_at.map(Timestamp::from_micros),
        rows_total: count("rows_total", row.rows_total)?,
        rows_checked: count("rows_checked", row.rows_checked)?,
        rows_unchecked: count("rows_unchecked", row.rows_unchecked)?,
        ledger_entries_checked: count("ledger_entries_checked", row.ledger_entries_checked)?,
        finding_count: count("finding_count", row.finding_count)?,
        position: Position { counted: row.counted, table, after: row.after_row },
    })
}

fn to_finding(row: finding::Model) -> Result<ReportedFinding, StoreError> {
    let cause = Corruption::parse(&row.cause);
    Ok(ReportedFinding {
        cause: cause.ok_or_else(|| corrupt("integrity_finding", "cause", row.report_id))?,
        table: row.at_table,
        row: row.at_row,
        column: row.at_column,
    })
}

fn corrupt(table: &'static str, column: &'static str, id: Uuid) -> StoreError {
    StoreError::Corrupt { table, column, row: id.to_string(), cause: Corruption::ValueInvalid }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
