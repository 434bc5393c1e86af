//! A copy of the shred ledger, to be kept apart from the backups of the key database: it says who was erased after the
//! newest of them.
//!
//! A line of JSON each: whose ledger it is, and then its entries in their order. They name nobody, and their links are
//! made with a key of the service: what somebody has changed, left out or added is refused.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use portal_core::Timestamp;
use portal_keys::{Keys, Shred};
use serde::{Deserialize, Serialize};

use super::erasure;
use crate::config::Unusable;
use crate::output;
use crate::services::Opened;

/// Entries that are read or added at once.
const BATCH: usize = 1_000;

#[derive(Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Head {
    portal_shred_ledger: u32,
    service: String,
    tenant: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    position: u64,
    tag: String,
    keys: u64,
    at_micros: i64,
    link: String,
}

impl Head {
    fn of(keys: &Keys) -> Self {
        let scope = keys.scope();
        Self {
            portal_shred_ledger: 1,
            service: scope.service.name().to_owned(),
            tenant: scope.tenant.to_string(),
        }
    }
}

impl From<&Shred> for Entry {
    fn from(shred: &Shred) -> Self {
        let Shred { position, tag, keys, at, link } = shred;
        let at_micros = at.as_micros();
        Self { position: *position, tag: hex(tag), keys: *keys, at_micros, link: hex(link) }
    }
}

impl Entry {
    fn parse(line: &str) -> Option<Shred> {
        let Self { position, tag, keys, at_micros, link } = serde_json::from_str(line).ok()?;
        let tag = from_hex(&tag)?.try_into().ok()?;
        Some(Shred { position, tag, keys, at: Timestamp::from_micros(at_micros), link: from_hex(&link)? })
    }
}

/// Writes the whole ledger to `out`, which becomes the new copy only when it is complete.
pub async fn export(keys: &Keys, out: &Path) -> anyhow::Result<()> {
    let describe = || format!("can't write {}", out.display());
    let new = out.with_extension("new");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
    let mut writer = BufWriter::new(file.with_context(describe)?);
    writeln!(writer, "{}", serde_json::to_string(&Head::of(keys))?).with_context(describe)?;
    let mut position = 0;
    loop {
        let entries = keys.shreds(position, BATCH as u64).await?;
        for entry in &entries {
            writeln!(writer, "{}", serde_json::to_string(&Entry::from(entry))?).with_context(describe)?;
        }
        let Some(last) = entries.last() else { break };
        position = last.position;
    }
    let file = writer.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(describe)?;
    file.sync_all().and_then(|()| fs::rename(&new, out)).with_context(describe)?;
    output::line(&format!("{position} entries of the shred ledger are in {}", out.display()));
    Ok(())
}

/// Adds the entries that a key database which was put back does not have, and erases again whom they name.
pub async fn import(opened: &Opened, path: &Path) -> anyhow::Result<()> {
    let describe = || format!("can't read {}", path.display());
    let mut lines = BufReader::new(File::open(path).with_context(describe)?).lines();
    let unusable = |problem: &str| Unusable::one(format!("{}: {problem}", path.display()));
    let head = lines.next().transpose().with_context(describe)?.unwrap_or_default();
    let Ok(head) = serde_json::from_str::<Head>(&head) else {
        bail!(unusable("not a copy of a shred ledger"));
    };
    ensure!(head == Head::of(&opened.keys), unusable("the shred ledger of another service or tenant"));
    let (mut added, mut batch) = (0, Vec::with_capacity(BATCH));
    for line in lines {
        let entry = Entry::parse(&line.with_context(describe)?);
        batch.push(entry.ok_or_else(|| unusable("a line is no entry"))?);
        if batch.len() == BATCH {
            added += opened.keys.add_shreds(&batch).await?;
            batch.clear();
        }
    }
    added += opened.keys.add_shreds(&batch).await?;
    output::line(&format!("{added} entries were added"));
    erasure::replay(opened).await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}
