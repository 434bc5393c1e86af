//! Integrity scans: everything is looked at, and what is wrong is named.

use std::time::Duration;

use portal_store::Database;
use portal_testkit::each_database;
use portal_testkit::mesh::TestUser;
use sea_orm::Value;

use crate::sealed::{evidence, give_and_withdraw};
use crate::sql;
use crate::world::{World, pb};

/// Lets a scan begin, and waits for its findings: table, column, cause.
async fn scan(world: &World, store: &Database) -> Vec<(String, String, String)> {
    let ended = "SELECT COUNT(*) FROM integrity_report WHERE ended_at IS NOT NULL";
    let before: i64 = sql::one(store, ended).await;
    world.mesh.clock.advance(Duration::from_secs(60));
    let reached = async {
        while sql::one::<i64>(store, ended).await == before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached).await.unwrap();
    let newest = "(SELECT id FROM integrity_report ORDER BY started_at DESC LIMIT 1)";
    let findings =
        format!("SELECT at_table, at_column, cause FROM integrity_finding WHERE report_id = {newest}");
    let rows = sql::query(store, &findings).await;
    let column = |row: &sea_orm::QueryResult, at| row.try_get_by_index::<String>(at).unwrap();
    let mut findings: Vec<_> =
        rows.iter().map(|row| (column(row, 0), column(row, 1), column(row, 2))).collect();
    findings.sort();
    findings
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
        assert_eq!(scan(&world, &store).await, []);
        let newest = "FROM integrity_report ORDER BY started_at DESC LIMIT 1";
        // A consent, two events and a document of three people; a purpose, a notice, and a revision of either.
        assert_eq!(sql::one::<i64>(&store, &format!("SELECT rows_checked {newest}")).await, 3 * 4 + 4);

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
            "UPDATE purpose SET row_digest = NULL".to_owned(),
            "UPDATE purpose_revision SET validity = NULL".to_owned(),
        ] {
            assert_eq!(sql::run(&store, &change, []).await, 1, "{change}");
        }
        let found = scan(&world, &store).await;
        let expected = [
            ("consent", "", "digest_mismatch"),
            ("consent_event", "", "digest_mismatch"),
            ("consent_event", "status", "value_invalid"),
            ("evidence", "", "digest_mismatch"),
            ("evidence", "sealed_content", "envelope_refused"),
            ("notice", "", "digest_mismatch"),
            ("notice_revision", "", "digest_mismatch"),
            ("purpose", "", "digest_mismatch"),
            ("purpose_revision", "", "digest_mismatch"),
        ];
        let text = |(table, column, cause): (&str, &str, &str)| (table.to_owned(), column.to_owned(), cause.to_owned());
        assert_eq!(found, expected.map(text));
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
        let refused = ("sealed_content", "envelope_refused");
        let forged: [(Vec<u8>, (&str, &str)); 8] = [
            (changed(0, |cell| cell[40] ^= 1).await, refused),
            (changed(1, |cell| cell[17] ^= 1).await, refused),
            (changed(2, |cell| cell.truncate(30)).await, refused),
            (changed(3, |cell| cell.truncate(17)).await, ("sealed_content", "envelope_malformed")),
            (changed(4, |cell| cell[5] ^= 2).await, ("sealed_content", "key_missing")),
            (cell(&world.anna, 0).await, refused),
            (cell(&world.bert, 6).await, refused),
            (sql::one(&store, &reason).await, refused),
        ];
        let update = |position: usize| format!("UPDATE evidence SET sealed_content = $1 WHERE position = {position} AND {}", of(&world.anna));
        let mut expected = Vec::new();
        for (position, (cell, (column, cause))) in forged.into_iter().enumerate() {
            assert_eq!(sql::run(&store, &update(position), [Value::from(cell)]).await, 1);
            expected.push(("evidence".to_owned(), column.to_owned(), cause.to_owned()));
            expected.push(("evidence".to_owned(), String::new(), "digest_mismatch".to_owned()));
        }
        expected.sort();
        assert_eq!(scan(&world, &store).await, expected);
    }
}
