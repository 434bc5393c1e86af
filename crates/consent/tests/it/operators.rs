//! What operators ask for: keys, integrity scans, migrations. Nobody else is answered.

use std::fmt::Debug;

use portal_core::Workload;
use portal_proto::consent::v1::integrity_service_client::IntegrityServiceClient;
use portal_proto::consent::v1::key_service_client::KeyServiceClient;
use portal_proto::consent::v1::migration_service_client::MigrationServiceClient;
use portal_testkit::each_database;
use portal_testkit::mesh::TestUser;
use sea_orm_migration::MigratorTrait;
use tonic::{Code, Response, Status};

use crate::moving::{Ask, NAME, steer, upgraded};
use crate::scans::scan;
use crate::sealed::{REASON, give_and_withdraw};
use crate::sql;
use crate::world::{World, common, refused};

const REQUEST_ID: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c073990";
const FAILED: Code = Code::FailedPrecondition;

fn rotate(request_id: &str) -> common::RotateKeysRequest {
    common::RotateKeysRequest {
        r#use: common::KeyUse::Epoch.into(),
        rewrap: true,
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

/// There is no such key, and nothing is destroyed.
fn destroy() -> common::DestroyKeyRequest {
    common::DestroyKeyRequest { key_id: "none".to_owned() }
}

fn named() -> String {
    NAME.to_owned()
}

/// The code of every method's answer to `user`.
async fn answers(world: &World, user: &TestUser) -> Vec<(&'static str, Code)> {
    let (mut keys, mut integrity) = (world.key_service(user), world.integrity(user));
    let mut answers = vec![
        ("ListKeys", code(keys.list_keys(common::ListKeysRequest::default()).await)),
        ("RotateKeys", code(keys.rotate_keys(rotate("")).await)),
        ("DestroyKey", code(keys.destroy_key(destroy()).await)),
        ("GetCryptoInventory", code(keys.get_crypto_inventory(common::GetCryptoInventoryRequest {}).await)),
        ("RunScan", code(integrity.run_scan(common::RunScanRequest::default()).await)),
        ("GetReport", code(integrity.get_report(common::GetReportRequest::default()).await)),
    ];
    answers.extend(answers_about_migrations(world, user).await);
    answers
}

async fn answers_about_migrations(world: &World, user: &TestUser) -> [(&'static str, Code); 7] {
    use common::{CommitMigrationRequest, PauseMigrationRequest, RollbackMigrationRequest};
    use common::{GetMigrationRequest, ListMigrationsRequest, StartMigrationRequest, VerifyMigrationRequest};
    let (mut migrations, name) = (world.migrations(user), named());
    let (list, get) = (ListMigrationsRequest::default(), GetMigrationRequest { name: name.clone() });
    let start = StartMigrationRequest { name: name.clone(), ..Default::default() };
    let pause = PauseMigrationRequest { name: name.clone(), ..Default::default() };
    let roll_back = RollbackMigrationRequest { name: name.clone(), ..Default::default() };
    let verify = VerifyMigrationRequest { name: name.clone(), ..Default::default() };
    let commit = CommitMigrationRequest { name, ..Default::default() };
    [
        ("ListMigrations", code(migrations.list_migrations(list).await)),
        ("GetMigration", code(migrations.get_migration(get).await)),
        ("StartMigration", code(migrations.start_migration(start).await)),
        ("PauseMigration", code(migrations.pause_migration(pause).await)),
        ("RollbackMigration", code(migrations.rollback_migration(roll_back).await)),
        ("VerifyMigration", code(migrations.verify_migration(verify).await)),
        ("CommitMigration", code(migrations.commit_migration(commit).await)),
    ]
}

fn code<T: Debug>(answer: Result<Response<T>, Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

each_database! {
    /// Operators are answered by every method; a migration that is committed takes no orders. Nobody else is, and what they
    /// asked for does not happen.
    async fn operators_alone_are_answered(database) {
        let world = World::start(database).await;
        for user in [&world.anna, &world.controller, &world.officer] {
            let answers = answers(&world, user).await;
            assert!(answers.len() == 13 && answers.iter().all(|(_, code)| *code == Code::PermissionDenied), "{answers:?}");
        }
        for from in [Workload::Auth, Workload::Valuation] {
            let mut keys = KeyServiceClient::new(world.workload(from));
            refused(keys.rotate_keys(rotate("")).await, Code::PermissionDenied, "WORKLOAD_NOT_ALLOWED");
            let mut integrity = IntegrityServiceClient::new(world.workload(from));
            refused(integrity.run_scan(common::RunScanRequest::default()).await, Code::PermissionDenied, "WORKLOAD_NOT_ALLOWED");
            let mut migrations = MigrationServiceClient::new(world.workload(from));
            let commit = common::CommitMigrationRequest { name: named(), ..Default::default() };
            refused(migrations.commit_migration(commit).await, Code::PermissionDenied, "WORKLOAD_NOT_ALLOWED");
        }
        let mut keys = KeyServiceClient::new(world.anonymous());
        refused(keys.list_keys(common::ListKeysRequest::default()).await, Code::Unauthenticated, "TOKEN_MISSING");
        let store = world.key_database().await;
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM epoch_key").await, 1);
        let mut integrity = world.integrity(&world.operator);
        let newest = common::GetReportRequest::default();
        refused(integrity.get_report(newest).await, Code::NotFound, "REPORT_NOT_FOUND");

        let orders = ["StartMigration", "PauseMigration", "RollbackMigration", "VerifyMigration", "CommitMigration"];
        for (method, code) in answers(&world, &world.operator).await {
            let expected = match method {
                "DestroyKey" => Code::NotFound,
                method if orders.contains(&method) => FAILED,
                _ => Code::Ok,
            };
            assert_eq!(code, expected, "{method}");
        }
    }

    /// A new epoch: people's keys are wrapped anew without a cell being touched, and everything opens as before. The same
    /// request begins no second one.
    async fn keys_are_listed_and_rotated(database) {
        let mut world = World::start(database).await;
        let offer = world.offer().await;
        give_and_withdraw(&world, &world.anna, &offer).await;
        let store = database.connect().await;
        let cells = sql::everything(&store, "consent_event").await;
        let mut keys = world.key_service(&world.operator);
        let epochs = common::ListKeysRequest { r#use: common::KeyUse::Epoch.into(), ..Default::default() };
        let before = keys.list_keys(epochs.clone()).await.unwrap().into_inner().keys;
        assert_eq!((before.len(), before[0].state()), (1, common::KeyState::Active));
        // Of the subject who has a secret, and of nobody else.
        assert_eq!(before[0].wrapped_key_count, 1);

        world.mesh.clock.advance(std::time::Duration::from_secs(1));
        let rotated = keys.rotate_keys(rotate(REQUEST_ID)).await.unwrap().into_inner();
        let (active, retired) = (rotated.active_key.unwrap(), rotated.retired_key.unwrap());
        assert_eq!((&retired.key_id, retired.state()), (&before[0].key_id, common::KeyState::Retired));
        assert_ne!(active.key_id, retired.key_id);
        let again = keys.rotate_keys(rotate(REQUEST_ID)).await.unwrap().into_inner();
        assert_eq!(again.active_key.unwrap().key_id, active.key_id);
        let rewrapped = async {
            loop {
                let all = keys.list_keys(epochs.clone()).await.unwrap().into_inner().keys;
                assert_eq!(all.len(), 2);
                let on = |id: &str| all.iter().find(|key| key.key_id == id).unwrap().wrapped_key_count;
                if (on(&active.key_id), on(&retired.key_id)) == (1, 0) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), rewrapped).await.unwrap();
        assert_eq!(sql::everything(&store, "consent_event").await, cells);
        assert_eq!(world.events(&world.anna).await[0].reason, REASON);

        let inventory = keys.get_crypto_inventory(common::GetCryptoInventoryRequest {}).await.unwrap().into_inner();
        assert!(inventory.algorithms().any(|used| used == common::Algorithm::XWing));
        assert!(inventory.algorithms().any(|used| used == common::Algorithm::Aes256Gcm));
        let bill: serde_json::Value = serde_json::from_str(&inventory.cyclonedx_json).unwrap();
        assert_eq!(bill["bomFormat"], "CycloneDX");
        world.restart().await;
        assert_eq!(world.events(&world.anna).await[0].reason, REASON);
    }

    /// Scans by name, once per request id; their reports.
    async fn scans_are_run(database) {
        let world = World::start(database).await;
        let offer = world.offer().await;
        give_and_withdraw(&world, &world.anna, &offer).await;
        let mut integrity = world.integrity(&world.operator);
        let unknown = common::RunScanRequest { tables: vec!["consent".to_owned(), "idempotency_key".to_owned()], ..Default::default() };
        assert_eq!(integrity.run_scan(unknown).await.unwrap_err().code(), Code::InvalidArgument);
        let all = scan(&world).await;
        assert_eq!((all.state(), all.rows_checked), (common::ScanState::Clean, 6 + 5));
        let events = common::RunScanRequest {
            tables: vec!["consent_event".to_owned()],
            request_id: REQUEST_ID.to_owned(),
            ..Default::default()
        };
        let begun = integrity.run_scan(events.clone()).await.unwrap().into_inner();
        assert_eq!(integrity.run_scan(events).await.unwrap().into_inner().report_id, begun.report_id);
        let named = common::GetReportRequest { report_id: all.report_id.clone() };
        assert_eq!(integrity.get_report(named).await.unwrap().into_inner(), all);
    }

    /// The migration from its plan to its commit, as operators see it.
    async fn the_migration_is_steered(database) {
        let (world, store) = upgraded(database).await;
        let offer = world.offer().await;
        give_and_withdraw(&world, &world.anna, &offer).await;
        let mut migrations = world.migrations(&world.operator);
        let list = migrations.list_migrations(common::ListMigrationsRequest::default()).await.unwrap().into_inner().migrations;
        let list: Vec<_> = list.iter().map(|migration| (migration.name.as_str(), migration.kind(), migration.state())).collect();
        let schema = portal_consent::Migrations::migrations();
        let schema = schema.iter().map(|migration| migration.name());
        let schema = schema.map(|name| (name, common::MigrationKind::Schema, common::MigrationState::Done));
        let data = (NAME, common::MigrationKind::Data, common::MigrationState::Pending);
        assert_eq!(list, schema.chain([data]).collect::<Vec<_>>());
        let name = named();
        let plan = common::StartMigrationRequest { name: name.clone(), validate_only: true, ..Default::default() };
        let planned = migrations.start_migration(plan).await.unwrap().into_inner();
        // Beside what the service has written, the purpose of before and its revision.
        assert_eq!(planned.rows_total, 4 + 4 + 2);
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM consent WHERE row_digest IS NOT NULL").await, 0);
        let commit = common::CommitMigrationRequest { name: name.clone(), ..Default::default() };
        refused(migrations.commit_migration(commit).await, FAILED, "MIGRATION_NOT_DONE");
        let pause = common::PauseMigrationRequest { name: name.clone(), ..Default::default() };
        refused(migrations.pause_migration(pause).await, FAILED, "MIGRATION_NOT_RUNNING");
        let schema = common::StartMigrationRequest { name: "m0001_consents".to_owned(), ..Default::default() };
        refused(migrations.start_migration(schema).await, FAILED, "MIGRATION_OF_SCHEMA");
        let nobody = common::GetMigrationRequest { name: "d9999".to_owned() };
        refused(migrations.get_migration(nobody).await, Code::NotFound, "MIGRATION_NOT_FOUND");

        let moved = steer(&world, Ask::Start).await;
        assert_eq!((moved.rows_done, moved.rows_verified, moved.reversible, moved.committed), (10, 10, true, false));
        let back = steer(&world, Ask::RollBack).await;
        assert_eq!(back.state(), common::MigrationState::RolledBack);
        steer(&world, Ask::Start).await;
        let committed = steer(&world, Ask::Commit).await;
        assert_eq!((committed.reversible, committed.committed), (false, true));
        let back = common::RollbackMigrationRequest { name, ..Default::default() };
        refused(migrations.rollback_migration(back).await, FAILED, "MIGRATION_COMMITTED");
        assert_eq!(world.events(&world.anna).await[0].reason, REASON);
    }
}
