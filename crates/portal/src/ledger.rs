//! The ledger of one service: written to a file, and verified, in its database or in such a file.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use portal_crypto::merkle::TreeHead;
use portal_ledger::export::{ExportVerified, Verifier, line};
use portal_ledger::{Continuation, Log, Verified};
use portal_upkeep::ledger::Ended;

use crate::cli::{LedgerCommand, Target};
use crate::config::Unusable;
use crate::progress::{Bar, Step};
use crate::services::Opened;
use crate::{output, serve};

/// Leaves that are read at once.
const PAGE: u64 = 1_000;

pub fn run(command: &LedgerCommand) -> anyhow::Result<()> {
    match command {
        LedgerCommand::BeginAnew { target, yes } => {
            opened(target, async |opened| begin_anew(opened, *yes).await)
        }
        LedgerCommand::Export { target, out } => {
            opened(target, async |opened| export(&opened.log, out).await)
        }
    }
}

/// Ends a log that was set back. One that was not, or whose rows were changed, stays as it is.
async fn begin_anew(opened: &Opened, yes: bool) -> anyhow::Result<()> {
    let Opened { log, keys, .. } = opened;
    let origin = log.origin();
    let bar = RefCell::new(Bar::new());
    let show = |done, total| {
        bar.borrow_mut().show(Step { what: "verifying", done, total, ..Step::default() });
    };
    let continuation = log.continuation(show).await?;
    drop(bar);
    let head = match continuation {
        Continuation::Continues => {
            anyhow::bail!("{origin} continues its newest checkpoint: it needs no other log")
        }
        Continuation::Changed(Verified { faults, .. }) => {
            for fault in &faults {
                output::line(&fault.to_string());
            }
            anyhow::bail!(
                "{origin} was not only set back, rows of it were changed: put the database back from a backup"
            );
        }
        Continuation::SetBack(head) => head,
    };
    let described = describe(head);
    output::line(&format!(
        "{origin} was signed with {described}, and its database does not lead there any more."
    ));
    output::line(
        "Ending it means: what was recorded after the backup is lost, and stays lost. Checkpoints and receipts",
    );
    output::line(
        "that were handed out stay true of the old log, and verify; no proof leads from them to the new one.",
    );
    output::line("Whoever keeps checkpoints has to be told, and to begin anew with the new name.");
    if !yes {
        anyhow::bail!("nothing was done; with --yes the log is ended");
    }
    portal_upkeep::ledger::end(keys, head).await?;
    output::line(&format!("{origin} has ended with {described}. Start the service: it begins the next log."));
    Ok(())
}

fn describe(head: TreeHead) -> String {
    let root: String = head.root.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} entries, root {root}", head.size)
}

/// Verifies the log in the database of a service: 0 if it is what was signed, 1 if not.
pub fn verify(target: &Target) -> anyhow::Result<ExitCode> {
    opened(target, async |opened| {
        let bar = RefCell::new(Bar::new());
        let show = |done, total| {
            bar.borrow_mut().show(Step { what: "verifying", done, total, ..Step::default() });
        };
        let Verified { head, entries, faults, count } = opened.log.verify(show).await?;
        drop(bar);
        for fault in &faults {
            output::line(&fault.to_string());
        }
        for Ended { generation, head } in portal_upkeep::ledger::ended(&opened.keys).await? {
            output::line(&format!("log {generation} has ended with {}", describe(head)));
        }
        let origin = opened.log.origin();
        Ok(match head {
            Some(head) if count == 0 => {
                output::line(&format!("valid: {entries} entries of {origin}, {} of them signed", head.size));
                ExitCode::SUCCESS
            }
            None if count == 0 => {
                output::line(&format!(
                    "{origin} has no checkpoint yet: nothing is signed that could be verified"
                ));
                ExitCode::FAILURE
            }
            Some(_) | None => invalid(origin, count),
        })
    })
}

/// Verifies the log in a file: 0 if it is what was signed, 1 if not. `keys` names a file with the keys of the log.
pub fn verify_file(file: &Path, keys: Option<&Path>) -> anyhow::Result<ExitCode> {
    let unusable =
        |error: std::io::Error| Unusable::one(format!("{} can't be read: {error}", file.display()));
    let given = keys.map(verifier_keys).transpose()?.unwrap_or_default();
    let mut lines = BufReader::new(File::open(file).map_err(unusable)?).lines();
    let header = lines.next().transpose().map_err(unusable)?.unwrap_or_default();
    let verifier = Verifier::new(&header, &given);
    let mut verifier = verifier.map_err(|error| Unusable::one(format!("{}: {error}", file.display())))?;
    for line in lines {
        verifier.line(&line.map_err(unusable)?);
    }
    let ExportVerified { checkpoint, leaves, faults, count } = verifier.finish();
    for fault in &faults {
        output::line(&fault.to_string());
    }
    let Some(checkpoint) = checkpoint.filter(|_| count == 0) else {
        return Ok(invalid(&file.display().to_string(), count));
    };
    output::line(&format!(
        "valid: {leaves} entries of {}, signed {}",
        checkpoint.origin, checkpoint.signed_at
    ));
    if given.is_empty() {
        output::line(
            "the keys are those in the file: compare them with what the service's GetLedgerKeys gives",
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn invalid(what: &str, count: u64) -> ExitCode {
    output::line(&format!("INVALID: {what} is not what was signed; faults: {count}"));
    ExitCode::FAILURE
}

/// The keys in a file: the answer of `GetLedgerKeys` as JSON, or a verifier key on each line.
fn verifier_keys(file: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Unusable::one(format!("{} can't be read: {error}", file.display())))?;
    if !text.trim_start().starts_with('{') {
        return Ok(text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(ToOwned::to_owned)
            .collect());
    }
    let answer: serde_json::Value = serde_json::from_str(&text)
        .map_err(|_| Unusable::one(format!("{} has no keys of a ledger", file.display())))?;
    let keys =
        answer.get("keys").and_then(serde_json::Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let key =
        |key: &serde_json::Value| key.get("verifierKey").and_then(|key| key.as_str().map(ToOwned::to_owned));
    let keys: Vec<String> = keys.iter().filter_map(key).collect();
    if keys.is_empty() {
        return Err(Unusable::one(format!("{} has no keys of a ledger", file.display())).into());
    }
    Ok(keys)
}

async fn export(log: &Log, out: &Path) -> anyhow::Result<()> {
    let signed = log.checkpoint().await.context("there is nothing to export")?;
    let size = signed.checkpoint.head.size;
    let part = out.with_extension("new");
    let write = async || -> anyhow::Result<()> {
        let mut file = BufWriter::new(File::create(&part)?);
        writeln!(file, "{}", log.header(&signed))?;
        let mut bar = Bar::new();
        let mut done = 0;
        while done < size {
            let entries = log.entries(done, PAGE.min(size - done)).await?;
            for entry in &entries {
                writeln!(file, "{}", line(entry))?;
            }
            done += entries.len() as u64;
            bar.show(Step { what: "exporting", done, total: size, ..Step::default() });
        }
        file.into_inner()?.sync_all()?;
        Ok(std::fs::rename(&part, out)?)
    };
    write().await.with_context(|| format!("{} can't be written", out.display()))?;
    output::line(&format!("{size} entries of {} in {}", log.origin(), out.display()));
    Ok(())
}

fn opened<T>(target: &Target, run: impl AsyncFnOnce(&Opened) -> anyhow::Result<T>) -> anyhow::Result<T> {
    serve::runtime()?.block_on(async {
        let Some(opened) = target.config()?.open(&serve::host()).await? else {
            return Err(Unusable::one("the gateway has no ledger".to_owned()).into());
        };
        let result = run(&opened).await;
        opened.close().await;
        result
    })
}
