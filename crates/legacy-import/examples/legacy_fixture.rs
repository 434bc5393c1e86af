//! Writes what an earlier system would leave: an export, its keys, and a manifest of what is in it. For tests alone.
//!
//! ```text
//! cargo run --release -p portal-legacy-import --example legacy_fixture -- --rows 200000 --out DIR [--seed 1]
//! ```
//!
//! DIR then has `legacy-records.jsonl`, `kyber768.private` (mode 0600), `dilithium3.public` and `manifest.json`. The
//! same seed and number give the same plaintexts, so the same content digest; keys and signatures of Dilithium3 are new
//! ones each time, since `pqc_dilithium` can't load a key.

#![allow(clippy::unwrap_used)]

#[path = "../tests/support/writer.rs"]
mod writer;

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::num::NonZero;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use portal_legacy_import::{Content, ContentDigest};
use writer::{Value, Writer};

/// Records that a thread makes at a time.
const CHUNK: u64 = 256;

struct Options {
    rows: u64,
    seed: u64,
    out: PathBuf,
}

fn main() -> Result<()> {
    let options = options(std::env::args().skip(1))?;
    fs::create_dir_all(&options.out)?;
    let writer = Writer::new(options.seed);
    private(&options.out.join("kyber768.private"), writer.kem_private())?;
    fs::write(options.out.join("dilithium3.public"), writer.signer_public())?;
    let digest = records(&options, &writer)?;
    let (kem_key, signer) = writer.key_ids();
    let manifest = serde_json::json!({
        "records": options.rows,
        "subjects": options.rows.div_ceil(5),
        "seed": options.seed,
        "content_sha256": hex(digest.as_bytes()),
        "kem_key_id": kem_key.to_string(),
        "signer_key_id": signer.to_string(),
    });
    fs::write(options.out.join("manifest.json"), format!("{manifest:#}\n"))?;
    Ok(())
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let (mut rows, mut seed, mut out) = (None, 1, None);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} takes a value"))?;
        match name.as_str() {
            "--rows" => rows = Some(value.parse()?),
            "--seed" => seed = value.parse()?,
            "--out" => out = Some(value.into()),
            _ => bail!("there is no {name}"),
        }
    }
    Ok(Options { rows: rows.context("--rows is missing")?, seed, out: out.context("--out is missing")? })
}

/// Writes the export, on all processors, in the order of the ids.
fn records(options: &Options, writer: &Writer) -> Result<ContentDigest> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let mut file = BufWriter::new(File::create(options.out.join("legacy-records.jsonl"))?);
    let mut digest = ContentDigest::default();
    let mut start = 0;
    while start < options.rows {
        let chunks: Vec<_> = std::thread::scope(|scope| {
            let spawn = |thread: u64| {
                let from = (start + thread * CHUNK).min(options.rows);
                let numbers = from..(from + CHUNK).min(options.rows);
                scope.spawn(move || {
                    numbers.map(|number| one(options.seed, number, writer)).collect::<Vec<_>>()
                })
            };
            let handles: Vec<_> = (0..threads).map(spawn).collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).collect()
        });
        for (value, line) in chunks.into_iter().flatten() {
            writeln!(file, "{line}")?;
            digest = digest.with(content(&value));
        }
        start += threads * CHUNK;
    }
    file.into_inner()?.sync_all()?;
    Ok(digest)
}

fn one(seed: u64, number: u64, writer: &Writer) -> (Value, String) {
    let value = Value::new(seed, number);
    let line = writer::line(&writer.parts(&value));
    (value, line)
}

fn content(value: &Value) -> Content<'_> {
    Content {
        record_id: value.record_id,
        subject_id: value.subject_id,
        table: &value.table,
        field: &value.field,
        plaintext: &value.plaintext,
    }
}

fn private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(bytes)?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
