//! Integrity scans of both tables name row, column and cause.

use std::sync::Arc;

use portal_core::SystemEntropy;
use portal_legacy_import::importer::Unreadables;
use portal_store::{Corruption, Database, Metrics};
use portal_upkeep::migration::State;
use portal_upkeep::scan::report::ReportedFinding;

use crate::world::{World, blob, digest, execute, id, records, sql_id, subject, values};
use crate::writer::{Value, Writer};

async fn scan(world: &World) -> Vec<ReportedFinding> {
    let scans = world.importer.scans();
    let report = scans.start(&[], None).await.unwrap();
    scans.run_until_idle().await.unwrap();
    let (report, findings) = scans.report(Some(report.id)).await.unwrap().unwrap();
    assert_eq!(report.finding_count, findings.len() as u64);
    let (legacy, imported) = world.counts().await;
    assert_eq!(report.rows_checked, legacy + imported);
    findings
}

fn finding(table: &str, number: u64, column: &str, cause: Corruption) -> ReportedFinding {
    let (table, row, column) = (table.to_owned(), id(number).to_string(), column.to_owned());
    ReportedFinding { table, row, column, cause }
}

portal_testkit::each_database! {
    async fn whatever_was_changed_is_found(test) {
        let (writer, other) = (Writer::new(60), Writer::new(61));
        let world = World::new(test, &[&writer]).await;
        let mut parts = records(&writer, 0..30);
        parts[2] = other.parts(&Value::new(60, 2));
        world.load(parts).await;
        world.run().await;
        assert_eq!(
            scan(&world).await,
            [finding("legacy_record", 2, "signer_key_id", Corruption::KeyMissing)],
        );
        let damages = [
            ("legacy_record", 4, "sealed", blob(test, &[7; 40])),
            ("legacy_record", 5, "nonce", blob(test, &[7; 2])),
            ("imported_record", 6, "source_table", "'accounts'".to_owned()),
            ("imported_record", 7, "value", blob(test, b"no envelope")),
            ("imported_record", 8, "subject_id", sql_id(test, subject(20))),
        ];
        for (table, number, column, value) in damages {
            let row = sql_id(test, id(number));
            world.execute(&format!("UPDATE {table} SET {column} = {value} WHERE record_id = {row}")).await;
        }
        assert_eq!(
            scan(&world).await,
            [
                finding("legacy_record", 2, "signer_key_id", Corruption::KeyMissing),
                finding("legacy_record", 4, "signature", Corruption::ValueInvalid),
                finding("legacy_record", 5, "nonce", Corruption::ValueInvalid),
                finding("imported_record", 6, "", Corruption::DigestMismatch),
                finding("imported_record", 7, "", Corruption::DigestMismatch),
                finding("imported_record", 8, "", Corruption::DigestMismatch),
            ],
        );
    }

    /// Who was erased can't be opened any more, which is no fault; that a row about them was changed is one.
    async fn of_the_erased(test) {
        let writer = Writer::new(60);
        let world = World::new(test, &[&writer]).await;
        world.load(records(&writer, 0..10)).await;
        world.run().await;
        world.importer.commit(Unreadables::Refuse).await.unwrap();
        world.drive().await;
        assert_eq!(scan(&world).await, []);
        world.keys.erase(subject(0)).await.unwrap();
        assert_eq!(scan(&world).await, []);
        let row = sql_id(test, id(0));
        world.execute(&format!("UPDATE imported_record SET source_field = 'x' WHERE record_id = {row}")).await;
        assert_eq!(scan(&world).await, [finding("imported_record", 0, "", Corruption::DigestMismatch)]);
    }

    /// A key that is gone without an erasure: the rows are told, the import does not pass for verified, and is repeated.
    async fn of_those_whose_key_is_lost(test) {
        let writer = Writer::new(60);
        let world = World::new(test, &[&writer]).await;
        world.load(records(&writer, 0..10)).await;
        world.run().await;
        let config = test.keys("consent").await.database;
        let keys = Database::connect(&config, Arc::new(SystemEntropy), Metrics::default()).await.unwrap();
        let subject = sql_id(test, subject(0));
        execute(&keys, &format!("DELETE FROM subject_key WHERE subject_id = {subject}")).await;
        let world = World::new(test, &[&writer]).await;
        let lost = |number| finding("imported_record", number, "value", Corruption::KeyMissing);
        assert_eq!(scan(&world).await, [0, 1, 2, 3, 4].map(lost));
        world.importer.verify().await.unwrap();
        let failed = world.drive().await.record;
        assert_eq!(failed.failure_reason.as_deref(), Some("ROW_CORRUPT"));
        assert_eq!(world.roll_back().await, State::RolledBack);
        assert_eq!(world.run().await.record.state, State::Done);
        assert_eq!(scan(&world).await, []);
        assert_eq!(world.imported_digest().await, digest(&values(0..10)));
    }
}
