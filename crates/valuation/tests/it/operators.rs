//! What operators ask for: keys, integrity scans, migrations. Nobody else is answered.

use std::fmt::Debug;
use std::time::Duration;

use portal_core::id::{Id, SubjectId};
use portal_core::{Role, Workload};
use portal_proto::common::v1 as common;
use portal_proto::common::v1::IntegrityCause::{
    self, DigestMismatch, EnvelopeRefused, KeyMissing, ValueInvalid,
};
use portal_proto::valuation::v1::key_service_client::KeyServiceClient;
use portal_testkit::each_database;
use portal_testkit::mesh::TestUser;
use sea_orm::Value;
use tonic::{Code, Response, Status};

use crate::sealed::{Intruder, uuid};
use crate::upgrade::{Ask, NAME, an_older_row, steer};
use crate::world::{World, assert_refused, new_id, person, synthetic};

/// There is no such key, and nothing is destroyed.
fn destroy() -> common::DestroyKeyRequest {
    common::DestroyKeyRequest { key_id: "none".to_owned() }
}

fn named() -> String {
    NAME.to_owned()
}

fn rotate(request_id: &str) -> common::RotateKeysRequest {
    common::RotateKeysRequest {
        r#use: common::KeyUse::Epoch.into(),
        rewrap: true,
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

/// The code of every method's answer to `user`.
async fn answers(world: &World, user: &TestUser) -> Vec<(&'static str, Code)> {
    fn code<T: Debug>(answer: Result<Response<T>, Status>) -> Code {
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    }
    let (mut keys, mut integrity) = (world.key_service(user), world.integrity(user));
    let mut migrations = world.migrations(user);
    let start = common::StartMigrationRequest { name: named(), ..Default::default() };
    let pause = common::PauseMigrationRequest { name: named(), ..Default::default() };
    let roll_back = common::RollbackMigrationRequest { name: named(), ..Default::default() };
    let verify = common::VerifyMigrationRequest { name: named(), ..Default::default() };
    let commit = common::CommitMigrationRequest { name: named(), ..Default::default() };
    vec![
        ("ListKeys", code(keys.list_keys(common::ListKeysRequest::default()).await)),
        ("RotateKeys", code(keys.rotate_keys(rotate("")).await)),
        ("DestroyKey", code(keys.destroy_key(destroy()).await)),
        ("GetCryptoInventory", code(keys.get_crypto_inventory(common::GetCryptoInventoryRequest {}).await)),
        ("RunScan", code(integrity.run_scan(common::RunScanRequest::default()).await)),
        ("GetReport", code(integrity.get_report(common::GetReportRequest::default()).await)),
        ("ListMigrations", code(migrations.list_migrations(common::ListMigrationsRequest::default()).await)),
        ("GetMigration", code(migrations.get_migration(common::GetMigrationRequest { name: named() }).await)),
        ("StartMigration", code(migrations.start_migration(start).await)),
        ("PauseMigration", code(migrations.pause_migration(pause).await)),
        ("RollbackMigration", code(migrations.rollback_migration(roll_back).await)),
        ("VerifyMigration", code(migrations.verify_migration(verify).await)),
        ("CommitMigration", code(migrations.commit_migration(commit).await)),
    ]
}

/// Runs a scan of everything to its end.
async fn scan(world: &World) -> common::IntegrityReport {
    let mut integrity = world.integrity(&world.operator);
    let begun = integrity.run_scan(common::RunScanRequest::default()).await.unwrap().into_inner();
    let request = common::GetReportRequest { report_id: begun.report_id };
    let ended = async {
        loop {
            let report = integrity.get_report(request.clone()).await.unwrap().into_inner();
            if report.state() != common::ScanState::Running {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap()
}

/// Table, column and cause of what a scan found.
fn found(report: &common::IntegrityReport) -> Vec<(String, String, IntegrityCause)> {
    let finding =
        |found: &common::IntegrityFinding| (found.table.clone(), found.column.clone(), found.cause());
    let mut findings: Vec<_> = report.findings.iter().map(finding).collect();
    findings.sort_by_key(|(table, column, cause)| (table.clone(), column.clone(), *cause as i32));
    findings
}

each_database! {
    /// Operators are answered by every method; a migration that is committed takes no orders. Nobody else is answered.
    async fn operators_alone_are_answered(database) {
        let world = World::start(database).await;
        for user in [&world.controller, &TestUser::subject(), &TestUser::with_roles(&[Role::Officer, Role::Auditor])] {
            let answers = answers(&world, user).await;
            assert!(answers.len() == 13 && answers.iter().all(|(_, code)| *code == Code::PermissionDenied), "{answers:?}");
        }
        let address = world.service.as_ref().unwrap().local_addr();
        let consent = world.mesh.channel(Workload::Consent, Workload::Valuation, address).as_workload();
        let refused = KeyServiceClient::new(consent).rotate_keys(rotate("")).await;
        assert_refused(refused, Code::PermissionDenied, "WORKLOAD_NOT_ALLOWED");
        let refused = KeyServiceClient::new(world.channel.clone()).rotate_keys(rotate("")).await;
        assert_refused(refused, Code::Unauthenticated, "TOKEN_MISSING");
        let mut integrity = world.integrity(&world.operator);
        let newest = integrity.get_report(common::GetReportRequest::default()).await;
        assert_refused(newest, Code::NotFound, "REPORT_NOT_FOUND");
        for (method, code) in answers(&world, &world.operator).await {
            let order = method.ends_with("Migration") && method != "GetMigration";
            let expected = match method {
                "DestroyKey" => Code::NotFound,
                _ if order => Code::FailedPrecondition,
                _ => Code::Ok,
            };
            assert_eq!(code, expected, "{method}");
        }
    }

    /// A new epoch: the keys of people are wrapped anew, no cell is touched, and everything opens as before.
    async fn keys_are_listed_and_rotated(database) {
        let mut world = World::start(database).await;
        let intruder = Intruder::of(database).await;
        let dataset = world.filled(2, &synthetic(20, 10, 4)).await;
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        let values = world.record_values(&valuation.valuation_id).await;
        let cells = intruder.column::<Vec<u8>>("record_value ORDER BY position", "measure").await;
        let mut keys = world.key_service(&world.operator);
        let epochs = common::ListKeysRequest { r#use: common::KeyUse::Epoch.into(), ..Default::default() };
        let before = keys.list_keys(epochs.clone()).await.unwrap().into_inner().keys;
        assert_eq!((before.len(), before[0].state(), before[0].wrapped_key_count), (1, common::KeyState::Active, 4));

        world.mesh.clock.advance(Duration::from_secs(1));
        let id = new_id();
        let rotated = keys.rotate_keys(rotate(&id)).await.unwrap().into_inner();
        let (active, retired) = (rotated.active_key.unwrap(), rotated.retired_key.unwrap());
        assert_eq!((&retired.key_id, retired.state()), (&before[0].key_id, common::KeyState::Retired));
        let again = keys.rotate_keys(rotate(&id)).await.unwrap().into_inner();
        assert_eq!(again.active_key.unwrap().key_id, active.key_id);
        let wrapped = async {
            loop {
                let all = keys.list_keys(epochs.clone()).await.unwrap().into_inner().keys;
                let on = |id: &str| all.iter().find(|key| key.key_id == id).unwrap().wrapped_key_count;
                if (on(&active.key_id), on(&retired.key_id)) == (4, 0) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wrapped).await.unwrap();
        assert_eq!(intruder.column::<Vec<u8>>("record_value ORDER BY position", "measure").await, cells);
        let inventory = keys.get_crypto_inventory(common::GetCryptoInventoryRequest {}).await.unwrap().into_inner();
        assert!(inventory.algorithms().any(|used| used == common::Algorithm::XWing));
        assert!(inventory.cyclonedx_json.contains("CycloneDX"));
        world.restart().await;
        assert_eq!(world.record_values(&valuation.valuation_id).await, values);
        world.valued(&world.start_valuation(&dataset).await.name).await;
    }

    /// Nothing is wrong until somebody changes something, and then just that is named; who was erased is no fault.
    async fn scans_name_what_is_wrong(database) {
        let world = World::start(database).await;
        let intruder = Intruder::of(database).await;
        world.decisions.withdraw(&person(3));
        let dataset = world.create(2).await;
        world.append(&dataset.dataset_id, &synthetic(12, 4, 4), 4).await.unwrap();
        let dataset = world.dataset(&dataset.dataset_id).await;
        let valuation = world.valued(&world.start_valuation(&dataset).await.name).await;
        world.valued(&world.start_valuation(&dataset).await.name).await;
        let keys = world.keys().await;
        keys.erase(SubjectId::parse(&person(2)).unwrap()).await.unwrap();
        let clean = scan(&world).await;
        assert_eq!((clean.state(), found(&clean)), (common::ScanState::Clean, Vec::new()));
        // A dataset, an append with four batches, two valuations with an exclusion and the values of nine records of three
        // people each; that the first two were made, and the others were asked for, begun and done.
        let rows = 1 + 5 + 2 * (2 + 9 + 3) + (1 + 1 + 2 * 3);
        assert_eq!((clean.rows_checked, clean.rows_total), (rows, rows));

        let id = uuid(&valuation.valuation_id);
        let append = intruder.read("SELECT id FROM append", &[]).await[0].try_get_by_index::<sea_orm::prelude::Uuid>(0).unwrap();
        let of_anna = "subject_id = $2 AND valuation_id = $1";
        let changes: [(String, Vec<Value>); 9] = [
            ("UPDATE dataset SET display_name = 'x'".to_owned(), Vec::new()),
            ("UPDATE append SET row_digest = NULL".to_owned(), Vec::new()),
            ("UPDATE batch SET split = 7 WHERE position = 0".to_owned(), Vec::new()),
            // Whose record it is; another person has no key at all.
            ("UPDATE record SET subject_id = $1 WHERE position = 1 AND batch_row = 0".to_owned(), vec![uuid(&new_id())]),
            ("UPDATE record SET record_id = 'other' WHERE position = 2 AND batch_row = 0".to_owned(), Vec::new()),
            ("UPDATE record SET revision = 0 WHERE position = 3 AND batch_row = 0".to_owned(), Vec::new()),
            ("UPDATE valuation SET k = 1 WHERE id = $1".to_owned(), vec![id.clone()]),
            ("UPDATE exclusion SET subject_count = 0 WHERE valuation_id = $1".to_owned(), vec![id.clone()]),
            (format!("UPDATE subject_value SET measure = row_digest WHERE {of_anna}"), vec![id, uuid(&person(0))]),
        ];
        for (change, values) in &changes {
            assert_eq!(intruder.write(change, values).await, 1, "{change}");
        }
        let faulty = scan(&world).await;
        assert_eq!(faulty.state(), common::ScanState::Faulty);
        let expected = [
            ("append", "", DigestMismatch),
            ("batch", "", DigestMismatch),
            ("batch", "record", EnvelopeRefused),
            ("batch", "record", KeyMissing),
            ("dataset", "", DigestMismatch),
            ("exclusion", "", DigestMismatch),
            ("record", "revision", ValueInvalid),
            ("subject_value", "", DigestMismatch),
            ("valuation", "", DigestMismatch),
        ];
        let mut expected: Vec<_> =
            expected.map(|(table, column, cause)| (table.to_owned(), column.to_owned(), cause)).to_vec();
        expected.sort_by_key(|(table, column, cause)| (table.clone(), column.clone(), *cause as i32));
        assert_eq!(found(&faulty), expected);
        let row = faulty.findings.iter().find(|found| found.column == "revision").unwrap();
        assert_eq!(row.row_id, format!("{append}/3/0"));
        let named = common::GetReportRequest { report_id: clean.report_id.clone() };
        assert_eq!(world.integrity(&world.operator).get_report(named).await.unwrap().into_inner(), clean);
        keys.close().await;
    }

    /// The migration from its plan to its commit, as operators see it.
    async fn the_migration_is_steered(database) {
        let intruder = an_older_row(database).await;
        let world = World::start(database).await;
        world.filled(2, &synthetic(20, 10, 4)).await;
        let mut migrations = world.migrations(&world.operator);
        let list = migrations.list_migrations(common::ListMigrationsRequest::default()).await.unwrap().into_inner().migrations;
        let list: Vec<_> = list.iter().map(|migration| (migration.name.as_str(), migration.kind(), migration.state())).collect();
        assert_eq!(list, [
            ("m0001_initial", common::MigrationKind::Schema, common::MigrationState::Done),
            ("m0002_sealed_records", common::MigrationKind::Schema, common::MigrationState::Done),
            ("upkeep_m0002_rows_unchecked", common::MigrationKind::Schema, common::MigrationState::Done),
            ("upkeep_m0003_ledger", common::MigrationKind::Schema, common::MigrationState::Done),
            ("upkeep_m0004_audit", common::MigrationKind::Schema, common::MigrationState::Done),
            (NAME, common::MigrationKind::Data, common::MigrationState::Pending),
        ]);
        let plan = common::StartMigrationRequest { name: named(), validate_only: true, ..Default::default() };
        let planned = migrations.start_migration(plan).await.unwrap().into_inner();
        assert_eq!(planned.rows_total, 2 + 3);
        assert_eq!(intruder.count("dataset WHERE row_digest IS NOT NULL").await, 0);
        let refused = |result: Result<Response<common::Migration>, Status>, reason: &str| {
            assert_refused(result, Code::FailedPrecondition, reason);
        };
        let commit = common::CommitMigrationRequest { name: named(), ..Default::default() };
        refused(migrations.commit_migration(commit).await, "MIGRATION_NOT_DONE");
        let pause = common::PauseMigrationRequest { name: named(), ..Default::default() };
        refused(migrations.pause_migration(pause).await, "MIGRATION_NOT_RUNNING");

        let moved = steer(&world, Ask::Start).await;
        assert_eq!((moved.rows_done, moved.rows_verified, moved.reversible, moved.committed), (5, 5, true, false));
        steer(&world, Ask::RollBack).await;
        assert_eq!(intruder.count("dataset WHERE row_digest IS NOT NULL").await, 0);
        steer(&world, Ask::Start).await;
        let committed = steer(&world, Ask::Commit).await;
        assert_eq!((committed.reversible, committed.committed), (false, true));
        let back = common::RollbackMigrationRequest { name: named(), ..Default::default() };
        refused(migrations.rollback_migration(back).await, "MIGRATION_COMMITTED");
    }
}
