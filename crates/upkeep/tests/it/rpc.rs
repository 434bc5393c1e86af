//! What operators are answered, through a real server: mutual TLS, tokens, policy.

use std::sync::Arc;

use portal_core::id::{Id, SubjectId, TenantId};
use portal_core::{Role, SystemClock, SystemEntropy, TrustDomain, Workload};
use portal_crypto::envelope::Scope;
use portal_crypto::suite::Suites;
use portal_keys::{Ambient, Keys, Replies};
use portal_mesh::policy::Row;
use portal_mesh::status::reason_of;
use portal_mesh::{Authorization, Identity, MeshChannel, MeshServer, Running, TokenVerifier};
use portal_proto::common::v1 as pb;
use portal_proto::consent::v1::integrity_service_client::IntegrityServiceClient;
use portal_proto::consent::v1::integrity_service_server::IntegrityServiceServer;
use portal_proto::consent::v1::key_service_client::KeyServiceClient;
use portal_proto::consent::v1::key_service_server::KeyServiceServer;
use portal_proto::consent::v1::migration_service_client::MigrationServiceClient;
use portal_proto::consent::v1::migration_service_server::MigrationServiceServer;
use portal_store::sealed::Sealing;
use portal_store::{StoreError, Tx};
use portal_testkit::{TestDatabase, TestMesh, TestUser, UserChannel, each_database};
use portal_upkeep::rpc::Operators;
use prost::Message as _;
use sea_orm::{ConnectionTrait as _, Statement};
use tonic::service::Routes;
use tonic::{Code, Response, Status};
use uuid::Uuid;

use crate::toy::{Process, SEAL_NAMES, Schema, host, person::Column, tamper};

mod policy {
    use portal_mesh::policy::Row;

    portal_mesh::actions! {
        "portal.consent.v1.IntegrityService" => RunScan, GetReport;
        "portal.consent.v1.KeyService" => ListKeys, RotateKeys, DestroyKey, GetCryptoInventory;
        "portal.consent.v1.MigrationService" => ListMigrations, GetMigration, StartMigration, PauseMigration,
            RollbackMigration, VerifyMigration, CommitMigration;
    }

    pub const TABLE: &[Row] = &[
        Row::of::<RunScan>().write(),
        Row::of::<GetReport>().read(),
        Row::of::<ListKeys>().read(),
        Row::of::<RotateKeys>().write().deadline_seconds(60),
        Row::of::<DestroyKey>().write().deadline_seconds(60),
        Row::of::<GetCryptoInventory>().read(),
        Row::of::<ListMigrations>().read(),
        Row::of::<GetMigration>().read(),
        Row::of::<StartMigration>().write(),
        Row::of::<PauseMigration>().write(),
        Row::of::<RollbackMigration>().write(),
        Row::of::<VerifyMigration>().write(),
        Row::of::<CommitMigration>().write(),
    ];
}

#[derive(Clone)]
struct Edge {
    operators: Operators,
}

portal_upkeep::serve_operators!(portal_proto::consent::v1, policy, Edge.operators);

/// A service that answers nobody but operators.
struct World {
    mesh: TestMesh,
    channel: MeshChannel,
    process: Process,
    keys: Keys,
    running: Running,
}

impl World {
    async fn start(database: &TestDatabase) -> Self {
        let mesh = TestMesh::start().await;
        let process = Process::start(database).await;
        process.fill(300).await;
        let scope = Scope { service: Workload::Consent, tenant: TenantId::DEFAULT };
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let ambient = Ambient { clock, entropy, metrics: portal_keys::Metrics::default() };
        let keys = Keys::open(&database.keys("consent").await, scope, ambient).await.unwrap();
        let sealing = Sealing::new(Arc::new(SystemEntropy), &portal_store::Metrics::default());
        let replies = Replies::new(&keys, sealing, Arc::new(SystemEntropy));
        let engines = host(process.database(), Arc::new(SystemEntropy));
        let (migrations, scans) = (process.migrations.clone(), process.scans.clone());
        let domain = TrustDomain::parse("test.local").unwrap();
        let log = portal_upkeep::ledger::open(&engines, &keys, &domain, portal_ledger::Metrics::default());
        let log = log.await.unwrap();
        let scans = (scans, log);
        let operators = Operators::new::<Schema>(engines, (keys.clone(), replies), migrations, scans);
        let edge = Edge { operators };
        let routes = Routes::new(KeyServiceServer::new(edge.clone()))
            .add_service(IntegrityServiceServer::new(edge.clone()))
            .add_service(MigrationServiceServer::new(edge));
        let running = serve(&mesh, policy::TABLE, routes).await;
        let channel = mesh.channel(Workload::Gateway, Workload::Consent, running.local_addr());
        Self { mesh, channel, process, keys, running }
    }

    fn caller(&self, roles: &[Role]) -> UserChannel {
        self.mesh.call_as(&TestUser::with_roles(roles), Workload::Consent, &self.channel)
    }

    fn migrations(&self) -> MigrationServiceClient<UserChannel> {
        MigrationServiceClient::new(self.caller(&[Role::Operator]))
    }

    async fn migration(&self) -> pb::Migration {
        let asked = pb::GetMigrationRequest { name: SEAL_NAMES.to_owned() };
        self.migrations().get_migration(asked).await.unwrap().into_inner()
    }

    async fn work(&self) -> pb::Migration {
        self.process.migrations.run_until_idle().await.unwrap();
        self.migration().await
    }

    async fn stop(self) {
        self.running.stop().await;
        self.keys.close().await;
    }
}

async fn serve(mesh: &TestMesh, policy: &'static [Row], routes: Routes) -> Running {
    let host = mesh.host();
    let identity = Identity::load(&mesh.identity(Workload::Consent), Workload::Consent, &host).unwrap();
    let auth = mesh.upstreams(&[]).address(Workload::Auth).unwrap().to_owned();
    let auth = MeshChannel::new(Arc::clone(&identity), Workload::Auth, &auth, &host);
    let tokens = TokenVerifier::remote(&identity, &auth, Suites::ALL, &host);
    let authorization = Authorization::load(&Default::default(), &host.metrics).unwrap();
    MeshServer { identity, policy, authorization, tokens, host }.start(&mesh.server(), routes).await.unwrap()
}

fn refused<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> String {
    reason_of(&answer.unwrap_err()).unwrap()
}

fn start() -> pb::StartMigrationRequest {
    pb::StartMigrationRequest { name: SEAL_NAMES.to_owned(), ..Default::default() }
}

fn pause() -> pb::PauseMigrationRequest {
    pb::PauseMigrationRequest { name: SEAL_NAMES.to_owned(), ..Default::default() }
}

fn roll_back() -> pb::RollbackMigrationRequest {
    pb::RollbackMigrationRequest { name: SEAL_NAMES.to_owned(), ..Default::default() }
}

fn verify() -> pb::VerifyMigrationRequest {
    pb::VerifyMigrationRequest { name: SEAL_NAMES.to_owned(), ..Default::default() }
}

fn commit() -> pb::CommitMigrationRequest {
    pb::CommitMigrationRequest { name: SEAL_NAMES.to_owned(), ..Default::default() }
}

each_database! {
    /// From the list to the commit, with each order refused where it has no place.
    async fn a_migration_is_steered(database) {
        let world = World::start(database).await;
        let mut calls = world.migrations();
        assert_eq!(refused(calls.pause_migration(pause()).await), "MIGRATION_NOT_RUNNING");
        assert_eq!(refused(calls.rollback_migration(roll_back()).await), "MIGRATION_NOT_STARTED");
        assert_eq!(refused(calls.verify_migration(verify()).await), "MIGRATION_NOT_DONE");
        assert_eq!(refused(calls.commit_migration(commit()).await), "MIGRATION_NOT_DONE");

        let plan = pb::StartMigrationRequest { validate_only: true, max_rows_per_second: 100, ..start() };
        let plan = calls.start_migration(plan).await.unwrap().into_inner();
        assert_eq!((plan.rows_total, plan.time_left.unwrap().seconds), (300, 3));
        let pending = world.migration().await;
        assert_eq!((pending.state(), pending.start_time), (pb::MigrationState::Pending, None));

        assert_eq!(calls.start_migration(start()).await.unwrap().get_ref().state(), pb::MigrationState::Running);
        assert_eq!(calls.pause_migration(pause()).await.unwrap().get_ref().state(), pb::MigrationState::Paused);
        assert_eq!(world.work().await.rows_done, 0);
        calls.start_migration(start()).await.unwrap();
        let done = world.work().await;
        assert_eq!((done.state(), done.kind()), (pb::MigrationState::Done, pb::MigrationKind::Data));
        assert_eq!((done.rows_total, done.rows_done, done.rows_verified), (300, 300, 300));
        assert_eq!((done.step_rows_total, done.step_rows_done), (300, 300));
        assert!(done.reversible && !done.committed && done.end_time.is_some() && !done.description.is_empty());

        assert_eq!(refused(calls.start_migration(start()).await), "MIGRATION_DONE");
        let verifying = calls.verify_migration(verify()).await.unwrap().into_inner();
        assert_eq!(verifying.state(), pb::MigrationState::Verifying);
        assert_eq!(world.work().await.rows_verified, 300);
        assert_eq!(calls.rollback_migration(roll_back()).await.unwrap().get_ref().state(), pb::MigrationState::RollingBack);
        assert_eq!(world.work().await.state(), pb::MigrationState::RolledBack);
        calls.start_migration(start()).await.unwrap();
        world.work().await;
        let committing = calls.commit_migration(commit()).await.unwrap().into_inner();
        assert_eq!(committing.state(), pb::MigrationState::Committing);
        let committed = world.work().await;
        assert!(committed.committed && !committed.reversible, "{committed:?}");
        assert_eq!(refused(calls.rollback_migration(roll_back()).await), "MIGRATION_COMMITTED");
        assert_eq!(refused(calls.verify_migration(verify()).await), "MIGRATION_COMMITTED");
        world.stop().await;
    }

    /// A migration that met a corrupt row says so, and the same row is not a secret's place.
    async fn a_failure_has_its_reason(database) {
        let world = World::start(database).await;
        world.migrations().start_migration(start()).await.unwrap();
        world.work().await;
        tamper(world.process.database(), 7, Column::Digest, vec![0_u8; 32]).await;
        world.migrations().verify_migration(verify()).await.unwrap();
        let failed = world.work().await;
        assert_eq!((failed.state(), failed.failure_reason.as_str()), (pb::MigrationState::Failed, "ROW_CORRUPT"));
        world.stop().await;
    }

    /// Schema migrations come first, take no orders; pages hold together.
    async fn migrations_are_listed(database) {
        let world = World::start(database).await;
        let mut calls = world.migrations();
        let one = pb::ListMigrationsRequest { page_size: 1, ..Default::default() };
        let first = calls.list_migrations(one.clone()).await.unwrap().into_inner();
        let [schema] = &first.migrations[..] else { panic!("{first:?}") };
        assert_eq!((schema.name.as_str(), schema.description.as_str()), ("m0001_toy", "toy"));
        assert_eq!((schema.kind(), schema.state()), (pb::MigrationKind::Schema, pb::MigrationState::Done));
        let next = pb::ListMigrationsRequest { page_token: first.next_page_token.clone(), ..one };
        let next = pb::ListMigrationsRequest { page_size: 2, ..next };
        let second = calls.list_migrations(next.clone()).await.unwrap().into_inner();
        let names: Vec<_> = second.migrations.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["upkeep_m0002_rows_unchecked", SEAL_NAMES]);
        assert_eq!(second.next_page_token, "");
        let other = pb::ListMigrationsRequest { kind: pb::MigrationKind::Data.into(), ..next };
        assert_eq!(refused(calls.list_migrations(other.clone()).await), "INVALID_FIELD");
        let filtered = pb::ListMigrationsRequest { page_token: String::new(), ..other };
        let filtered = calls.list_migrations(filtered).await.unwrap().into_inner();
        assert_eq!(filtered.migrations.len(), 1);
        let running = pb::ListMigrationsRequest { state: pb::MigrationState::Running.into(), ..Default::default() };
        assert!(calls.list_migrations(running).await.unwrap().get_ref().migrations.is_empty());

        let schema = pb::GetMigrationRequest { name: "m0001_toy".to_owned() };
        assert!(calls.get_migration(schema).await.unwrap().get_ref().committed);
        let unknown = pb::GetMigrationRequest { name: "m0002_none".to_owned() };
        assert_eq!(refused(calls.get_migration(unknown).await), "MIGRATION_NOT_FOUND");
        let schema = pb::StartMigrationRequest { name: "m0001_toy".to_owned(), ..start() };
        assert_eq!(refused(calls.start_migration(schema).await), "MIGRATION_OF_SCHEMA");
        let unknown = pb::StartMigrationRequest { name: "d0009_none".to_owned(), ..start() };
        assert_eq!(refused(calls.start_migration(unknown).await), "MIGRATION_NOT_FOUND");
        for wrong in [
            pb::StartMigrationRequest { max_rows_per_second: -1, ..start() },
            pb::StartMigrationRequest { request_id: "once".to_owned(), ..start() },
        ] {
            assert_eq!(refused(calls.start_migration(wrong).await), "INVALID_FIELD");
        }
        world.stop().await;
    }

    /// The same request again is answered as it was, whatever has happened since, and changes nothing.
    async fn a_request_id_takes_effect_once(database) {
        let world = World::start(database).await;
        let mut calls = world.migrations();
        let id = Uuid::from_u128(1).to_string();
        let start = pb::StartMigrationRequest { request_id: id.clone(), ..start() };
        let first = calls.start_migration(start.clone()).await.unwrap().into_inner();
        world.work().await;
        calls.rollback_migration(roll_back()).await.unwrap();
        assert_eq!(world.work().await.state(), pb::MigrationState::RolledBack);
        assert_eq!(calls.start_migration(start.clone()).await.unwrap().into_inner(), first);
        assert_eq!(world.migration().await.state(), pb::MigrationState::RolledBack);
        let other = pb::StartMigrationRequest { max_rows_per_second: 9, ..start };
        assert_eq!(refused(calls.start_migration(other).await), "REQUEST_ID_REUSED");

        let mut scans = IntegrityServiceClient::new(world.caller(&[Role::Operator]));
        let scan = pb::RunScanRequest { request_id: id, ..Default::default() };
        // Of the same operator; `caller` makes another one each time.
        let first = scans.run_scan(scan.clone()).await.unwrap().into_inner();
        world.process.scans.run_until_idle().await.unwrap();
        assert_eq!(scans.run_scan(scan).await.unwrap().into_inner(), first);
        world.stop().await;
    }

    /// Whoever can write to the database takes the envelope of a kept reply away and puts another reply in its place: that a
    /// migration was started which was not, that a rotation is about a key which it was not about. Neither is believed.
    async fn a_forged_reply_is_refused(database) {
        let world = World::start(database).await;
        let (mut migrations, mut keys) = (world.migrations(), KeyServiceClient::new(world.caller(&[Role::Operator])));
        let request_id = Uuid::from_u128(1).to_string();
        let start = pb::StartMigrationRequest { request_id: request_id.clone(), ..start() };
        let rotate = pb::RotateKeysRequest { r#use: pb::KeyUse::Epoch.into(), request_id, ..Default::default() };
        migrations.start_migration(start.clone()).await.unwrap();
        let rotated = keys.rotate_keys(rotate.clone()).await.unwrap().into_inner();
        let active = rotated.active_key.unwrap().key_id;
        let forged = &pb::CryptoKey { key_id: active.clone(), ..Default::default() }.encode_to_vec();
        let forge = |tx: Tx| async move {
            let sql = "UPDATE idempotency_key SET sealed_reply = NULL, reply = $1";
            let backend = tx.conn().get_database_backend();
            let forge = Statement::from_sql_and_values(backend, sql, [forged.clone().into()]);
            Ok::<_, StoreError>(tx.conn().execute_raw(forge).await?.rows_affected())
        };
        assert_eq!(world.process.database().run_tx("forge", forge).await.unwrap(), 2);
        assert_eq!(refused(migrations.start_migration(start).await), "ROW_CORRUPT");
        assert_eq!(refused(keys.rotate_keys(rotate).await), "ROW_CORRUPT");
        let epochs = pb::ListKeysRequest { r#use: pb::KeyUse::Epoch.into(), ..Default::default() };
        let epochs = keys.list_keys(epochs).await.unwrap().into_inner().keys;
        assert_eq!((epochs.len(), &epochs[0].key_id), (2, &active), "nothing was rotated");
        world.stop().await;
    }

    /// A scan runs by itself; its report says what is wrong, and not what is in it.
    async fn a_scan_is_run(database) {
        let world = World::start(database).await;
        world.migrations().start_migration(start()).await.unwrap();
        world.work().await;
        tamper(world.process.database(), 44, Column::Digest, vec![0_u8; 32]).await;
        let mut calls = IntegrityServiceClient::new(world.caller(&[Role::Operator]));
        assert_eq!(refused(calls.get_report(pb::GetReportRequest::default()).await), "REPORT_NOT_FOUND");
        for wrong in [
            pb::RunScanRequest { tables: vec!["person".to_owned(), "pg_authid".to_owned()], ..Default::default() },
            pb::RunScanRequest { max_rows_per_second: -5, ..Default::default() },
        ] {
            assert_eq!(refused(calls.run_scan(wrong).await), "INVALID_FIELD");
        }
        let running = calls.run_scan(pb::RunScanRequest::default()).await.unwrap().into_inner();
        assert_eq!((running.state(), running.end_time), (pb::ScanState::Running, None));
        assert_eq!(refused(calls.run_scan(pb::RunScanRequest::default()).await), "SCAN_RUNNING");
        world.process.scans.run_until_idle().await.unwrap();
        let report = calls.get_report(pb::GetReportRequest::default()).await.unwrap().into_inner();
        assert_eq!((report.state(), &report.report_id), (pb::ScanState::Faulty, &running.report_id));
        assert_eq!((report.rows_total, report.rows_checked, report.finding_count), (300, 300, 1));
        let expected = pb::IntegrityFinding {
            table: "person".to_owned(),
            row_id: Uuid::from_u128(44).to_string(),
            column: String::new(),
            cause: pb::IntegrityCause::DigestMismatch.into(),
        };
        assert_eq!(report.findings, [expected]);
        let named = pb::GetReportRequest { report_id: report.report_id.clone() };
        assert_eq!(calls.get_report(named).await.unwrap().into_inner(), report);
        for (id, reason) in [("7", "INVALID_FIELD"), ("00000000-0000-7000-8000-000000000000", "REPORT_NOT_FOUND")] {
            let asked = pb::GetReportRequest { report_id: id.to_owned() };
            assert_eq!(refused(calls.get_report(asked).await), reason);
        }
        world.stop().await;
    }

    /// An epoch is replaced once per request, what it wraps is counted; keys are listed by use, state and page.
    async fn epochs_are_rotated(database) {
        let world = World::start(database).await;
        let mut calls = KeyServiceClient::new(world.caller(&[Role::Operator]));
        let people: Vec<_> = (1..=5).map(|id| SubjectId::from_uuid(Uuid::from_u128(id))).collect();
        world.keys.subjects_or_new(&people).await.unwrap();
        let wrong = [pb::KeyUse::Unspecified, pb::KeyUse::Subject, pb::KeyUse::ServiceSecret, pb::KeyUse::BlindIndex];
        for wrong in wrong {
            let asked = pb::RotateKeysRequest { r#use: wrong.into(), ..Default::default() };
            assert_eq!(refused(calls.rotate_keys(asked).await), "INVALID_FIELD");
        }
        let request_id = Uuid::from_u128(5).to_string();
        let rotate = pb::RotateKeysRequest { r#use: pb::KeyUse::Epoch.into(), request_id, ..Default::default() };
        let rotated = calls.rotate_keys(rotate.clone()).await.unwrap().into_inner();
        let (active, retired) = (rotated.active_key.clone().unwrap(), rotated.retired_key.clone().unwrap());
        assert_eq!((active.state(), retired.state()), (pb::KeyState::Active, pb::KeyState::Retired));
        assert_eq!((retired.wrapped_key_count, rotated.rewrap_pending_count), (5, 5));
        assert_eq!(calls.rotate_keys(rotate).await.unwrap().into_inner(), rotated);

        let epochs = pb::ListKeysRequest { r#use: pb::KeyUse::Epoch.into(), page_size: 1, ..Default::default() };
        let first = calls.list_keys(epochs.clone()).await.unwrap().into_inner();
        assert_eq!(first.keys, [active]);
        let next = pb::ListKeysRequest { page_token: first.next_page_token, ..epochs };
        let second = calls.list_keys(next).await.unwrap().into_inner();
        assert_eq!((second.keys.as_slice(), second.next_page_token.as_str()), (&[retired][..], ""));
        let retired = pb::ListKeysRequest { state: pb::KeyState::Retired.into(), ..Default::default() };
        assert_eq!(calls.list_keys(retired).await.unwrap().get_ref().keys.len(), 1);
        let unknown = pb::ListKeysRequest { r#use: 99, ..Default::default() };
        assert_eq!(refused(calls.list_keys(unknown).await), "INVALID_FIELD");

        let rewrap = pb::RotateKeysRequest { r#use: pb::KeyUse::Epoch.into(), rewrap: true, ..Default::default() };
        let again = calls.rotate_keys(rewrap).await.unwrap().into_inner();
        assert_ne!(again.active_key, rotated.active_key);
        let destroy = async |key_id: &str| {
            let request = pb::DestroyKeyRequest { key_id: key_id.to_owned() };
            calls.clone().destroy_key(request).await.map(|key| key.into_inner().state())
        };
        let active = again.active_key.unwrap().key_id;
        let done = world.keys.rewrap(&|_| ()).await.unwrap();
        assert!(done.done + done.corrupt <= 5 && world.keys.rewrap_pending().await.unwrap() == 0, "{done:?}");
        let first = destroy(&rotated.retired_key.unwrap().key_id).await.unwrap();
        assert_eq!(first, pb::KeyState::Destroyed);
        assert_eq!(refused(destroy(&active).await.map(Response::new)), "KEY_NOT_RETIRED");
        world.keys.rotate_epoch().await.unwrap();
        assert_eq!(refused(destroy(&active).await.map(Response::new)), "KEY_IN_USE");
        assert_eq!(refused(destroy("no such key").await.map(Response::new)), "KEY_NOT_FOUND");
        world.stop().await;
    }

    /// A root key is replaced once per request, and nothing is left under the one before.
    async fn roots_are_rotated(database) {
        let world = World::start(database).await;
        let mut calls = KeyServiceClient::new(world.caller(&[Role::Operator]));
        let request_id = Uuid::from_u128(6).to_string();
        let rotate = pb::RotateKeysRequest { r#use: pb::KeyUse::Root.into(), request_id, ..Default::default() };
        let rotated = calls.rotate_keys(rotate.clone()).await.unwrap().into_inner();
        let (active, retired) = (rotated.active_key.clone().unwrap(), rotated.retired_key.clone().unwrap());
        assert_eq!((active.state(), retired.state()), (pb::KeyState::Active, pb::KeyState::Retired));
        assert!(active.wrapped_key_count > 1 && retired.wrapped_key_count == 0, "{rotated:?}");
        assert_eq!(calls.rotate_keys(rotate).await.unwrap().into_inner(), rotated);
        let roots = pb::ListKeysRequest { r#use: pb::KeyUse::Root.into(), ..Default::default() };
        assert_eq!(calls.list_keys(roots).await.unwrap().get_ref().keys.len(), 2);
        world.stop().await;
    }

    /// The inventory names what is in use, and is a CycloneDX document.
    async fn the_inventory_is_complete(database) {
        let world = World::start(database).await;
        let mut calls = KeyServiceClient::new(world.caller(&[Role::Operator]));
        let inventory = calls.get_crypto_inventory(pb::GetCryptoInventoryRequest {}).await.unwrap().into_inner();
        let algorithms: Vec<_> = inventory.algorithms().collect();
        for used in [
            pb::Algorithm::XWing,
            pb::Algorithm::Aes256Gcm,
            pb::Algorithm::HmacSha256,
            pb::Algorithm::HkdfSha256,
            pb::Algorithm::MlDsa65,
            pb::Algorithm::Ed25519,
        ] {
            assert_eq!(algorithms.iter().filter(|algorithm| **algorithm == used).count(), 1, "{used:?}");
        }
        assert_eq!(inventory.backend, portal_crypto::BACKEND);
        let document: serde_json::Value = serde_json::from_str(&inventory.cyclonedx_json).unwrap();
        assert_eq!((&document["bomFormat"], &document["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
        let keys = calls.list_keys(pb::ListKeysRequest { page_size: 1_000, ..Default::default() }).await.unwrap();
        for key in &keys.get_ref().keys {
            let reference = format!("key/{}", key.key_id);
            let components = document["components"].as_array().unwrap();
            assert!(components.iter().any(|component| component["bom-ref"] == reference.as_str()), "{reference}");
            assert_ne!((key.r#use(), key.algorithm()), (pb::KeyUse::Unspecified, pb::Algorithm::Unspecified));
        }
        world.stop().await;
    }

    /// Everybody else is refused, whatever they ask for.
    async fn only_operators_are_answered(database) {
        let world = World::start(database).await;
        let others = [Role::Auditor, Role::Controller, Role::Officer];
        let code = |code| assert_eq!(code, Some(Code::PermissionDenied));
        macro_rules! refused {
            ($client:ident, $($call:ident($request:expr)),+) => {
                $(code($client::new(world.caller(&others)).$call($request).await.err().map(|error| error.code()));)+
            };
        }
        refused!(KeyServiceClient, list_keys(pb::ListKeysRequest::default()), rotate_keys(pb::RotateKeysRequest::default()),
            destroy_key(pb::DestroyKeyRequest::default()), get_crypto_inventory(pb::GetCryptoInventoryRequest {}));
        refused!(IntegrityServiceClient, run_scan(pb::RunScanRequest::default()), get_report(pb::GetReportRequest::default()));
        refused!(MigrationServiceClient, list_migrations(pb::ListMigrationsRequest::default()),
            get_migration(pb::GetMigrationRequest::default()), start_migration(start()), pause_migration(pause()),
            rollback_migration(roll_back()), verify_migration(verify()), commit_migration(commit()));
        world.stop().await;
    }
}
