//! `portal verify receipt`: the steps of a receipt's verification, a line each, and what it comes to.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use portal_crypto::suite::Suites;
use portal_receipt::file::ReceiptFile;
use portal_receipt::{Report, keys, verify};

use crate::config::Unusable;
use crate::output;

/// Far more than a receipt or a set of keys has.
const MAX_FILE: u64 = 1 << 20;

pub fn run(file: &Path, keys: &Path) -> anyhow::Result<ExitCode> {
    let keys = read(keys, |bytes| keys::parse(bytes).map_err(Into::into))?;
    let receipt = read(file, |bytes| ReceiptFile::parse(bytes).map_err(Into::into))?;
    let report = verify(&receipt.proof(), &keys, Suites::ALL);
    for line in lines(&report) {
        output::line(&line);
    }
    Ok(if report.valid() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What `parse` makes of a file; everything that is wrong with it is wrong usage.
fn read<T>(path: &Path, parse: impl FnOnce(&[u8]) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let all = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        anyhow::ensure!(bytes.len() as u64 <= MAX_FILE, "the file is too long");
        parse(&bytes)
    };
    all()
        .with_context(|| path.display().to_string())
        .map_err(|error| Unusable::one(format!("{error:#}")).into())
}

fn lines(report: &Report) -> Vec<String> {
    let step = |finding: &portal_receipt::Finding| {
        let mark = if finding.passed { "ok  " } else { "FAIL" };
        format!("{mark}  {:<10}  {}", finding.step.name(), finding.detail)
    };
    let mut lines: Vec<String> = report.findings.iter().map(step).collect();
    lines.push(match (report.valid(), report.included) {
        (true, Some(_)) => "The receipt is valid, and its event is in the ledger.".to_owned(),
        (true, None) => {
            "The receipt is valid. It came without a proof of its place in the ledger, which was not checked."
                .to_owned()
        }
        (false, _) => "The receipt is NOT valid.".to_owned(),
    });
    lines
}
