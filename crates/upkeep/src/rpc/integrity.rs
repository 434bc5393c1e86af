//! `IntegrityService`.

use portal_core::Invalid;
use portal_mesh::convert::timestamp;
use portal_mesh::policy::Action;
use portal_proto::common::v1 as pb;
use portal_store::{Corruption, Tx};
use prost::Message as _;
use tonic::{Request, Response};
use uuid::Uuid;

use super::failure::Failure;
use super::once::{Once, Outcome};
use super::{Answer, Inner, Operators, asked, count, rate, refused};
use crate::reasons::REPORT_NOT_FOUND;
use crate::scan::report::ReportedFinding;
use crate::scan::{Report, ScanState};

impl Operators {
    /// Begins a scan, and answers with its report, which is running.
    ///
    /// # Errors
    /// SCAN_RUNNING, INVALID_FIELD; what the database failed with.
    pub async fn run_scan<A: Action>(
        &self,
        request: Request<pb::RunScanRequest>,
    ) -> Answer<pb::IntegrityReport> {
        let (caller, request) = asked::<A, _>(request)?;
        let mut invalid = Invalid::new();
        let rate = rate(&mut invalid, request.max_rows_per_second);
        let id = (request.request_id.as_str(), self.0.host.clock.now());
        let once = Once::parse::<A>(&mut invalid, &caller, &request, id);
        invalid.finish(Some(())).map_err(refused)?;
        let report = self.0.run_scan(&request.tables, rate, once.as_ref()).await?;
        Ok(Response::new(report))
    }

    /// The report of a scan, the newest one unless one is named.
    ///
    /// # Errors
    /// REPORT_NOT_FOUND, INVALID_FIELD; what the database failed with.
    pub async fn get_report<A: Action>(
        &self,
        request: Request<pb::GetReportRequest>,
    ) -> Answer<pb::IntegrityReport> {
        let (_, request) = asked::<A, _>(request)?;
        let id = match request.report_id.as_str() {
            "" => None,
            id => {
                let id = Uuid::try_parse(id).map_err(|_| Invalid::field("report_id", "must be a UUID"));
                Some(id.map_err(refused)?)
            }
        };
        let found = self.0.scans.report(id).await.map_err(Failure::from)?;
        let (report, findings) = found.ok_or_else(|| REPORT_NOT_FOUND.status())?;
        Ok(Response::new(message(&report, findings)))
    }
}

impl Inner {
    async fn run_scan(
        &self,
        tables: &[String],
        rate: Option<u32>,
        once: Option<&Once>,
    ) -> Result<pb::IntegrityReport, tonic::Status> {
        let start = |tx: Tx| async move {
            if let Some(kept) = self.before(&tx, once).await? {
                return Ok(Outcome::Again(kept));
            }
            let report = message(&self.scans.start_in(&tx, tables, rate).await?, Vec::new());
            self.keep(&tx, once, &report.encode_to_vec()).await?;
            Ok::<_, Failure>(Outcome::First(report))
        };
        match self.host.database.run_tx("run_scan", start).await? {
            Outcome::Again(kept) => self.open(once, kept).await,
            Outcome::First(report) => {
                self.scans.wake();
                Ok(report)
            }
        }
    }
}

fn message(report: &Report, findings: Vec<ReportedFinding>) -> pb::IntegrityReport {
    pb::IntegrityReport {
        report_id: report.id.to_string(),
        state: state(report.state).into(),
        start_time: Some(timestamp(report.started_at)),
        end_time: report.ended_at.map(timestamp),
        rows_checked: count(report.rows_checked),
        rows_total: count(report.rows_total),
        rows_unchecked: count(report.rows_unchecked),
        ledger_entries_checked: count(report.ledger_entries_checked),
        finding_count: count(report.finding_count),
        findings: findings.into_iter().map(finding).collect(),
    }
}

fn finding(found: ReportedFinding) -> pb::IntegrityFinding {
    let ReportedFinding { table, row, column, cause: why } = found;
    pb::IntegrityFinding { table, row_id: row, column, cause: cause(why).into() }
}

const fn state(state: ScanState) -> pb::ScanState {
    match state {
        ScanState::Clean => pb::ScanState::Clean,
        ScanState::Failed => pb::ScanState::Failed,
        ScanState::Faulty => pb::ScanState::Faulty,
        ScanState::Running => pb::ScanState::Running,
    }
}

const fn cause(cause: Corruption) -> pb::IntegrityCause {
    match cause {
        Corruption::DigestMismatch => pb::IntegrityCause::DigestMismatch,
        Corruption::EnvelopeMalformed => pb::IntegrityCause::EnvelopeMalformed,
        Corruption::EnvelopeRefused => pb::IntegrityCause::EnvelopeRefused,
        Corruption::KeyMissing => pb::IntegrityCause::KeyMissing,
        Corruption::LedgerMismatch => pb::IntegrityCause::LedgerMismatch,
        Corruption::LedgerMissing => pb::IntegrityCause::LedgerMissing,
        Corruption::ValueInvalid => pb::IntegrityCause::ValueInvalid,
    }
}
