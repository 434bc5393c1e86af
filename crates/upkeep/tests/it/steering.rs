//! What operators do: plan, start, pause, verify, roll back, commit.

use std::sync::Arc;
use std::time::Duration;

use portal_core::{ManualClock, SystemEntropy, Timestamp};
use portal_testkit::each_database;
use portal_upkeep::Host;
use portal_upkeep::migration::{Finality, Migrations, Operation, OperationError, State, TransitionError};
use tokio::task::JoinSet;

use crate::toy::{Process, SEAL_NAMES, SealNames, host, write_like_before};

const START: Operation = Operation::Start { max_rows_per_second: None };

pub async fn apply(process: &Process, operation: Operation) -> State {
    process.migrations.apply(SEAL_NAMES, operation).await.unwrap().record.state
}

pub async fn run(process: &Process) -> State {
    process.migrations.run_until_idle().await.unwrap();
    process.migrations.find(SEAL_NAMES).await.unwrap().record.state
}

async fn refused(process: &Process, operation: Operation) -> TransitionError {
    match process.migrations.apply(SEAL_NAMES, operation).await.unwrap_err() {
        OperationError::Transition(error) => error,
        error => panic!("{error}"),
    }
}

each_database! {
    /// A transaction that began before the commit writes by the rules of before, also when all rows were looked at: the
    /// commit does not end before it can't come any more, and looks again.
    async fn a_commit_waits_for_who_began_before(database) {
        let process = Process::start(database).await;
        process.fill(100).await;
        apply(&process, START).await;
        assert_eq!(run(&process).await, State::Done);
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_795_305_600)));
        let host = Host { clock: Arc::clone(&clock) as _, ..host(process.database(), Arc::new(SystemEntropy)) };
        let config = toml::from_str("grace_seconds = 60\nmax_rows_per_second = 0").unwrap();
        let seal = Arc::new(SealNames { crypto: Arc::clone(&process.repository.crypto) });
        let migrations = Migrations::new(&host, config, Finality::not_kept(), vec![seal]);
        migrations.apply(SEAL_NAMES, Operation::Commit).await.unwrap();
        let mut running = JoinSet::new();
        let runs = migrations.clone();
        running.spawn(async move { runs.run_until_idle().await });
        while process.rows().await.iter().any(|row| row.name.is_some()) {}
        let state = async || migrations.find(SEAL_NAMES).await.unwrap().record.state;
        for _ in 0..300 {
            assert_eq!(state().await, State::Committing);
        }
        process.fill_range(100..101).await;
        clock.advance(Duration::from_secs(59));
        for _ in 0..300 {
            assert_eq!(state().await, State::Committing);
        }
        clock.advance(Duration::from_secs(1));
        running.join_next().await.unwrap().unwrap().unwrap();
        assert!(migrations.find(SEAL_NAMES).await.unwrap().record.committed);
        assert!(process.rows().await.iter().all(|row| row.name.is_none() && row.name_sealed.is_some()));
        assert_eq!(process.names().await.len(), 101);
    }

    /// From the plan to the commit; the plain column is empty afterwards and every name still reads the same.
    async fn from_plan_to_commit(database) {
        let process = Process::start(database).await;
        process.fill(1_000).await;
        let before = process.logical_hash().await;
        let plan = process.migrations.plan(SEAL_NAMES, Some(100)).await.unwrap();
        assert_eq!((plan.progress.rows_total, plan.time_left()), (1_000, Some(Duration::from_secs(10))));
        assert_eq!(process.migrations.find(SEAL_NAMES).await.unwrap().record.state, State::Pending);

        assert_eq!(apply(&process, START).await, State::Running);
        assert_eq!(run(&process).await, State::Done);
        let done = process.migrations.find(SEAL_NAMES).await.unwrap();
        let counts = (done.progress.rows_total, done.progress.rows_done, done.progress.rows_verified);
        assert_eq!(counts, (1_000, 1_000, 1_000));
        assert!(done.record.reversible() && !done.record.committed && done.record.ended_at.is_some());
        assert!(process.rows().await.iter().all(|row| row.name.is_some() && row.name_sealed.is_some()));

        assert_eq!(apply(&process, Operation::Commit).await, State::Committing);
        assert_eq!(run(&process).await, State::Done);
        let committed = process.migrations.find(SEAL_NAMES).await.unwrap().record;
        assert!(committed.committed && !committed.reversible());
        assert!(process.rows().await.iter().all(|row| row.name.is_none() && row.name_sealed.is_some()));
        assert_eq!(process.logical_hash().await, before);
        for operation in [Operation::RollBack, Operation::Verify, Operation::Commit] {
            assert_eq!(refused(&process, operation).await, TransitionError::Committed);
        }
        assert_eq!(refused(&process, START).await, TransitionError::Done);

        process.repository.put(3, "new").await.unwrap();
        let row = &process.rows().await[3];
        assert!(row.name.is_none() && row.name_sealed.is_some(), "only the new form is written now");
    }

    /// A roll-back leaves every byte as it was, from the middle as from the end, and it can be started again.
    async fn rolls_back(database) {
        let process = Process::start(database).await;
        process.fill(1_000).await;
        let (logical, physical) = (process.logical_hash().await, process.physical_hash().await);
        assert_eq!(refused(&process, Operation::RollBack).await, TransitionError::NotStarted);
        for round in 0..2 {
            assert_eq!(apply(&process, START).await, State::Running);
            assert_eq!(run(&process).await, State::Done);
            assert_ne!(process.physical_hash().await, physical);
            assert_eq!(process.logical_hash().await, logical);
            assert_eq!(apply(&process, Operation::RollBack).await, State::RollingBack);
            assert_eq!(run(&process).await, State::RolledBack, "{round}");
            assert_eq!(process.physical_hash().await, physical);
            let progress = process.migrations.find(SEAL_NAMES).await.unwrap().progress;
            assert_eq!((progress.rows_done, progress.step_done), (0, 1_000));
        }
        process.repository.put(3, "old").await.unwrap();
        assert!(process.rows().await[3].name_sealed.is_none(), "only the old form is written again");
    }

    /// Paused means that nothing moves; it goes on from there; what moved can be taken back from there.
    async fn pauses_and_goes_on(database) {
        let process = Process::start(database).await;
        process.fill(2_000).await;
        assert_eq!(refused(&process, Operation::Pause).await, TransitionError::NotRunning);
        let slowly = Operation::Start { max_rows_per_second: Some(1_000) };
        assert_eq!(apply(&process, slowly).await, State::Running);
        let migrations = process.migrations.clone();
        let running = JoinSet::from_iter([async move { migrations.run_until_idle().await }]);
        let moved = loop {
            let done = process.migrations.find(SEAL_NAMES).await.unwrap().progress.rows_done;
            if done > 200 {
                break done;
            }
            tokio::task::yield_now().await;
        };
        // By another process, as a command would.
        let other = Process::start(database).await;
        assert_eq!(apply(&other, Operation::Pause).await, State::Paused);
        running.join_all().await.pop().unwrap().unwrap();
        let paused = process.migrations.find(SEAL_NAMES).await.unwrap();
        assert_eq!(paused.record.state, State::Paused);
        assert!((moved..2_000).contains(&paused.progress.rows_done), "{moved} {:?}", paused.progress);
        assert_eq!(run(&process).await, State::Paused);

        let sealed = process.rows().await.iter().filter(|row| row.name_sealed.is_some()).count() as u64;
        assert_eq!(sealed, paused.progress.rows_done);
        assert_eq!(apply(&process, START).await, State::Running);
        assert_eq!(run(&process).await, State::Done);
        assert_eq!(process.migrations.find(SEAL_NAMES).await.unwrap().progress.rows_done, 2_000);
    }

    /// A rate that is asked for is kept.
    async fn keeps_to_the_rate(database) {
        let process = Process::start(database).await;
        process.fill(300).await;
        apply(&process, Operation::Start { max_rows_per_second: Some(1_000) }).await;
        assert_eq!(run(&process).await, State::Done);
        let record = process.migrations.find(SEAL_NAMES).await.unwrap().record;
        let took = record.ended_at.unwrap().since(record.started_at.unwrap());
        // 300 rows are moved and 300 verified; the last batch of each needs no pause.
        assert!(took >= Duration::from_millis(350), "{took:?}");
    }

    /// A new installation never writes the old form.
    async fn an_empty_table_is_settled_at_the_start(database) {
        let process = Process::start(database).await;
        process.migrations.settle().await.unwrap();
        let record = process.migrations.find(SEAL_NAMES).await.unwrap().record;
        assert!(record.state == State::Done && record.committed);
        process.repository.put(1, "anna").await.unwrap();
        assert!(process.rows().await.iter().all(|row| row.name.is_none() && row.name_sealed.is_some()));
        process.migrations.settle().await.unwrap();
    }

    /// With rows in it, nothing happens until an operator says so.
    async fn a_full_table_waits(database) {
        let process = Process::start(database).await;
        write_like_before(process.database(), 1, "anna").await.unwrap();
        process.migrations.settle().await.unwrap();
        assert_eq!(run(&process).await, State::Pending);
        assert!(process.rows().await[0].name_sealed.is_none());
        let unknown = process.migrations.apply("d0002_none", START).await;
        assert!(matches!(unknown, Err(OperationError::NotFound)));
    }
}
