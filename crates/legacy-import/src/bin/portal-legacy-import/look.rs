//! The commands that change no record: how much there is, what it says, and what is wrong with it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use portal_legacy_import::importer::Counts;
use portal_legacy_import::store::{self, KeyUse};
use portal_legacy_import::survey::Survey;
use portal_legacy_import::{KeyId, LegacyRecord, Reader, migration, refusal};
use portal_store::{Database, StoreError};
use portal_upkeep::migration::{Record, State, Step, recorded};
use portal_upkeep::scan::ScanState;
use tokio::time::Instant;

use crate::config::Config;
use crate::{Outcome, open, output};

/// Records that `plan` reads to measure how long one takes.
const SAMPLE: u32 = 256;
/// Refusals that `status` lists, unless asked for all.
const LISTED: usize = 20;
/// How often it is looked how far a scan is.
const LOOK: Duration = Duration::from_millis(100);

/// `digest`.
pub async fn digest(config: &Path) -> anyhow::Result<Outcome> {
    let importer = open::importer(&Config::read(config)?).await?;
    let surveys =
        [("legacy", importer.survey_legacy().await?), ("imported", importer.survey_imported().await?)];
    importer.close().await;
    let mut outcome = Outcome::Done;
    for (what, Survey { records, unreadable, digest }) in surveys {
        let hex: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        output::line(&format!("{what:9}{hex}  {records} records, {unreadable} unreadable"));
        if unreadable > 0 {
            outcome = Outcome::Look;
        }
    }
    Ok(outcome)
}

/// `plan`.
pub async fn plan(config: &Path) -> anyhow::Result<Outcome> {
    let config = Config::read(config)?;
    let reader = config.reader()?;
    let database = open::database(&config).await?;
    let plan = database.read::<_, StoreError, _, _>("plan_import", |tx| async move {
        let counts = Counts::read(&tx).await?;
        Ok((counts, store::count_subjects(&tx).await?, store::key_uses(&tx).await?))
    });
    let (counts, people, [kem, signers]) = plan.await?;
    for text in counted(&counts) {
        output::line(&text);
    }
    output::line(&format!("people       {people}"));
    let missing = told_keys("kyber768", &kem, |key| reader.can_open(key))
        + told_keys("dilithium3", &signers, |key| reader.can_verify(key));
    measure(&database, &reader, counts.left).await?;
    database.close().await;
    if missing > 0 {
        output::next(
            "name the files of the missing keys in [legacy]; without them those records are refused",
        );
        return Ok(Outcome::Look);
    }
    output::next(if counts.legacy == 0 {
        "portal-legacy-import load FILE"
    } else {
        "portal-legacy-import run"
    });
    Ok(Outcome::Done)
}

/// Tells which keys records name, and counts those that were not given.
fn told_keys(algorithm: &str, uses: &[KeyUse], given: impl Fn(KeyId) -> bool) -> usize {
    let mut missing = 0;
    for KeyUse { key, rows } in uses {
        let (name, given) = match key {
            Some(key) => (key.to_string(), given(*key)),
            None => ("no id of a key".to_owned(), false),
        };
        missing += usize::from(!given);
        let given = if given { "given" } else { "MISSING" };
        output::line(&format!("{algorithm:12} {name}  {rows} records, {given}"));
    }
    missing
}

/// Tells how long reading and verifying all records takes on this machine, by reading some.
async fn measure(database: &Database, reader: &Reader, left: u64) -> anyhow::Result<()> {
    let sample = database
        .read::<_, StoreError, _, _>("plan_sample", |tx| async move { store::rows(&tx, None, SAMPLE).await });
    let records: Vec<LegacyRecord> = sample.await?.into_iter().filter_map(|row| row.record.ok()).collect();
    if left == 0 || records.is_empty() {
        return Ok(());
    }
    let began = Instant::now();
    drop(reader.read_all(&records.iter().collect::<Vec<_>>()));
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let rate = records.len() as f64 / began.elapsed().as_secs_f64().max(1e-9);
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let time = Duration::try_from_secs_f64(2.0 * left as f64 / rate).unwrap_or_default();
    // Twice: to import, and to verify.
    output::line(&format!(
        "estimate     {} at least, at {rate:.0} records per second (measured on {})",
        output::seconds(time),
        records.len()
    ));
    Ok(())
}

/// `scan`.
pub async fn scan(config: &Path, max_rows_per_second: Option<u32>) -> anyhow::Result<Outcome> {
    let importer = open::importer(&Config::read(config)?).await?;
    let scans = importer.scans();
    let id = match scans.start(&[], max_rows_per_second).await {
        Ok(report) => report.id,
        // One that was interrupted is ended first.
        Err(portal_upkeep::scan::ScanRefusal::Running) => {
            scans.report(None).await?.context("a scan is running and has no report")?.0.id
        }
        Err(error) => return Err(error.into()),
    };
    let (report, findings) = loop {
        scans.run_until_idle().await?;
        let found = scans.report(Some(id)).await?.context("the report of the scan is gone")?;
        if found.0.state != ScanState::Running {
            break found;
        }
        tokio::time::sleep(LOOK).await;
    };
    importer.close().await;
    for finding in findings {
        let column = if finding.column.is_empty() { "the whole row" } else { &finding.column };
        output::line(&format!("{} {} {column}: {}", finding.table, finding.row, finding.cause));
    }
    output::line(&format!("checked {} rows, found {} faults", report.rows_checked, report.finding_count));
    match report.state {
        ScanState::Clean => Ok(Outcome::Done),
        ScanState::Faulty => {
            output::next(
                "a legacy row with a fault is refused by run; for an imported one rollback and run again, if its \
                 legacy row is there",
            );
            Ok(Outcome::Look)
        }
        ScanState::Failed | ScanState::Running => bail!("the scan could not read everything"),
    }
}

/// `status`.
pub async fn status(config: &Path, all: bool) -> anyhow::Result<Outcome> {
    let config = Config::read(config)?;
    let database = open::database(&config).await?;
    let read = database.read::<_, StoreError, _, _>("import_status", |tx| async move {
        Ok((recorded(&tx, migration::NAME).await?, Counts::read(&tx).await?))
    });
    let (found, counts) = read.await?;
    let (record, far) = found.unzip();
    let record =
        record.unwrap_or_else(|| Record::pending(migration::NAME, portal_core::Timestamp::default()));
    let committed = if record.committed { ", committed" } else { "" };
    output::line(&format!("state        {}{committed}", record.state.name()));
    if let (Some(_), Some(far)) = (record.state.active(), far) {
        output::line(&format!("progress     {} of {}", far.step_done, far.step_total));
    }
    if let Some(reason) = &record.failure_reason {
        output::line(&format!("failure      {reason}"));
    }
    for text in counted(&counts) {
        output::line(&text);
    }
    list(&database, if all { usize::MAX } else { LISTED }).await?;
    database.close().await;
    output::next(&next(&record, &counts));
    Ok(if counts.refused.is_empty() && record.state != State::Failed { Outcome::Done } else { Outcome::Look })
}

/// Lists records that can't be imported, at most so many.
async fn list(database: &Database, mut most: usize) -> Result<(), StoreError> {
    let mut after = None;
    while most > 0 {
        let page = database.read::<_, StoreError, _, _>("list_refusals", |tx| async move {
            refusal::page(&tx, after, 500).await
        });
        let refusals = page.await?;
        let Some(last) = refusals.last() else { return Ok(()) };
        after = Some(last.record_id);
        for refusal in refusals.iter().take(most) {
            output::line(&format!("refused      {}  {}", refusal.record_id, refusal.cause.name()));
        }
        most = most.saturating_sub(refusals.len());
    }
    Ok(())
}

/// The counts, a line each.
pub fn counted(counts: &Counts) -> Vec<String> {
    let mut lines = vec![
        format!("legacy       {} records", counts.legacy),
        format!("imported     {} records", counts.imported),
        format!("to import    {} records", counts.left),
    ];
    let refused = |(cause, records): &(refusal::Cause, u64)| {
        format!("unreadable   {records} records: {} ({cause})", cause.name())
    };
    lines.extend(counts.refused.iter().map(refused));
    lines
}

/// What to do next.
pub fn next(record: &Record, counts: &Counts) -> String {
    let text = match record.state {
        _ if counts.legacy == 0 && counts.imported == 0 => "portal-legacy-import load FILE",
        State::Pending => "portal-legacy-import plan",
        State::RolledBack => "everything is as it was; portal-legacy-import run imports again",
        State::Done if counts.left > 0 => "portal-legacy-import run, for what was loaded since",
        State::Done if record.committed && counts.legacy == 0 => {
            "all is imported; destroy the earlier system's private keys and exports when no backup needs them"
        }
        State::Done if record.committed => {
            "what is left can't be read: name missing keys in [legacy] and run again, or keep it as it is"
        }
        State::Done if counts.staying() > 0 => {
            "name missing keys in [legacy] and run again; or commit --leave-unreadable; or rollback"
        }
        State::Done => "compare portal-legacy-import digest; then commit, or rollback",
        State::Failed | State::Paused => return format!("{} goes on with it", output::command(record.step)),
        State::Running | State::Verifying | State::Committing | State::RollingBack => {
            return format!(
                "if no process is at it, {} goes on with it",
                output::command(continuing(record.step))
            );
        }
    };
    text.to_owned()
}

/// The command that goes on with a step: a run verifies by itself.
const fn continuing(step: Step) -> Step {
    match step {
        Step::Verify => Step::Move,
        step => step,
    }
}
