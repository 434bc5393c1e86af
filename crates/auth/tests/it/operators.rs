//! What operators ask for by calls: keys, integrity scans, migrations; and that nobody else may.

use std::time::Duration;

use portal_core::Workload;
use portal_mesh::MeshChannel;
use portal_proto::auth::v1 as auth_pb;
use portal_proto::auth::v1::integrity_service_client::IntegrityServiceClient;
use portal_proto::auth::v1::key_service_client::KeyServiceClient;
use portal_proto::auth::v1::migration_service_client::MigrationServiceClient;
use portal_proto::common::v1 as pb;
use portal_testkit::each_database;
use tonic::{Code, Request, Status};

use crate::fixture::{Auth, refused, with_token};
use crate::moving::{ANNA, upgraded};
use crate::sql;

const SEAL: &str = "d0001_seal_personal_data";
const REQUEST: &str = "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f";

/// An operator with a session.
struct Operator<'a> {
    auth: &'a Auth,
    session: auth_pb::Session,
}

impl<'a> Operator<'a> {
    async fn of(auth: &'a Auth) -> Self {
        Self { auth, session: auth.operator().await }
    }

    async fn by<T>(&self, message: T) -> Request<T> {
        self.auth.by(&self.session, message).await
    }

    fn keys(&self) -> KeyServiceClient<MeshChannel> {
        KeyServiceClient::new(self.auth.channel())
    }

    fn integrity(&self) -> IntegrityServiceClient<MeshChannel> {
        IntegrityServiceClient::new(self.auth.channel())
    }

    fn migrations(&self) -> MigrationServiceClient<MeshChannel> {
        MigrationServiceClient::new(self.auth.channel())
    }

    async fn list_keys(&self, of: pb::KeyUse) -> Vec<pb::CryptoKey> {
        let list = pb::ListKeysRequest { r#use: of.into(), ..Default::default() };
        self.keys().list_keys(self.by(list).await).await.unwrap().into_inner().keys
    }

    /// The report of a scan that has begun, when it has ended.
    async fn report(&self, begun: &pb::IntegrityReport) -> pb::IntegrityReport {
        let ended = async {
            loop {
                let get = pb::GetReportRequest { report_id: begun.report_id.clone() };
                let report = self.integrity().get_report(self.by(get).await).await.unwrap().into_inner();
                if report.end_time.is_some() {
                    return report;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap()
    }

    async fn migration(&self) -> pb::Migration {
        let get = pb::GetMigrationRequest { name: SEAL.to_owned() };
        self.migrations().get_migration(self.by(get).await).await.unwrap().into_inner()
    }

    async fn until(&self, state: pb::MigrationState) -> pb::Migration {
        let reached = async {
            loop {
                let migration = self.migration().await;
                assert_ne!(migration.state(), pb::MigrationState::Failed, "{migration:?}");
                if migration.state() == state {
                    return migration;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reached).await.unwrap()
    }
}

fn name() -> String {
    SEAL.to_owned()
}

/// What each of the calls is refused with, when it comes over `channel` with `token`.
async fn refusals(channel: &MeshChannel, token: Option<&str>) -> Vec<Status> {
    fn message<T>(token: Option<&str>, message: T) -> Request<T> {
        match token {
            Some(token) => with_token(token, message),
            None => Request::new(message),
        }
    }
    let mut refusals = Vec::new();
    macro_rules! refuse {
        ($client:ident: $($method:ident($message:ident)),+) => {
            $(let asked = message(token, pb::$message::default());
            refusals.push($client::new(channel.clone()).$method(asked).await.unwrap_err());)+
        };
    }
    refuse! { KeyServiceClient:
        list_keys(ListKeysRequest), rotate_keys(RotateKeysRequest), destroy_key(DestroyKeyRequest),
        get_crypto_inventory(GetCryptoInventoryRequest)
    }
    refuse! { IntegrityServiceClient: run_scan(RunScanRequest), get_report(GetReportRequest) }
    refuse! { MigrationServiceClient:
        list_migrations(ListMigrationsRequest), get_migration(GetMigrationRequest),
        start_migration(StartMigrationRequest), pause_migration(PauseMigrationRequest),
        rollback_migration(RollbackMigrationRequest), verify_migration(VerifyMigrationRequest),
        commit_migration(CommitMigrationRequest)
    }
    refusals
}

each_database! {
    /// Whoever is no operator, or nobody, or another service.
    async fn nobody_else_may(database) {
        let auth = Auth::start(database).await;
        let (_, annas) = auth.person("anna@example.org").await;
        let annas = auth.exchange(&annas.access_token, "auth").await.unwrap().token;
        let check = |refusals: Vec<Status>, code: Code, reason: &str| {
            assert_eq!(refusals.len(), 13);
            refusals.into_iter().for_each(|status| refused::<()>(Err(status), code, reason));
        };
        check(refusals(&auth.channel(), Some(&annas)).await, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
        check(refusals(&auth.channel(), None).await, Code::Unauthenticated, "TOKEN_MISSING");
        let consent = auth.channel_from(Workload::Consent).as_workload();
        check(refusals(&consent, None).await, Code::PermissionDenied, "WORKLOAD_NOT_ALLOWED");
    }

    /// The keys are listed and replaced, once per request, and what was sealed under the ones before opens.
    async fn keys(database) {
        let auth = Auth::start(database).await;
        let anna = auth.sign_up("anna@example.org").await;
        let operator = Operator::of(&auth).await;
        let epochs = operator.list_keys(pb::KeyUse::Epoch).await;
        assert_eq!((epochs.len(), epochs[0].state(), epochs[0].wrapped_key_count), (1, pb::KeyState::Active, 2));
        for of in [pb::KeyUse::Root, pb::KeyUse::ServiceSecret, pb::KeyUse::RowDigest, pb::KeyUse::BlindIndex] {
            assert_eq!(operator.list_keys(of).await.len(), 1, "{of:?}");
        }

        let rotate = pb::RotateKeysRequest {
            r#use: pb::KeyUse::Epoch.into(),
            rewrap: true,
            request_id: REQUEST.to_owned(),
            ..Default::default()
        };
        let rotated = operator.keys().rotate_keys(operator.by(rotate.clone()).await).await.unwrap().into_inner();
        assert_eq!(rotated.retired_key.as_ref().unwrap().key_id, epochs[0].key_id);
        let again = operator.keys().rotate_keys(operator.by(rotate.clone()).await).await.unwrap().into_inner();
        let active = |reply: &pb::RotateKeysResponse| reply.active_key.as_ref().unwrap().key_id.clone();
        assert_eq!(active(&again), active(&rotated));
        assert_eq!(operator.list_keys(pb::KeyUse::Epoch).await.len(), 2);
        let other = pb::RotateKeysRequest { rewrap: false, ..rotate.clone() };
        let reused = operator.keys().rotate_keys(operator.by(other).await).await;
        refused(reused, Code::InvalidArgument, "REQUEST_ID_REUSED");
        let subjects = pb::RotateKeysRequest { r#use: pb::KeyUse::Subject.into(), ..Default::default() };
        let reply = operator.keys().rotate_keys(operator.by(subjects).await).await;
        refused(reply, Code::InvalidArgument, "INVALID_FIELD");
        let root = pb::RotateKeysRequest { r#use: pb::KeyUse::Root.into(), ..Default::default() };
        operator.keys().rotate_keys(operator.by(root).await).await.unwrap();
        assert_eq!(operator.list_keys(pb::KeyUse::Root).await.len(), 2);

        let asked = operator.by(pb::GetCryptoInventoryRequest {}).await;
        let inventory = operator.keys().get_crypto_inventory(asked).await.unwrap().into_inner();
        assert!(inventory.cyclonedx_json.contains(&active(&rotated)));
        assert!(inventory.algorithms().any(|algorithm| algorithm == pb::Algorithm::XWing));
        let auth = auth.restart().await;
        let operator = Operator::of(&auth).await;
        assert_eq!(auth.get(&operator.session, &anna.account_id).await.unwrap(), anna);
    }

    /// A scan says that all is well, and when it is not, where.
    async fn scans(database) {
        let auth = Auth::start(database).await;
        let (anna, annas) = auth.person("anna@example.org").await;
        let operator = Operator::of(&auth).await;
        let none = operator.integrity().get_report(operator.by(pb::GetReportRequest::default()).await).await;
        refused(none, Code::NotFound, "REPORT_NOT_FOUND");
        let run = pb::RunScanRequest { request_id: REQUEST.to_owned(), ..Default::default() };
        let begun = operator.integrity().run_scan(operator.by(run.clone()).await).await.unwrap().into_inner();
        let again = operator.integrity().run_scan(operator.by(run).await).await.unwrap().into_inner();
        assert_eq!(again.report_id, begun.report_id);
        let report = operator.report(&begun).await;
        // Two accounts, their sessions and tokens; that they were created, and signed in; three keys that sign tokens.
        assert_eq!((report.state(), report.rows_checked, report.rows_total), (pb::ScanState::Clean, 13, 13));

        let store = database.connect().await;
        let forged = format!("UPDATE account SET roles = 17 WHERE id = {}", sql::id(&store, &anna.account_id));
        assert_eq!(sql::run(&store, &forged, []).await, 1);
        // Reports are in the order of their times.
        auth.advance(1);
        let some = pb::RunScanRequest { tables: vec!["account".to_owned()], ..Default::default() };
        let begun = operator.integrity().run_scan(operator.by(some).await).await.unwrap().into_inner();
        let report = operator.report(&begun).await;
        assert_eq!((report.state(), report.rows_checked, report.finding_count), (pb::ScanState::Faulty, 2, 1));
        let finding = &report.findings[0];
        assert_eq!((finding.table.as_str(), &finding.row_id, finding.column.as_str()), ("account", &anna.account_id, ""));
        assert_eq!(finding.cause(), pb::IntegrityCause::DigestMismatch);
        let newest = operator.integrity().get_report(operator.by(pb::GetReportRequest::default()).await).await;
        assert_eq!(newest.unwrap().into_inner(), report);
        let unknown = pb::RunScanRequest { tables: vec!["nothing".to_owned()], ..Default::default() };
        let reply = operator.integrity().run_scan(operator.by(unknown).await).await;
        refused(reply, Code::InvalidArgument, "INVALID_FIELD");
        refused(auth.exchange(&annas.access_token, "consent").await, Code::DataLoss, "ROW_CORRUPT");
    }

    /// A new installation has nothing to migrate, and says so.
    async fn migrations_of_a_new_installation(database) {
        let auth = Auth::start(database).await;
        let operator = Operator::of(&auth).await;
        let list = operator.by(pb::ListMigrationsRequest::default()).await;
        let listed = operator.migrations().list_migrations(list).await.unwrap().into_inner().migrations;
        let names: Vec<_> = listed.iter().map(|migration| migration.name.as_str()).collect();
        let expected = [
            "m0001_accounts_and_sessions",
            "m0002_sealed_columns",
            "m0003_unsealed_changes",
            "upkeep_m0002_rows_unchecked",
            "upkeep_m0003_ledger",
            "upkeep_m0004_audit",
            "m0007_sign_in_failures",
            "m0008_factors",
            "m0009_audit_indexes",
            "m0010_mail_and_tombstones",
            "m0011_passkeys",
            "m0012_oauth",
            "m0013_signing_keys",
            "m0014_devices",
            "m0015_clients_told",
            SEAL,
            "d0002_reindex_accounts",
        ];
        assert_eq!(names, expected);
        assert!(listed.iter().all(|migration| migration.state() == pb::MigrationState::Done));
        let start = |name: &str| pb::StartMigrationRequest { name: name.to_owned(), ..Default::default() };
        for (name, code, reason) in [
            (SEAL, Code::FailedPrecondition, "MIGRATION_DONE"),
            (names[0], Code::FailedPrecondition, "MIGRATION_OF_SCHEMA"),
            ("d0000_nothing", Code::NotFound, "MIGRATION_NOT_FOUND"),
        ] {
            let reply = operator.migrations().start_migration(operator.by(start(name)).await).await;
            refused(reply, code, reason);
        }
        let back = operator.by(pb::RollbackMigrationRequest { name: name(), ..Default::default() }).await;
        refused(operator.migrations().rollback_migration(back).await, Code::FailedPrecondition, "MIGRATION_COMMITTED");
    }

    /// An earlier installation is migrated by calls alone: planned, started, paused, rolled back, verified, committed.
    async fn an_upgrade_by_calls(database) {
        let (auth, store) = upgraded(database).await;
        auth.sign_in(ANNA).await;
        let operator = Operator::of(&auth).await;
        let mut migrations = operator.migrations();
        let in_the_clear = "SELECT COUNT(*) FROM account WHERE email <> ''";
        let start = |max_rows_per_second, validate_only| pb::StartMigrationRequest {
            name: name(),
            max_rows_per_second,
            validate_only,
            ..Default::default()
        };
        let planned = migrations.start_migration(operator.by(start(0, true)).await).await.unwrap().into_inner();
        assert_eq!(planned.step_rows_total, 6);
        assert_eq!(operator.migration().await.state(), pb::MigrationState::Pending);
        let pause = pb::PauseMigrationRequest { name: name(), ..Default::default() };
        let early = migrations.pause_migration(operator.by(pause.clone()).await).await;
        refused(early, Code::FailedPrecondition, "MIGRATION_NOT_RUNNING");
        let back = pb::RollbackMigrationRequest { name: name(), ..Default::default() };
        let early = migrations.rollback_migration(operator.by(back.clone()).await).await;
        refused(early, Code::FailedPrecondition, "MIGRATION_NOT_STARTED");
        let commit = pb::CommitMigrationRequest { name: name(), ..Default::default() };
        let early = migrations.commit_migration(operator.by(commit.clone()).await).await;
        refused(early, Code::FailedPrecondition, "MIGRATION_NOT_DONE");

        migrations.start_migration(operator.by(start(1, false)).await).await.unwrap();
        let paused = migrations.pause_migration(operator.by(pause).await).await.unwrap().into_inner();
        assert_eq!((paused.state(), paused.reversible), (pb::MigrationState::Paused, true));
        migrations.start_migration(operator.by(start(0, false)).await).await.unwrap();
        let done = operator.until(pb::MigrationState::Done).await;
        assert_eq!((done.rows_total, done.rows_done, done.rows_verified), (6, 6, 6));
        migrations.rollback_migration(operator.by(back.clone()).await).await.unwrap();
        operator.until(pb::MigrationState::RolledBack).await;
        migrations.start_migration(operator.by(start(0, false)).await).await.unwrap();
        operator.until(pb::MigrationState::Done).await;
        let verify = pb::VerifyMigrationRequest { name: name(), ..Default::default() };
        migrations.verify_migration(operator.by(verify.clone()).await).await.unwrap();
        operator.until(pb::MigrationState::Done).await;
        assert_eq!(sql::one::<i64>(&store, in_the_clear).await, 2);
        migrations.commit_migration(operator.by(commit).await).await.unwrap();
        let done = operator.until(pb::MigrationState::Done).await;
        assert!(done.committed && !done.reversible);
        assert_eq!(sql::one::<i64>(&store, in_the_clear).await, 0);
        for reply in [
            migrations.rollback_migration(operator.by(back).await).await,
            migrations.verify_migration(operator.by(verify).await).await,
        ] {
            refused(reply, Code::FailedPrecondition, "MIGRATION_COMMITTED");
        }
        auth.sign_in(ANNA).await;
    }
}
