//! Processes that die in the middle of a migration: dropped tasks, and real processes killed with -9.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portal_core::entropy::random_bytes;
use portal_core::{SeededEntropy, SystemEntropy};
use portal_store::{Database, DatabaseConfig, Metrics};
use portal_testkit::{EphemeralPostgres, each_database};
use portal_upkeep::migration::{Operation, State};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::live::write_until;
use crate::steering::{apply, run};
use crate::toy::{Crypto, Process, SEAL_NAMES, Schema};

const START: Operation = Operation::Start { max_rows_per_second: None };
const ROWS: u128 = 20_000;
/// Names the database to the child.
const CHILD: &str = "PORTAL_UPKEEP_TEST_CHILD";

async fn done(process: &Process) -> (State, u64) {
    let found = process.migrations.find(SEAL_NAMES).await.unwrap();
    (found.record.state, found.progress.step_done)
}

/// Waits until the present step has done `rows` more rows, or the migration is done. Says whether it is.
async fn wait_for(process: &Process, rows: u64) -> bool {
    let (state, before) = done(process).await;
    loop {
        let (now, rows_done) = done(process).await;
        if now == State::Done || now == State::RolledBack {
            return true;
        }
        if now != state || rows_done >= before.saturating_add(rows) {
            return false;
        }
        tokio::task::yield_now().await;
    }
}

each_database! {
    /// A task is dropped somewhere, in a batch as like as not; another process takes over when the lease is over.
    async fn dropped_tasks(database) {
        let watcher = Process::start(database).await;
        watcher.fill(3_000).await;
        let before = watcher.logical_hash().await;
        let entropy = SeededEntropy::new(3);
        let slowly = Operation::Start { max_rows_per_second: Some(4_000) };
        for operation in [slowly, Operation::RollBack, slowly] {
            apply(&watcher, operation).await;
            for _ in 0..3 {
                let process = Process::start(database).await;
                let mut running = JoinSet::new();
                running.spawn(async move { process.migrations.run(std::future::pending()).await });
                let rows = u64::from(u16::from_be_bytes(random_bytes(&entropy)) % 700);
                if wait_for(&watcher, rows).await {
                    break;
                }
                running.shutdown().await;
            }
            let last = Process::start(database).await;
            let mut running = JoinSet::new();
            running.spawn(async move { last.migrations.run(std::future::pending()).await });
            while !wait_for(&watcher, 10_000).await {}
            assert_eq!(watcher.logical_hash().await, before);
        }
        let progress = watcher.migrations.find(SEAL_NAMES).await.unwrap().progress;
        assert_eq!((progress.rows_done, progress.rows_verified), (3_000, 3_000), "none missed, none twice");
        assert!(watcher.rows().await.iter().all(|row| row.name_sealed.is_some()));
    }

    /// Two processes at once: one works, the other one waits, and nothing is done twice.
    async fn two_processes_share_the_work(database) {
        let (one, two) = (Process::start(database).await, Process::start(database).await);
        one.fill(3_000).await;
        apply(&one, START).await;
        let (first, second) = tokio::join!(one.migrations.run_until_idle(), two.migrations.run_until_idle());
        first.unwrap();
        second.unwrap();
        assert_eq!(run(&one).await, State::Done);
        let progress = two.migrations.find(SEAL_NAMES).await.unwrap().progress;
        assert_eq!((progress.rows_done, progress.rows_verified), (3_000, 3_000));
    }
}

/// Where a child finds the database.
struct Place {
    url: String,
    _directory: Option<TempDir>,
    _server: Option<EphemeralPostgres>,
}

async fn connect(url: &str) -> Process {
    let config = DatabaseConfig::from_url(url);
    let database = Database::connect(&config, Arc::new(SystemEntropy), Metrics::default()).await.unwrap();
    portal_store::migrate::up::<Schema>(&database).await.unwrap();
    Process::on(&database, Crypto::new())
}

fn child(url: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::the_child", "--nocapture"])
        .env(CHILD, url)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the child does: it runs migrations until it is killed, or until its parent is gone. Nothing, in a test run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child() {
    #[expect(clippy::disallowed_methods, reason = "a test has no configuration file")]
    let Ok(url) = std::env::var(CHILD) else { return };
    let process = connect(&url).await;
    let parent_is_gone = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    process.migrations.run(async move { drop(parent_is_gone.await) }).await;
}

/// 20,000 rows, killed with -9 again and again while it moves, verifies and rolls back, and while somebody writes.
async fn killed_processes(place: Place) {
    let watcher = connect(&place.url).await;
    watcher.fill(ROWS).await;
    let entropy = SeededEntropy::new(4);
    let stop = Arc::new(AtomicBool::new(false));
    let mut writing = JoinSet::new();
    writing.spawn(write_until(Arc::clone(&watcher.repository), 1, false, Arc::clone(&stop)));
    let slowly = Operation::Start { max_rows_per_second: Some(15_000) };
    let mut kills = 0;
    for operation in [slowly, Operation::RollBack, slowly] {
        apply(&watcher, operation).await;
        for kill in 0.. {
            let mut child = child(&place.url);
            // The last one may finish.
            let rows = if kill < 3 {
                u64::from(u16::from_be_bytes(random_bytes(&entropy)) % 5_000)
            } else {
                u64::MAX
            };
            let is_done = wait_for(&watcher, rows).await;
            child.kill().unwrap();
            child.wait().unwrap();
            if is_done {
                break;
            }
            kills += 1;
        }
    }
    stop.store(true, Ordering::SeqCst);
    assert!(kills > 4, "{kills} kills");
    let written = writing.join_all().await.pop().unwrap();
    let mut expected: BTreeMap<u128, String> = (0..ROWS).map(|id| (id, format!("name {id}"))).collect();
    expected.extend(written);
    assert_eq!(watcher.names().await, expected);
    let rows = watcher.rows().await;
    let crypto = &watcher.repository.crypto;
    assert!(rows.iter().all(|row| row.name_sealed.is_some() && crypto.digests.check(row).is_ok()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_sqlite() {
    let directory = TempDir::with_prefix("portal-upkeep-").unwrap();
    let url = format!("sqlite:{}", directory.path().join("test.db").display());
    killed_processes(Place { url, _directory: Some(directory), _server: None }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_postgres() {
    if let Some(server) = EphemeralPostgres::start() {
        let url = server.url("postgres");
        killed_processes(Place { url, _directory: None, _server: Some(server) }).await;
    }
}
