//! An installation of before: its rows are sealed while it works, rolled back, sealed again, and committed.

use std::time::Duration;

use portal_consent::Migrations;
use portal_store::{Database, migrate};
use portal_testkit::{TestDatabase, each_database};
use sea_orm::Value;
use tonic::Code;

use crate::scans::scan;
use crate::sealed::{REASON, give_and_withdraw, withdrawal};
use crate::sql;
use crate::world::{Offer, World, common, pb, refused, until};

pub const NAME: &str = "d0001_seal_consents";

/// A service that finds rows of an earlier version, and so writes as that did.
pub async fn upgraded(database: &TestDatabase) -> (World, Database) {
    let store = database.connect().await;
    migrate::up::<Migrations>(&store).await.unwrap();
    let purpose = "INSERT INTO purpose (purpose_id, newest_revision, version, created_at, updated_at) \
                   VALUES ($1, 1, 1, 1, 1)";
    let revision = "INSERT INTO purpose_revision (purpose_id, revision, display_name, description, dpv_purposes, \
                    legal_basis, personal_data, special_category, recipients, jurisdiction) \
                    VALUES ($1, 1, 'Old', '', '[]', 'consent', '[]', (1 = 0), '[]', '')";
    for statement in [purpose, revision] {
        sql::run(&store, statement, [Value::from(uuid::Uuid::from_u128(7))]).await;
    }
    (World::start(database).await, store)
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    Commit,
    RollBack,
    Start,
    Verify,
}

/// Asks for it, and waits until it is done.
pub async fn steer(world: &World, ask: Ask) -> common::Migration {
    use common::{
        CommitMigrationRequest, RollbackMigrationRequest, StartMigrationRequest, VerifyMigrationRequest,
    };
    let mut migrations = world.migrations(&world.operator);
    let name = NAME.to_owned();
    let asked = match ask {
        Ask::Commit => {
            migrations.commit_migration(CommitMigrationRequest { name, ..Default::default() }).await
        }
        Ask::RollBack => {
            migrations.rollback_migration(RollbackMigrationRequest { name, ..Default::default() }).await
        }
        Ask::Start => migrations.start_migration(StartMigrationRequest { name, ..Default::default() }).await,
        Ask::Verify => {
            migrations.verify_migration(VerifyMigrationRequest { name, ..Default::default() }).await
        }
    };
    asked.unwrap();
    let end = async {
        loop {
            let get = common::GetMigrationRequest { name: NAME.to_owned() };
            let migration = migrations.get_migration(get).await.unwrap().into_inner();
            match migration.state() {
                common::MigrationState::Done | common::MigrationState::RolledBack => return migration,
                common::MigrationState::Failed => panic!("{ask:?} failed: {}", migration.failure_reason),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), end).await.unwrap()
}

async fn count(store: &Database, rows: &str) -> i64 {
    sql::one(store, &format!("SELECT COUNT(*) FROM {rows}")).await
}

/// Everything that is replied, in one text.
async fn replies(world: &World, offer: &Offer) -> String {
    let purposes = world
        .purposes(&world.controller)
        .list_purposes(pb::ListPurposesRequest::default())
        .await
        .unwrap()
        .into_inner();
    let notices = world
        .notices(&world.controller)
        .list_notices(pb::ListNoticesRequest::default())
        .await
        .unwrap()
        .into_inner();
    let consents = world
        .consents(&world.officer)
        .list_consents(pb::ListConsentsRequest::default())
        .await
        .unwrap()
        .into_inner();
    // Places in the ledger are given while others look, and the schema of before has neither those nor receipts.
    let mut events: Vec<pb::ConsentEvent> = world.events(&world.anna).await;
    for event in &mut events {
        event.ledger_index = None;
        event.receipt_id.clear();
    }
    let reasons: Vec<_> = events.iter().map(|event| event.reason.clone()).collect();
    let decision =
        pb::CheckConsentResponse { ledger_index: None, ..world.check(&world.anna, &offer.purpose).await };
    let bodies: Vec<_> = notices.notices.iter().map(|notice| notice.bodies.get("en").cloned()).collect();
    format!("{purposes:?}{bodies:?}{consents:?}{events:?}{reasons:?}{decision:?}")
}

const IN_THE_CLEAR: [&str; 2] = [
    "consent_event WHERE reason IS NOT NULL",
    "evidence WHERE LENGTH(content_hash) > 0 OR LENGTH(content) > 0",
];
const SEALED: [&str; 2] =
    ["consent_event WHERE sealed_reason IS NOT NULL", "evidence WHERE sealed_content IS NOT NULL"];
const TABLES: [&str; 7] =
    ["consent", "consent_event", "evidence", "notice", "notice_revision", "purpose", "purpose_revision"];

async fn counts(store: &Database, rows: [&str; 2]) -> (i64, i64) {
    (count(store, rows[0]).await, count(store, rows[1]).await)
}

async fn stamped(store: &Database) -> i64 {
    let mut stamped = 0;
    for table in TABLES {
        stamped += count(store, &format!("{table} WHERE row_digest IS NOT NULL")).await;
    }
    stamped
}

each_database! {
    /// The same replies before, in between, after a way back, and after the commit, when nothing is in the clear.
    async fn an_earlier_installation_is_sealed(database) {
        let (mut world, store) = upgraded(database).await;
        let offer = world.offer().await;
        give_and_withdraw(&world, &world.anna, &offer).await;
        assert_eq!((counts(&store, IN_THE_CLEAR).await, counts(&store, SEALED).await), ((1, 1), (0, 0)));
        assert_eq!(stamped(&store).await, 0);
        let before = replies(&world, &offer).await;
        let mut rows = Vec::new();
        for table in TABLES {
            rows.push(sql::everything(&store, table).await);
        }

        steer(&world, Ask::Start).await;
        assert_eq!((counts(&store, IN_THE_CLEAR).await, counts(&store, SEALED).await), ((1, 1), (1, 1)));
        assert_eq!(replies(&world, &offer).await, before);
        assert!(stamped(&store).await > 0);

        steer(&world, Ask::RollBack).await;
        for (table, rows) in TABLES.iter().zip(&rows) {
            assert_eq!(&sql::everything(&store, table).await, rows, "{table}");
        }
        assert_eq!(replies(&world, &offer).await, before);

        steer(&world, Ask::Start).await;
        let berts = give_and_withdraw(&world, &world.bert, &offer).await;
        assert_eq!((counts(&store, IN_THE_CLEAR).await, counts(&store, SEALED).await), ((2, 2), (2, 2)));
        // An earlier version withdraws: it changes the consent beneath its digest, and its event has none.
        let changed = "UPDATE consent SET version = version + 1, recorded_at = recorded_at + 1";
        assert_ne!(sql::run(&store, changed, []).await, 0);
        let copied = "INSERT INTO consent_event (event_id, consent_id, sequence, subject_id, purpose_id, \
                      purpose_revision, notice_id, notice_revision, previous_status, status, reason, actor, \
                      event_at, recorded_at) \
                      SELECT $1, consent_id, 3, subject_id, purpose_id, purpose_revision, notice_id, \
                      notice_revision, previous_status, status, 'late', actor, event_at, recorded_at \
                      FROM consent_event WHERE sequence = 2 AND subject_id = $2";
        let values = [Value::from(uuid::Uuid::from_u128(9)), Value::from(portal_core::id::Id::uuid(world.anna.subject))];
        assert_eq!(sql::run(&store, copied, values).await, 1);
        let before = replies(&world, &offer).await;

        steer(&world, Ask::Verify).await;
        steer(&world, Ask::Commit).await;
        assert_eq!((counts(&store, IN_THE_CLEAR).await, counts(&store, SEALED).await), ((0, 0), (3, 2)));
        for table in TABLES {
            assert_eq!(count(&store, &format!("{table} WHERE row_digest IS NULL")).await, 0, "{table}");
        }
        assert_eq!(replies(&world, &offer).await, before);
        world.restart().await;
        assert_eq!(replies(&world, &offer).await, before);
        let again = withdrawal(&world.anna, &offer);
        // Kept in the clear alone, before anything was sealed, it could be anybody's by now; kept in both forms it is not.
        refused(world.consents(&world.anna).withdraw_consent(again).await, Code::DataLoss, "ROW_CORRUPT");
        let again = withdrawal(&world.bert, &offer);
        assert_eq!(world.consents(&world.bert).withdraw_consent(again).await.unwrap().into_inner(), berts);
        give_and_withdraw(&world, &world.controller, &offer).await;
        assert_eq!((counts(&store, IN_THE_CLEAR).await, counts(&store, SEALED).await), ((0, 0), (4, 3)));
        let forged = "UPDATE consent SET recorded_at = recorded_at + 1";
        assert_ne!(sql::run(&store, forged, []).await, 0);
        let listed = world.consents(&world.officer).list_consents(pb::ListConsentsRequest::default()).await.unwrap();
        assert!(listed.into_inner().consents.is_empty());
    }

    /// Until the commit what stands in the clear is the truth: an earlier version may have written it, also when all was
    /// compared already.
    async fn what_is_in_the_clear_counts(database) {
        let (world, store) = upgraded(database).await;
        let offer = world.offer().await;
        give_and_withdraw(&world, &world.anna, &offer).await;
        world.draft_notice(&[&offer.purpose]).await;
        steer(&world, Ask::Start).await;
        assert_eq!(sql::run(&store, "UPDATE consent_event SET reason = 'another' WHERE reason IS NOT NULL", []).await, 1);
        steer(&world, Ask::Verify).await;
        for change in [
            "UPDATE consent SET version = version + 1, recorded_at = recorded_at + 1",
            "UPDATE purpose SET version = version + 1, updated_at = updated_at + 1",
            "UPDATE purpose_revision SET description = 'Older' WHERE published_at IS NULL",
            "UPDATE notice SET version = version + 1, updated_at = updated_at + 1",
            "UPDATE notice_revision SET title = 'Older' WHERE published_at IS NULL",
        ] {
            sql::tamper(&store, change).await;
        }
        let before = replies(&world, &offer).await;
        assert!(before.contains("another") && before.contains("Older"));
        steer(&world, Ask::Commit).await;
        assert_eq!(replies(&world, &offer).await, before);
        let report = scan(&world).await;
        assert_eq!((report.state(), report.rows_checked), (common::ScanState::Clean, 6 + 4 + 2 + 2 + 2));
    }

    /// On the schema of before, with rows that only that knew: the service brings it up to date, moves all, and answers as
    /// before. A way back on the schema leaves the rows as they were.
    async fn rows_of_the_schema_before_are_sealed(database) {
        let (mut world, store) = upgraded(database).await;
        let offer = world.offer().await;
        give_and_withdraw(&world, &world.anna, &offer).await;
        give_and_withdraw(&world, &world.bert, &offer).await;
        // The schema of before has no place for what a record says.
        sql::tamper(&store, "UPDATE purpose_revision SET record = NULL, material_change = NULL").await;
        let before = replies(&world, &offer).await;
        let mut rows = Vec::new();
        for table in TABLES {
            rows.push(sql::everything(&store, table).await);
        }
        world.stop().await;
        migrate::down::<Migrations>(&store, crate::world::migrations() - 1).await.unwrap();
        // Statements of a connection are prepared for the columns that it has seen.
        let store = database.connect().await;
        let plain = sql::everything(&store, "consent_event").await;
        assert!(sql::contains(&plain, REASON) && plain.len() < rows[1].len());
        world.start_again().await;
        let store = database.connect().await;
        for (table, rows) in TABLES.iter().zip(&rows) {
            assert_eq!(&sql::everything(&store, table).await, rows, "{table}");
        }
        assert_eq!(replies(&world, &offer).await, before);
        steer(&world, Ask::Start).await;
        steer(&world, Ask::Commit).await;
        assert_eq!((counts(&store, IN_THE_CLEAR).await, counts(&store, SEALED).await), ((0, 0), (2, 2)));
        assert_eq!(replies(&world, &offer).await, before);
        let again = withdrawal(&world.anna, &offer);
        refused(world.consents(&world.anna).withdraw_consent(again).await, Code::DataLoss, "ROW_CORRUPT");
    }

    /// What somebody said who was erased meanwhile is sealed for nobody: it goes with the commit, and nothing else does.
    async fn the_words_of_the_erased_go(database) {
        let (world, store) = upgraded(database).await;
        let offer = world.offer().await;
        for user in [&world.anna, &world.bert, &world.officer] {
            give_and_withdraw(&world, user, &offer).await;
        }
        let keys = world.keys().await;
        // One before anything is moved, one when both forms are there.
        keys.subject_or_new(world.anna.subject).await.unwrap();
        keys.erase(world.anna.subject).await.unwrap();
        steer(&world, Ask::Start).await;
        keys.erase(world.bert.subject).await.unwrap();
        steer(&world, Ask::Verify).await;
        steer(&world, Ask::Commit).await;
        assert_eq!(counts(&store, IN_THE_CLEAR).await, (0, 0));
        for user in [&world.anna, &world.bert] {
            // Another process has erased them: the service goes on using their keys for a second at most.
            until(async || {
                let events = world.events(user).await;
                assert_eq!(events.len(), 2);
                events.iter().all(|event| event.reason.is_empty()).then_some(())
            })
            .await;
        }
        assert_eq!(world.events(&world.officer).await[0].reason, REASON);
        keys.close().await;
    }
}
