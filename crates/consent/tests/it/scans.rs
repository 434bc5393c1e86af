//! Integrity scans: everything is looked at, and what is wrong is named.

use std::time::Duration;

use common::IntegrityCause as Cause;
use portal_testkit::each_database;
use portal_testkit::mesh::TestUser;
use sea_orm::Value;
use tonic::Code;

use crate::sealed::{evidence, give_and_withdraw};
use crate::sql;
use crate::world::{World, common, pb, refused};

/// Lets a scan run to its end.
pub async fn scan(world: &World) -> common::IntegrityReport {
    let mut integrity = world.integrity(&world.operator);
    let begun = integrity.run_scan(common::RunScanRequest::default()).await.unwrap().into_inner();
    ended(world, begun.report_id).await
}

/// The report, once the scan has ended.
async fn ended(world: &World, report_id: String) -> common::IntegrityReport {
    let mut integrity = world.integrity(&world.operator);
    let end = async {
        loop {
            let get = common::GetReportRequest { report_id: report_id.clone() };
            let report = integrity.get_report(get).await.unwrap().into_inner();
            if report.state() != common::ScanState::Running {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), end).await.unwrap()
}

/// What a report names: table, column, cause.
fn findings(report: &common::IntegrityReport) -> Vec<(&str, &str, Cause)> {
    let found =
        report.findings.iter().map(|found| (found.table.as_str(), found.column.as_str(), found.cause()));
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|(table, column, cause)| (*table, *column, *cause as i32));
    found
}

each_database! {
    /// Nothing is wrong until somebody changes something, and then just that is; what was erased is no fault.
    async fn what_is_wrong_is_named(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        for user in [&world.anna, &world.bert, &world.officer] {
            give_and_withdraw(&world, user, &offer).await;
        }
        let keys = world.keys().await;
        keys.erase(world.officer.subject).await.unwrap();
        let store = database.connect().await;
        let report = scan(&world).await;
        assert_eq!((report.state(), findings(&report)), (common::ScanState::Clean, Vec::new()));
        // A consent, two events and a document of three people; a purpose, a notice, a revision of either, and the index
        // of the notice's.
        assert_eq!((report.rows_checked, report.rows_total), (3 * 4 + 5, 3 * 4 + 5));

        let anna = sql::id(&store, &world.anna.subject.to_string());
        let of_anna = format!("(SELECT event_id FROM consent_event WHERE subject_id = {anna})");
        for change in [
            format!("UPDATE consent SET status = 'given' WHERE subject_id = {anna}"),
            format!("UPDATE consent_event SET status = 'perhaps' WHERE subject_id = {anna} AND sequence = 1"),
            format!(
                "UPDATE evidence SET sealed_content = (SELECT b.sealed_content FROM evidence b \
                 WHERE b.event_id <> evidence.event_id ORDER BY b.event_id LIMIT 1) WHERE event_id IN {of_anna}"
            ),
            "UPDATE notice SET archived_at = 1".to_owned(),
            "UPDATE notice_revision SET title = 'Another'".to_owned(),
            "UPDATE notice_purpose SET purpose_id = notice_id".to_owned(),
            "UPDATE purpose SET row_digest = NULL".to_owned(),
            "UPDATE purpose_revision SET validity = NULL".to_owned(),
        ] {
            assert_eq!(sql::run(&store, &change, []).await, 1, "{change}");
        }
        let report = scan(&world).await;
        assert_eq!(report.state(), common::ScanState::Faulty);
        let expected = [
            ("consent", "", Cause::DigestMismatch),
            ("consent_event", "", Cause::DigestMismatch),
            ("consent_event", "status", Cause::ValueInvalid),
            ("evidence", "", Cause::DigestMismatch),
            ("evidence", "sealed_content", Cause::EnvelopeRefused),
            ("notice", "", Cause::DigestMismatch),
            ("notice_purpose", "purpose_id", Cause::ValueInvalid),
            ("notice_revision", "", Cause::DigestMismatch),
            ("purpose", "", Cause::DigestMismatch),
            ("purpose_revision", "", Cause::DigestMismatch),
        ];
        assert_eq!(findings(&report), expected);
        let rows: Vec<_> = report.findings.iter().map(|found| found.row_id.as_str()).collect();
        assert!(rows.contains(&offer.purpose.purpose_id.as_str()) && rows.contains(&offer.notice.notice_id.as_str()));
        keys.close().await;
    }

    /// Whatever is done to a sealed document: it is found, with what is wrong with it.
    async fn each_forged_document_is_found(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        for user in [&world.anna, &world.bert] {
            let evidence = vec![evidence()[0].clone(); 8];
            let give = pb::GiveConsentRequest { evidence, ..offer.give(user.subject) };
            world.consents(user).give_consent(give).await.unwrap();
            let withdraw = pb::WithdrawConsentRequest { reason: "enough".to_owned(), ..offer.withdraw(user.subject) };
            world.consents(user).withdraw_consent(withdraw).await.unwrap();
        }
        let store = database.connect().await;
        let of = |user: &TestUser| format!(
            "event_id = (SELECT event_id FROM consent_event WHERE sequence = 1 AND subject_id = {})",
            sql::id(&store, &user.subject.to_string())
        );
        let cell = async |user: &TestUser, position: usize| -> Vec<u8> {
            sql::one(&store, &format!("SELECT sealed_content FROM evidence WHERE position = {position} AND {}", of(user))).await
        };
        let changed = async |position, change: fn(&mut Vec<u8>)| {
            let mut cell = cell(&world.anna, position).await;
            change(&mut cell);
            cell
        };
        let reason = format!("SELECT sealed_reason FROM consent_event WHERE sequence = 2 AND subject_id = {}", sql::id(&store, &world.anna.subject.to_string()));
        let refused = ("sealed_content", Cause::EnvelopeRefused);
        let forged: [(Vec<u8>, (&str, Cause)); 8] = [
            (changed(0, |cell| cell[40] ^= 1).await, refused),
            (changed(1, |cell| cell[17] ^= 1).await, refused),
            (changed(2, |cell| cell.truncate(30)).await, refused),
            (changed(3, |cell| cell.truncate(17)).await, ("sealed_content", Cause::EnvelopeMalformed)),
            (changed(4, |cell| cell[5] ^= 2).await, ("sealed_content", Cause::KeyMissing)),
            (cell(&world.anna, 0).await, refused),
            (cell(&world.bert, 6).await, refused),
            (sql::one(&store, &reason).await, refused),
        ];
        let update = |position: usize| format!("UPDATE evidence SET sealed_content = $1 WHERE position = {position} AND {}", of(&world.anna));
        let mut expected = Vec::new();
        for (position, (cell, (column, cause))) in forged.into_iter().enumerate() {
            assert_eq!(sql::run(&store, &update(position), [Value::from(cell)]).await, 1);
            expected.push(("evidence", column, cause));
            expected.push(("evidence", "", Cause::DigestMismatch));
        }
        expected.sort_by_key(|(_, column, cause)| (*column, *cause as i32));
        assert_eq!(findings(&scan(&world).await), expected);
    }

    /// By the schedule scans begin without being asked.
    async fn scans_begin_by_themselves(database) {
        let world = World::start(database).await;
        world.offer().await;
        let mut integrity = world.integrity(&world.operator);
        let newest = common::GetReportRequest::default();
        refused(integrity.get_report(newest.clone()).await, Code::NotFound, "REPORT_NOT_FOUND");
        world.mesh.clock.advance(Duration::from_secs(60));
        let begun = async {
            loop {
                match integrity.get_report(newest.clone()).await {
                    Ok(report) => return report.into_inner().report_id,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let id = tokio::time::timeout(Duration::from_secs(60), begun).await.unwrap();
        let report = ended(&world, id).await;
        assert_eq!((report.state(), report.rows_checked), (common::ScanState::Clean, 5));
    }
}
