//! The service goes on writing while its rows are moved, in this version and in the one before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portal_core::entropy::random_bytes;
use portal_core::{Entropy, SeededEntropy};
use portal_testkit::each_database;
use portal_upkeep::migration::{Operation, State};
use tokio::task::JoinSet;

use crate::steering::{apply, run};
use crate::toy::{Process, Repository, SEAL_NAMES, write_like_before};

const START: Operation = Operation::Start { max_rows_per_second: None };
const ROWS: u128 = 20_000;
const WRITERS: u128 = 3;

/// Writes to rows of its own, some of them new, until it is told to stop, and says what it wrote last to each.
async fn write_until(
    repository: Arc<Repository>,
    writer: u128,
    like_before: bool,
    stop: Arc<AtomicBool>,
) -> BTreeMap<u128, String> {
    let entropy = SeededEntropy::new(u64::try_from(writer).unwrap());
    let mut written = BTreeMap::new();
    for number in 0_u64.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let (id, name) = (next_id(&entropy, writer), format!("writer {writer} number {number}"));
        if like_before {
            write_like_before(&repository.database, id, &name).await.unwrap();
        } else {
            repository.put(id, &name).await.unwrap();
        }
        written.insert(id, name);
    }
    written
}

fn next_id(entropy: &dyn Entropy, writer: u128) -> u128 {
    let random = u128::from(u32::from_be_bytes(random_bytes(entropy)));
    // Four of five are there already; the rest is spread over the same range and behind it.
    let base = if random % 5 == 0 { random % (2 * ROWS) } else { random % ROWS };
    base / WRITERS * WRITERS + writer
}

fn expected(writers: Vec<BTreeMap<u128, String>>) -> BTreeMap<u128, String> {
    let mut expected: BTreeMap<u128, String> = (0..ROWS).map(|id| (id, format!("name {id}"))).collect();
    writers.into_iter().for_each(|written| expected.extend(written));
    expected
}

fn writers(
    process: &Process,
    like_before: impl Fn(u128) -> bool,
    stop: &Arc<AtomicBool>,
) -> JoinSet<BTreeMap<u128, String>> {
    (0..WRITERS)
        .map(|writer| {
            write_until(Arc::clone(&process.repository), writer, like_before(writer), Arc::clone(stop))
        })
        .collect()
}

each_database! {
    /// Writers of both versions while rows are moved and verified; of this version while the old form is dropped.
    async fn nothing_is_missed_or_lost(database) {
        let process = Process::start(database).await;
        process.fill(ROWS).await;
        let stop = Arc::new(AtomicBool::new(false));
        let writing = writers(&process, |writer| writer == 1, &stop);
        apply(&process, START).await;
        assert_eq!(run(&process).await, State::Done);
        stop.store(true, Ordering::SeqCst);
        let all = expected(writing.join_all().await);
        assert!(all.len() as u128 > ROWS && all.values().filter(|name| name.starts_with("writer")).count() > 50);
        assert_eq!(process.names().await, all);
        // Every row counts once, except those that were there before the first batch and were written in both forms.
        let counts = process.migrations.find(SEAL_NAMES).await.unwrap().progress;
        assert!(counts.rows_done <= all.len() as u64 && counts.rows_verified >= u64::try_from(ROWS).unwrap(), "{counts:?}");

        // The old version is gone: what it wrote last is moved at the latest by the commit.
        let stop = Arc::new(AtomicBool::new(false));
        let writing = writers(&process, |_| false, &stop);
        apply(&process, Operation::Commit).await;
        assert_eq!(run(&process).await, State::Done);
        stop.store(true, Ordering::SeqCst);
        let mut after = all;
        writing.join_all().await.into_iter().for_each(|written| after.extend(written));
        assert_eq!(process.names().await, after);
        let rows = process.rows().await;
        assert!(rows.iter().all(|row| row.name.is_none() && row.name_sealed.is_some()));
        rows.iter().for_each(|row| process.repository.crypto.digests.check(row).unwrap());
    }

    /// Rolled back while it is written to: every row has what was written last, in the old form alone.
    async fn a_rollback_keeps_what_was_written(database) {
        let process = Process::start(database).await;
        process.fill(ROWS).await;
        let stop = Arc::new(AtomicBool::new(false));
        let writing = writers(&process, |writer| writer == 2, &stop);
        apply(&process, START).await;
        assert_eq!(run(&process).await, State::Done);
        apply(&process, Operation::RollBack).await;
        assert_eq!(run(&process).await, State::RolledBack);
        stop.store(true, Ordering::SeqCst);
        let all = expected(writing.join_all().await);
        assert_eq!(process.names().await, all);
        assert!(process.rows().await.iter().all(|row| row.name.is_some() && row.name_sealed.is_none()));
    }
}
