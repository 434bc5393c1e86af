//! The commands that change something: each begins what it is called, and works until that has ended.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use portal_legacy_import::importer::{Counts, Importer, Refused, Unreadables};
use portal_legacy_import::{Export, load as loading};
use portal_upkeep::migration::{Migration, OperationError, State, TransitionError};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::{Outcome, open, output};

/// `load`.
pub async fn load(config: &Path, file: &Path) -> anyhow::Result<Outcome> {
    let config = Config::read(config)?;
    let export = File::open(file).with_context(|| format!("can't read {}", file.display()))?;
    let database = open::database(&config).await?;
    let loaded = loading::load(&database, Export::new(BufReader::new(export)), |_| {}).await;
    let loaded = loaded.context("what precedes it is loaded; mend the export and load it again")?;
    output::line(&format!("loaded   {} records", loaded.inserted));
    output::line(&format!("present  {} records, the same already", loaded.present));
    output::next("portal-legacy-import plan");
    database.close().await;
    Ok(Outcome::Done)
}

/// `run`.
pub async fn run(config: &Path, max_rows_per_second: Option<u32>) -> anyhow::Result<Outcome> {
    let importer = open::importer(&Config::read(config)?).await?;
    let migration = importer.migration().await?;
    let counts = importer.counts().await?;
    let nothing = counts.left == 0 && counts.refused.is_empty() && migration.record.state == State::Done;
    if !nothing {
        advised(importer.start(max_rows_per_second).await)?;
    }
    finish(importer).await
}

/// `verify`.
pub async fn verify(config: &Path) -> anyhow::Result<Outcome> {
    let importer = open::importer(&Config::read(config)?).await?;
    advised(importer.verify().await)?;
    finish(importer).await
}

/// `rollback`.
pub async fn roll_back(config: &Path) -> anyhow::Result<Outcome> {
    let importer = open::importer(&Config::read(config)?).await?;
    advised(importer.roll_back().await)?;
    finish(importer).await
}

/// `commit`.
pub async fn commit(config: &Path, unreadables: Unreadables) -> anyhow::Result<Outcome> {
    let importer = open::importer(&Config::read(config)?).await?;
    advised(importer.commit(unreadables).await)?;
    finish(importer).await
}

/// An operation that was refused, with what to do about it.
fn advised(begun: Result<Migration, Refused>) -> anyhow::Result<Migration> {
    let error = match begun {
        Ok(migration) => return Ok(migration),
        Err(error) => error,
    };
    let advice = match &error {
        Refused::Busy(step) => format!("end it first: {}", output::command(*step)),
        Refused::Unimported(_) => "import them first: portal-legacy-import run".to_owned(),
        Refused::Unreadable(_) => {
            "see which and why: portal-legacy-import status --all; name missing keys in \
                                   [legacy] and run again, or commit --leave-unreadable"
                .to_owned()
        }
        Refused::Operation(OperationError::Transition(transition)) => match transition {
            TransitionError::Committed => {
                "there is no way back; check what was imported: portal-legacy-import \
                                           scan"
                    .to_owned()
            }
            TransitionError::NotDone => "import first: portal-legacy-import run".to_owned(),
            TransitionError::Done | TransitionError::NotRunning | TransitionError::NotStarted => {
                "see how far it is: portal-legacy-import status".to_owned()
            }
        },
        Refused::Operation(_) | Refused::Store(_) => return Err(error.into()),
    };
    Err(anyhow!("{error}; {advice}"))
}

/// Works until what was begun has ended, and tells how.
async fn finish(importer: Importer) -> anyhow::Result<Outcome> {
    let mut progress = output::Progress::new();
    let migration = importer.drive(stop()?, |migration| progress.show(migration)).await?;
    progress.end();
    let counts = importer.counts().await?;
    importer.close().await;
    told(&migration, &counts)
}

/// Resolves when somebody wants it to stop.
fn stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn told(migration: &Migration, counts: &Counts) -> anyhow::Result<Outcome> {
    let record = &migration.record;
    for text in crate::look::counted(counts) {
        output::line(&text);
    }
    match record.state {
        State::Failed => {
            let reason = record.failure_reason.as_deref().unwrap_or_default();
            bail!("{} stopped: {reason}; {}", output::command(record.step), cure(reason));
        }
        State::Done | State::RolledBack => {
            output::next(&crate::look::next(record, counts));
            let all = counts.refused.is_empty();
            Ok(if all { Outcome::Done } else { Outcome::Look })
        }
        State::Pending
        | State::Running
        | State::Paused
        | State::Verifying
        | State::Committing
        | State::RollingBack => {
            output::next(&format!("it was stopped; go on with {}", output::command(record.step)));
            Ok(Outcome::Look)
        }
    }
}

/// What to do about a failure.
fn cure(reason: &str) -> &'static str {
    match reason {
        "MIGRATION_MISMATCH" | "ROW_CORRUPT" => {
            "an imported record is not what was imported: find all such with portal-legacy-import scan, then \
             rollback and run again"
        }
        "ALGORITHM_DISABLED" => {
            "the configuration switches an algorithm off that this needs: keys.disabled_algorithms"
        }
        "KEYS_UNAVAILABLE" => {
            "the keys of the service can't be had: see to its provider, then run the same again"
        }
        _ => "what stands above says why; the same command goes on where it stopped",
    }
}
