//! Tasks that are dropped in the middle of a migration, and two that work on it at once. Real processes: `chaos`.

use portal_core::SeededEntropy;
use portal_core::entropy::random_bytes;
use portal_testkit::each_database;
use portal_upkeep::migration::{Operation, State};
use tokio::task::JoinSet;

use crate::steering::{apply, run};
use crate::toy::{Process, SEAL_NAMES};

const START: Operation = Operation::Start { max_rows_per_second: None };

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
