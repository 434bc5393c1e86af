//! How fast a data migration seals a plaintext column on PostgreSQL, and what live traffic notices of it:
//! `cargo bench -p portal-upkeep`. The number of rows may follow: `cargo bench -p portal-upkeep -- 1000000`.
//!
//! The service is the one of the tests: rows of 5,000 people, sealed under their own keys and stamped with digests, at the
//! rate and with the batches of the default configuration. Live traffic changes 200 rows a second, each in a transaction
//! of its own, at fixed times: a change that waits is measured from the time at which it was due.
#![recursion_limit = "256"]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing
)]

#[allow(dead_code, unused_imports, reason = "the tests need more of it")]
#[path = "../tests/it/in_place.rs"]
mod in_place;
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/it/people.rs"]
mod people;
#[allow(dead_code, unused_imports, reason = "the tests need more of it")]
#[path = "../tests/it/toy.rs"]
mod toy;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portal_core::entropy::random_bytes;
use portal_core::{SeededEntropy, SystemClock, SystemEntropy};
use portal_keys::Ambient;
use portal_store::StoreError;
use portal_testkit::TestDatabase;
use portal_upkeep::MigrationConfig;
use portal_upkeep::migration::{DataMigration, Finality, Migrations, Operation, State};
use sea_orm::ConnectionTrait as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use people::{Keys, SCOPE};
use toy::{Crypto, Process, Repository, SEAL_NAMES, SealNames};

const PEOPLE: u128 = 5_000;
const PART: u128 = 10_000;
const WRITERS: u64 = 4;
const EVERY: Duration = Duration::from_millis(20);
/// How long live traffic is measured alone.
const ALONE: Duration = Duration::from_secs(10);
/// Rows moved in a second, at least.
const MOVED: f64 = 20_000.0;
/// How much the p99 of live changes grows, at most.
const NOTICED: f64 = 1.2;

#[tokio::main]
async fn main() -> ExitCode {
    let rows = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(400_000);
    let Some(database) = TestDatabase::postgres().await else { return ExitCode::SUCCESS };
    let process = filled(&database, rows).await;
    settle(&process).await;
    live(&process, rows, tokio::time::sleep(ALONE / 2)).await;
    let before = live(&process, rows, tokio::time::sleep(ALONE)).await;
    let migrations = migrations(&process);
    let start = Operation::Start { max_rows_per_second: None };
    migrations.apply(SEAL_NAMES, start).await.unwrap();
    let mut rates = Vec::new();
    let during = live(&process, rows, async { rates = run(&migrations).await }).await;
    let after = live(&process, rows, tokio::time::sleep(ALONE)).await;
    let mut slow = false;
    for (step, rate) in rates {
        slow |= step == "moved" && rate < MOVED;
        println!("{:<40} {rate:>10.0} /s", format!("rows, {step}"));
    }
    for (name, latencies) in
        [("alone, before", &before), ("beside the migration", &during), ("alone, after", &after)]
    {
        let [median, high] = [0.5, 0.99].map(|share| quantile(latencies, share).as_secs_f64() * 1e3);
        println!("{:<40} {median:>10.2} ms, p99 {high:.2} ms", format!("live change, {name}"));
    }
    // The rows have become larger meanwhile and are changed in both forms: both ends count.
    let alone = [before, after].concat();
    let ratio = quantile(&during, 0.99).as_secs_f64() / quantile(&alone, 0.99).as_secs_f64();
    println!("{:<40} {ratio:>10.2} x", "live p99, beside / alone");
    if slow || ratio > NOTICED {
        println!("FAIL: the budget is {MOVED} rows moved a second, and {NOTICED} x");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Has the server do now what it would do some time after so many rows were written, in the middle of what is measured.
async fn settle(process: &Process) {
    let settle = process.database().run_tx("settle", |tx| async move {
        tx.conn().execute_unprepared("ANALYZE").await?;
        tx.conn().execute_unprepared("CHECKPOINT").await?;
        Ok::<_, StoreError>(())
    });
    settle.await.unwrap();
}

async fn filled(database: &TestDatabase, rows: u128) -> Process {
    let connection = database.connect().await;
    portal_store::migrate::up::<toy::Schema>(&connection).await.unwrap();
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let ambient = Ambient { clock, entropy, metrics: portal_keys::Metrics::default() };
    let keys = portal_keys::Keys::open(&database.keys("consent").await, SCOPE, ambient).await.unwrap();
    let process = Process::on(&connection, Crypto::with(Keys::of_service(keys, PEOPLE)));
    for begin in (0..rows).step_by(usize::try_from(PART).unwrap()) {
        process.fill_range(begin..rows.min(begin + PART)).await;
    }
    process
}

fn migrations(process: &Process) -> Migrations {
    let host = toy::host(process.database(), Arc::new(SystemEntropy));
    let crypto = Arc::clone(&process.repository.crypto);
    let seal: Arc<dyn DataMigration> = Arc::new(SealNames { crypto });
    Migrations::new(&host, MigrationConfig::default(), Finality::not_kept(), vec![seal])
}

/// Moves and verifies all rows, and says how many a second in either step.
async fn run(migrations: &Migrations) -> Vec<(&'static str, f64)> {
    let mut working = JoinSet::new();
    let worker = migrations.clone();
    working.spawn(async move { worker.run_until_idle().await.unwrap() });
    let (mut start, mut rates) = (Instant::now(), Vec::new());
    let mut last = migrations.find(SEAL_NAMES).await.unwrap();
    loop {
        let found = migrations.find(SEAL_NAMES).await.unwrap();
        if found.record.state != last.record.state {
            let step = if last.record.state == State::Running { "moved" } else { "verified" };
            let all = if step == "moved" { found.progress.rows_done } else { found.progress.rows_verified };
            #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
            rates.push((step, all as f64 / start.elapsed().as_secs_f64()));
            start = Instant::now();
        }
        if found.record.state == State::Done {
            working.join_all().await;
            return rates;
        }
        assert!(found.record.state.active().is_some(), "{found:?}");
        last = found;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What live changes took while `work` was done.
async fn live(process: &Process, rows: u128, work: impl Future<Output = ()>) -> Vec<Duration> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut writing: JoinSet<_> = (0..WRITERS)
        .map(|writer| change_until(Arc::clone(&process.repository), (writer, rows), Arc::clone(&stop)))
        .collect();
    work.await;
    stop.store(true, Ordering::SeqCst);
    let mut all = Vec::new();
    while let Some(latencies) = writing.join_next().await {
        all.extend(latencies.unwrap());
    }
    all
}

async fn change_until(repository: Arc<Repository>, of: (u64, u128), stop: Arc<AtomicBool>) -> Vec<Duration> {
    let (writer, rows) = of;
    let entropy = SeededEntropy::new(writer);
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut latencies = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let at = due.tick().await;
        let id = u128::from(u64::from_be_bytes(random_bytes(&entropy))) % rows;
        repository.put(id, "changed meanwhile").await.unwrap();
        latencies.push(at.elapsed());
    }
    latencies
}

fn quantile(latencies: &[Duration], share: f64) -> Duration {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let index = (sorted.len() as f64 * share) as usize;
    sorted[index.min(sorted.len() - 1)]
}
