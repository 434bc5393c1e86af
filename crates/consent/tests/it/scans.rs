//! Integrity scans: everything is looked at, and what is wrong is named.

use std::time::Duration;

use common::IntegrityCause as Cause;
use portal_testkit::each_database;
use portal_testkit::mesh::TestUser;
use sea_orm::Value;
use tonic::Code;

use crate::sealed::{evidence, give_and_withdraw};
use crate::sql;
use crate::world::{World, common, pb, refused, until};

/// Lets a scan run to its end.
pub async fn scan(world: &World) -> common::IntegrityReport {
    let mut integrity = world.integrity(&world.operator);
    // One that the schedule has begun may be under way.
    let begin = async || match integrity.run_scan(common::RunScanRequest::default()).await {
        Err(status) if status.code() == Code::Aborted => None,
        begun => Some(begun.unwrap().into_inner()),
    };
    let begun = until(begin).await;
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
        // A consent, two events with their receipts and a document of three people; a purpose, a notice, a revision of
        // either, and the index of the notice's.
        assert_eq!((report.rows_checked, report.rows_total), (3 * 6 + 5, 3 * 6 + 5));

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

    /// Events, receipts and the ledger have each other, and say the same: whatever is dropped, put elsewhere or put in
    /// another's place is found, though it has the digest of its row.
    async fn links_to_the_ledger_are_verified(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        for user in [&world.anna, &world.bert, &world.officer] {
            give_and_withdraw(&world, user, &offer).await;
        }
        let store = database.connect().await;
        // All have their places.
        until(async || (sql::one::<i64>(&store, "SELECT COUNT(*) FROM ledger_pending").await == 0).then_some(())).await;
        let report = scan(&world).await;
        assert_eq!((report.state(), findings(&report)), (common::ScanState::Clean, Vec::new()));
        // Six events, a purpose, a notice.
        assert_eq!(report.ledger_entries_checked, 8);
        world.keys().await.erase(world.officer.subject).await.unwrap();
        let of = |user: &TestUser, sequence: u8| format!(
            "(SELECT event_id FROM consent_event WHERE sequence = {sequence} AND subject_id = {})",
            sql::id(&store, &user.subject.to_string())
        );
        let id = async |user: &TestUser, sequence: usize| {
            let events = world.events(user).await;
            events[2 - sequence].event_id.clone()
        };
        let (given, withdrawn) = (id(&world.anna, 1).await, id(&world.anna, 2).await);
        let (berts, erased) = (id(&world.bert, 1).await, id(&world.officer, 2).await);
        let swapped = format!(
            "UPDATE ledger_entry SET commitment = (SELECT o.commitment FROM ledger_entry o WHERE o.reference = {}) \
             WHERE reference = {}",
            of(&world.bert, 2), of(&world.anna, 1)
        );
        let position = format!("SELECT position FROM ledger_entry WHERE reference = {}", of(&world.bert, 2));
        let position: i64 = sql::one(&store, &position).await;
        for change in [
            swapped,
            format!("DELETE FROM receipt WHERE event_id = {}", of(&world.anna, 2)),
            format!("DELETE FROM ledger_entry WHERE reference = {}", of(&world.bert, 1)),
            format!("DELETE FROM ledger_entry WHERE reference = {}", of(&world.officer, 2)),
            format!("DELETE FROM receipt WHERE event_id = {}", of(&world.bert, 2)),
            format!("DELETE FROM consent_event WHERE event_id = {}", of(&world.bert, 2)),
        ] {
            assert_eq!(sql::run(&store, &change, []).await, 1, "{change}");
        }
        let report = scan(&world).await;
        let found: Vec<_> = report.findings.iter()
            .map(|found| (found.table.as_str(), found.row_id.clone(), found.column.as_str(), found.cause()))
            .collect();
        for expect in [
            ("receipt", given, "sealed_payload", Cause::LedgerMismatch),
            ("receipt", withdrawn, "event_id", Cause::LedgerMissing),
            ("receipt", berts, "event_id", Cause::LedgerMissing),
            ("receipt", erased, "event_id", Cause::LedgerMissing),
            ("ledger_entry", position.to_string(), "reference", Cause::LedgerMissing),
        ] {
            assert!(found.contains(&expect), "{expect:?} is not in {found:?}");
        }
        assert_eq!(found.len(), 5, "{found:?}");
        // One that nobody can show: neither entry nor receipt.
        let change = format!("DELETE FROM receipt WHERE event_id = {}", of(&world.bert, 1));
        assert_eq!(sql::run(&store, &change, []).await, 1);
        let report = scan(&world).await;
        assert!(findings(&report).contains(&("consent_event", "event_id", Cause::LedgerMissing)));
    }

    /// A receipt that is changed, cut, or another's does not pass; nor does an event that says otherwise than its receipt.
    async fn each_forged_receipt_is_found(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        give_and_withdraw(&world, &world.anna, &offer).await;
        let store = database.connect().await;
        let payload = |sequence: u8| format!(
            "SELECT sealed_payload FROM receipt WHERE event_id = (SELECT event_id FROM consent_event WHERE sequence = {sequence})"
        );
        let (given, withdrawn): (Vec<u8>, Vec<u8>) =
            (sql::one(&store, &payload(1)).await, sql::one(&store, &payload(2)).await);
        let put = async |cell: Vec<u8>| {
            let update = "UPDATE receipt SET sealed_payload = $1 WHERE event_id = (SELECT event_id FROM consent_event WHERE sequence = 1)";
            assert_eq!(sql::run(&store, update, [Value::from(cell)]).await, 1);
        };
        let mut bent = given.clone();
        bent[60] ^= 1;
        for forged in [bent, given[..given.len() - 1].to_vec(), withdrawn] {
            put(forged).await;
            let expect = [("receipt", "", Cause::DigestMismatch), ("receipt", "sealed_payload", Cause::EnvelopeRefused)];
            assert_eq!(findings(&scan(&world).await), expect);
        }
        put(vec![]).await;
        let report = scan(&world).await;
        assert!(findings(&report).contains(&("receipt", "sealed_payload", Cause::EnvelopeMalformed)));
        put(given).await;
        assert_eq!(scan(&world).await.state(), common::ScanState::Clean);
        let later = "UPDATE consent_event SET event_at = event_at - 1 WHERE sequence = 1";
        assert_eq!(sql::run(&store, later, []).await, 1);
        let expect = [("consent_event", "", Cause::DigestMismatch), ("consent_event", "", Cause::LedgerMismatch)];
        assert_eq!(findings(&scan(&world).await), expect);
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
