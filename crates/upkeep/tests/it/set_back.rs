//! Whoever can write the data sets the record of a migration back, so that rows in the clear are believed again.

use std::sync::Arc;

use portal_core::{SystemClock, SystemEntropy};
use portal_keys::{Ambient, Keys, Metrics};
use portal_store::{Database, StoreError, migrate};
use portal_testkit::{TestDatabase, each_database};
use portal_upkeep::migration::{Finality, MigrationError, Operation, State, finality};
use sea_orm::ConnectionTrait as _;

use crate::people::SCOPE;
use crate::toy::{Crypto, Process, SEAL_NAMES, Schema, write_like_before};

const ROWS: u128 = 300;

async fn keys(database: &TestDatabase) -> Keys {
    let metrics = Metrics::default();
    let ambient = Ambient { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy), metrics };
    Keys::open(&database.keys("consent").await, SCOPE, ambient).await.unwrap()
}

/// The service as an operator starts it: what it noted among its keys it finds again.
async fn start(database: &TestDatabase) -> Process {
    let keys = keys(database).await;
    let connection = database.connect().await;
    migrate::up::<Schema>(&connection).await.unwrap();
    Process::heeding(Finality::open(&keys).await.unwrap(), &connection, Crypto::new())
}

async fn run(process: &Process) -> State {
    process.migrations.run_until_idle().await.unwrap();
    process.migrations.find(SEAL_NAMES).await.unwrap().record.state
}

async fn apply(process: &Process, operation: Operation) {
    process.migrations.apply(SEAL_NAMES, operation).await.unwrap();
}

/// Rows were moved and verified; the commit is asked for and not done yet.
async fn committing(database: &TestDatabase) -> Process {
    let process = start(database).await;
    process.fill(ROWS).await;
    process.migrations.settle().await.unwrap();
    apply(&process, Operation::Start { max_rows_per_second: None }).await;
    assert_eq!(run(&process).await, State::Done);
    apply(&process, Operation::Commit).await;
    process
}

/// As somebody would who has the database and no key.
async fn tamper(database: &Database, statement: &str) {
    let tampered = database.run_tx("tamper", |tx| async move {
        Ok::<_, StoreError>(tx.conn().execute_unprepared(statement).await?.rows_affected())
    });
    assert_eq!(tampered.await.unwrap(), 1, "{statement}");
}

async fn refuses_to_start(database: &TestDatabase) {
    let process = start(database).await;
    let settled = process.migrations.settle().await;
    assert!(matches!(settled, Err(MigrationError::SetBack { migration: SEAL_NAMES })), "{settled:?}");
    // Nor does it believe the record if it is asked anyway.
    process.repository.put(ROWS, "anna").await.unwrap();
    let rows = process.rows().await;
    assert!(rows.iter().any(|row| row.name.is_none() && row.id.as_u128() == ROWS));
    assert!(process.migrations.find(SEAL_NAMES).await.is_err());
    let asked = process.migrations.apply(SEAL_NAMES, Operation::Start { max_rows_per_second: None }).await;
    assert!(asked.is_err(), "{asked:?}");
}

each_database! {
    /// A record that says less than the keys do keeps the service from starting.
    async fn a_committed_migration_stays_committed(database) {
        let process = committing(database).await;
        assert_eq!(run(&process).await, State::Done);
        for statement in [
            "UPDATE data_migration SET committed = FALSE, state = 'done', step = 'verify'",
            "UPDATE data_migration SET committed = FALSE, state = 'pending', step = 'move'",
            "UPDATE data_migration SET committed = FALSE, state = 'running', step = 'move'",
            "UPDATE data_migration SET committed = FALSE, state = 'rolling_back', step = 'undo'",
            "DELETE FROM data_migration",
        ] {
            tamper(process.database(), statement).await;
            refuses_to_start(database).await;
        }
    }

    /// From the first row that loses its old form on.
    async fn the_old_form_is_not_believed_once_it_is_being_dropped(database) {
        let process = committing(database).await;
        let stop = async { while process.rows().await.iter().all(|row| row.name.is_some()) {} };
        process.migrations.run(stop).await;
        tamper(process.database(), "UPDATE data_migration SET committed = FALSE, state = 'done', step = 'verify'").await;
        refuses_to_start(database).await;
    }

    /// A commit that is done is not done again: rows that came in the clear meanwhile would be sealed by it.
    async fn rows_in_the_clear_are_not_sealed_after_the_commit(database) {
        let process = committing(database).await;
        assert_eq!(run(&process).await, State::Done);
        tamper(
            process.database(),
            "UPDATE data_migration SET committed = FALSE, state = 'committing', step = 'commit'",
        )
        .await;
        write_like_before(process.database(), ROWS, "mallory").await.unwrap();
        let process = start(database).await;
        process.migrations.settle().await.unwrap();
        assert_eq!(run(&process).await, State::Done);
        let rows = process.rows().await;
        assert_eq!(rows.iter().filter(|row| row.name_sealed.is_none()).count(), 1);
        assert!(process.migrations.find(SEAL_NAMES).await.unwrap().record.committed);
    }

    /// An operator who has put old data back says so, and everything is as it was then.
    async fn data_of_before_can_be_put_back(database) {
        let process = committing(database).await;
        assert_eq!(run(&process).await, State::Done);
        tamper(process.database(), "UPDATE data_migration SET committed = FALSE, state = 'done', step = 'verify'").await;
        let keys = keys(database).await;
        assert!(finality::reopen(&keys, SEAL_NAMES).await.unwrap());
        assert!(!finality::reopen(&keys, SEAL_NAMES).await.unwrap());
        let process = start(database).await;
        process.migrations.settle().await.unwrap();
        let record = process.migrations.find(SEAL_NAMES).await.unwrap().record;
        assert!(record.state == State::Done && !record.committed);
    }

    /// A commit that a process did not live to begin is done by the next one.
    async fn a_commit_that_was_not_done_goes_on(database) {
        drop(committing(database).await);
        let process = start(database).await;
        process.migrations.settle().await.unwrap();
        assert_eq!(run(&process).await, State::Done);
        let record = process.migrations.find(SEAL_NAMES).await.unwrap().record;
        assert!(record.committed);
        assert!(process.rows().await.iter().all(|row| row.name.is_none() && row.name_sealed.is_some()));
    }
}
