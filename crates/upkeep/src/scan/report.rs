//! A report of a scan and how it changes: pure.

use portal_core::Timestamp;
use uuid::Uuid;

use super::Finding;

/// How many findings a report keeps; the others are counted.
pub const MAX_FINDINGS: u64 = 1_000;

/// The state of a scan.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ScanState {
    /// Still reading.
    Running,
    /// Read everything and found no fault.
    Clean,
    /// Read everything and found faults.
    Faulty,
    /// Could not read everything.
    Failed,
}

impl ScanState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Running, Self::Clean, Self::Faulty, Self::Failed];

    /// The name in the table and in metrics; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Clean => "clean",
            Self::Faulty => "faulty",
            Self::Failed => "failed",
        }
    }

    /// The state of this [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A scan: what it is to read, how far it is, what it found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// Its id, UUIDv7.
    pub id: Uuid,
    /// Its state.
    pub state: ScanState,
    /// The tables to read, in their order.
    pub tables: Vec<String>,
    /// Most rows per second, if an operator said so.
    pub max_rows_per_second: Option<u32>,
    /// When it began.
    pub started_at: Timestamp,
    /// When its last page was checked.
    pub updated_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Rows to check in all, as counted at the start.
    pub rows_total: u64,
    /// Rows checked so far.
    pub rows_checked: u64,
    /// Rows beside them that could not be checked, since a key is switched off.
    pub rows_unchecked: u64,
    /// Entries of the ledger checked so far.
    pub ledger_entries_checked: u64,
    /// Faults in all.
    pub finding_count: u64,
    /// Where it is.
    pub position: Position,
}

/// Where a scan is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Position {
    /// Whether the rows were counted.
    pub counted: bool,
    /// Which of the report's tables it is in.
    pub table: usize,
    /// The key of the last row that was checked.
    pub after: Option<Vec<u8>>,
}

/// A finding of a report, by names: tables and columns of an earlier version may be gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReportedFinding {
    /// The table.
    pub table: String,
    /// The primary key.
    pub row: String,
    /// The column; empty if the row as a whole is at fault.
    pub column: String,
    /// What is wrong.
    pub cause: portal_store::Corruption,
}

/// What a page had.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageOf<'a> {
    pub(super) rows: u64,
    pub(super) unchecked: u64,
    pub(super) next: Option<&'a [u8]>,
    pub(super) findings: &'a [Finding],
    pub(super) is_ledger: bool,
}

impl Report {
    /// A scan that begins.
    pub(super) fn begin(
        id: Uuid,
        tables: Vec<String>,
        max_rows_per_second: Option<u32>,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            state: ScanState::Running,
            tables,
            max_rows_per_second,
            started_at: now,
            updated_at: now,
            ended_at: None,
            rows_total: 0,
            rows_checked: 0,
            rows_unchecked: 0,
            ledger_entries_checked: 0,
            finding_count: 0,
            position: Position::default(),
        }
    }

    /// With its rows counted.
    pub(super) fn count(self, rows_total: u64, now: Timestamp) -> Self {
        let position = Position { counted: true, ..self.position };
        Self { rows_total, position, updated_at: now, ..self }
    }

    /// After a page.
    pub(super) fn advance(self, page: &PageOf<'_>, now: Timestamp) -> Self {
        let position = match page.next {
            Some(next) => Position { after: Some(next.to_vec()), ..self.position },
            None => Position { after: None, table: self.position.table + 1, ..self.position },
        };
        let checked = page.rows.saturating_sub(page.unchecked);
        let (rows, entries) = if page.is_ledger { (0, checked) } else { (checked, 0) };
        Self {
            rows_checked: self.rows_checked + rows,
            rows_unchecked: self.rows_unchecked + page.unchecked,
            ledger_entries_checked: self.ledger_entries_checked + entries,
            finding_count: self.finding_count + page.findings.len() as u64,
            position,
            updated_at: now,
            ..self
        }
    }

    /// At its end: everything was read, or could not be.
    pub(super) fn end(self, read_everything: bool, now: Timestamp) -> Self {
        let state = match (read_everything && self.rows_unchecked == 0, self.finding_count) {
            (false, _) => ScanState::Failed,
            (true, 0) => ScanState::Clean,
            (true, _) => ScanState::Faulty,
        };
        Self { state, ended_at: Some(now), updated_at: now, ..self }
    }
}
