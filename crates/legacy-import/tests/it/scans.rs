//! Integrity scans of both tables name row, column and cause.

use portal_legacy_import::importer::Unreadables;
use portal_store::Corruption;
use portal_upkeep::scan::report::ReportedFinding;

use crate::world::{World, blob, id, records, sql_id, subject};
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

    /// Who was erased can't be opened any more, which is no fault; whose key is lost is one.
    async fn erased_and_lost(test) {
        let writer = Writer::new(60);
        let world = World::new(test, &[&writer]).await;
        world.load(records(&writer, 0..10)).await;
        world.run().await;
        world.importer.commit(Unreadables::Refuse).await.unwrap();
        world.drive().await;
        assert_eq!(scan(&world).await, []);
        world.keys.erase(subject(0)).await.unwrap();
        assert_eq!(scan(&world).await, []);
    }
}
