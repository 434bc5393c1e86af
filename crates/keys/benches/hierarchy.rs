//! What sealed cells and the key hierarchy cost through their front doors: `cargo bench -p portal-keys`. What the formats
//! below cost is measured in `crates/crypto/benches`.
//!
//! The first lines are nanoseconds of processor time a call (lower quartile of the rounds); the others are rates, of one
//! process on a database of its own. The number of people may follow: `cargo bench -p portal-keys -- 500000`.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing)]

#[expect(dead_code, reason = "nothing here has a counterpart")]
#[path = "../../crypto/benches/paired/harness.rs"]
mod harness;

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portal_core::id::{Id, SubjectId, TenantId};
use portal_core::{SystemClock, SystemEntropy, Workload};
use portal_crypto::envelope::{Padding, Scope};
use portal_keys::{Ambient, Keys, KeysConfig, Metrics, Provider, ProviderConfig};
use portal_store::sealed::{Row, SealedColumn, Sealing};
use portal_testkit::TestDatabase;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const SCOPE: Scope = Scope { service: Workload::Auth, tenant: TenantId::DEFAULT };
const EMAIL: SealedColumn<String> = SealedColumn::new("account", "email", Padding::None);
/// People whose keys are asked for together.
const BATCH: usize = 2_000;
/// Subject keys wrapped anew in a second, through PostgreSQL.
const REWRAP: f64 = 20_000.0;
/// Nanoseconds for a cell of 64 bytes, or for a key, through the front door.
const CELL: f64 = 1_000.0;

fn main() -> ExitCode {
    let people = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    let runtime = Runtime::new().unwrap();
    let directory = TempDir::new().unwrap();
    let sqlite = TestDatabase::sqlite();
    cells(&runtime, &runtime.block_on(open(&sqlite, &directory, "cells")));
    runtime.block_on(life("SQLite", &TestDatabase::sqlite(), &directory, people));
    let Some(postgres) = runtime.block_on(TestDatabase::postgres()) else { return harness::verdict() };
    let rewrapped = runtime.block_on(life("PostgreSQL", &postgres, &directory, people));
    harness::budget(rewrapped >= REWRAP, rewrapped, REWRAP);
    harness::verdict()
}

async fn open(database: &TestDatabase, directory: &TempDir, name: &str) -> Keys {
    let config = KeysConfig {
        provider: ProviderConfig::File { root_key_file: directory.path().join(name), passphrase_file: None },
        provider_timeout: Duration::from_secs(5),
        database: database.config(),
        cache_ttl: Duration::from_secs(60),
        cache_max_subjects: 100_000,
        epoch: Duration::from_secs(90 * 86_400),
        backup_retention: Duration::from_secs(30 * 86_400),
        disabled_algorithms: Vec::new(),
        import_service_secret_file: None,
    };
    if !directory.path().join(name).exists() {
        Provider::create(&config, Arc::new(SystemClock), Arc::new(SystemEntropy)).await.unwrap();
    }
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    Keys::open(&config, SCOPE, Ambient { clock, entropy, metrics: Metrics::default() }).await.unwrap()
}

fn subject(number: usize) -> SubjectId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&(number as u64).to_be_bytes());
    SubjectId::from_bytes(bytes)
}

/// A cell of 64 bytes, sealed and opened with a key that is in the cache.
fn cells(runtime: &Runtime, keys: &Keys) {
    let sealing = Sealing::new(Arc::new(SystemEntropy), &portal_store::Metrics::default());
    let (id, row) = (subject(1), Row { id: [1; 16], version: 1 });
    let key = runtime.block_on(keys.subject_or_new(id)).unwrap();
    let value = "a".repeat(64);
    let sealed = EMAIL.seal(&sealing, &key, row, &value).unwrap();
    harness::title();
    harness::alone("key, from the cache", || keys.cached(black_box(id)).unwrap()).nanos_at_most(CELL);
    harness::alone("cell, seal 64 B, key from the cache", || {
        EMAIL.seal(&sealing, &keys.cached(id).unwrap(), row, black_box(&value)).unwrap()
    })
    .nanos_at_most(CELL);
    harness::alone("cell, open 64 B, key from the cache", || {
        EMAIL.open(&sealing, &keys.cached(id).unwrap(), row, black_box(&sealed)).unwrap()
    })
    .nanos_at_most(CELL);
    runtime.block_on(keys.close());
}

/// Keys of many people: made, read back by a process that starts, wrapped under a new epoch.
async fn life(name: &str, database: &TestDatabase, directory: &TempDir, people: usize) -> f64 {
    let keys = open(database, directory, name).await;
    let subjects: Vec<_> = (2..people + 2).map(subject).collect();
    let start = Instant::now();
    for batch in subjects.chunks(BATCH) {
        drop(keys.subjects_or_new(batch).await.unwrap());
    }
    rate(name, "subject keys, made", people, start);
    keys.close().await;

    let keys = open(database, directory, name).await;
    let start = Instant::now();
    for batch in subjects.chunks(BATCH) {
        drop(keys.subjects(batch).await.unwrap());
    }
    rate(name, "subject keys, read and opened", people, start);

    keys.rotate_epoch().await.unwrap();
    let start = Instant::now();
    let done = keys.rewrap(&|_| ()).await.unwrap();
    assert!(done.done >= people as u64 && done.corrupt == 0, "{done:?}");
    let rewrapped = rate(name, "subject keys, wrapped again", people, start);
    keys.close().await;
    rewrapped
}

fn rate(database: &str, what: &str, people: usize, start: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a number of people")]
    let rate = people as f64 / start.elapsed().as_secs_f64();
    println!("{:<46} {rate:>12.0} /s", format!("{what}, {database}"));
    rate
}
