//! What was tampered with stops a migration, which says so, and can be rolled back or go on.

use portal_testkit::each_database;
use portal_upkeep::migration::{Operation, State};

use crate::steering::{apply, run};
use crate::toy::{Process, SEAL_NAMES, envelope, person::Column, tamper};

const START: Operation = Operation::Start { max_rows_per_second: None };

async fn moved(database: &portal_testkit::TestDatabase) -> Process {
    let process = Process::start(database).await;
    process.fill(500).await;
    apply(&process, START).await;
    assert_eq!(run(&process).await, State::Done);
    process
}

async fn failure(process: &Process) -> Option<String> {
    process.migrations.find(SEAL_NAMES).await.unwrap().record.failure_reason
}

each_database! {
    /// One flipped bit in one of the rows.
    async fn verifying_notices_a_flipped_bit(database) {
        let process = moved(database).await;
        let good = envelope(process.rows().await[321].name_sealed.as_ref());
        let mut bad = good.clone();
        bad[50] ^= 4;
        tamper(process.database(), 321, Column::NameSealed, bad).await;
        assert_eq!(apply(&process, Operation::Verify).await, State::Verifying);
        assert_eq!(run(&process).await, State::Failed);
        assert_eq!(failure(&process).await.as_deref(), Some("ROW_CORRUPT"));

        // With the row as it was, it goes on from where it stopped.
        tamper(process.database(), 321, Column::NameSealed, good).await;
        assert_eq!(apply(&process, START).await, State::Verifying);
        assert_eq!(run(&process).await, State::Done);
        assert_eq!(failure(&process).await, None);
    }

    /// The sealed name of another row, and one of the same person.
    async fn verifying_notices_a_swap(database) {
        let process = moved(database).await;
        let rows = process.rows().await;
        let same_person = rows.iter().skip(8).find(|row| row.subject == rows[7].subject).unwrap();
        tamper(process.database(), 7, Column::NameSealed, envelope(same_person.name_sealed.as_ref())).await;
        apply(&process, Operation::Verify).await;
        assert_eq!(run(&process).await, State::Failed);
        assert_eq!(apply(&process, Operation::RollBack).await, State::RollingBack);
        assert_eq!(run(&process).await, State::RolledBack);
        assert_eq!(process.names().await[&7], "name 7");
    }

    /// A column that is not sealed: the digest says so.
    async fn verifying_notices_a_changed_digest(database) {
        let process = moved(database).await;
        tamper(process.database(), 99, Column::Digest, vec![0_u8; 32]).await;
        apply(&process, Operation::Verify).await;
        assert_eq!(run(&process).await, State::Failed);
        assert_eq!(failure(&process).await.as_deref(), Some("ROW_CORRUPT"));
    }
}
