//! A running consent service, its people, and a published purpose and notice.

use std::collections::HashMap;
use std::time::Duration;

use portal_consent::{Config, DecisionConfig, OrganisationConfig, RenewalConfig, Service, Source};
use portal_core::id::{SubjectId, TenantId};
use portal_core::{Role, Workload};
use portal_crypto::envelope::Scope;
use portal_keys::{Ambient, Keys, KeysConfig, ProviderConfig};
use portal_mesh::{MeshChannel, Metrics, Running};
pub use portal_proto::common::v1 as common;
pub use portal_proto::consent::v1 as pb;
use portal_proto::consent::v1::consent_change_service_client::ConsentChangeServiceClient;
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_proto::consent::v1::decision_service_client::DecisionServiceClient;
use portal_proto::consent::v1::integrity_service_client::IntegrityServiceClient;
use portal_proto::consent::v1::key_service_client::KeyServiceClient;
use portal_proto::consent::v1::migration_service_client::MigrationServiceClient;
use portal_proto::consent::v1::notice_service_client::NoticeServiceClient;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_proto::consent::v1::subject_service_client::SubjectServiceClient;
use portal_proto::google::rpc;
use portal_store::Database;
use portal_testkit::TestDatabase;
use portal_testkit::mesh::{TestMesh, TestUser, UserChannel};
use portal_upkeep::{IntegrityConfig, MigrationConfig};
use prost::Message;
use sea_orm_migration::MigratorTrait;
use tonic::{Code, Status};

pub struct World {
    pub mesh: TestMesh,
    running: Option<Running>,
    database: portal_store::DatabaseConfig,
    keys: KeysConfig,
    source: Source,
    pub metrics: Metrics,
    organisation: Option<OrganisationConfig>,
    renewal: RenewalConfig,
    gateway: MeshChannel,
    pub controller: TestUser,
    pub officer: TestUser,
    pub operator: TestUser,
    pub anna: TestUser,
    pub bert: TestUser,
}

impl World {
    pub async fn start(database: &TestDatabase) -> Self {
        Self::deciding_from(database, Source::Snapshot).await
    }

    /// With decisions from there.
    pub async fn deciding_from(database: &TestDatabase, source: Source) -> Self {
        let mesh = TestMesh::start().await;
        let keys = database.keys("consent").await;
        let organisation = Some(organisation());
        let served = serve(
            &mesh,
            database.config(),
            keys.clone(),
            (source, organisation.clone(), RenewalConfig::default()),
        );
        let (running, gateway, metrics) = served.await;
        Self {
            source,
            metrics,
            organisation,
            renewal: RenewalConfig::default(),
            running: Some(running),
            database: database.config(),
            keys,
            gateway,
            controller: TestUser::with_roles(&[Role::Controller]),
            officer: TestUser::with_roles(&[Role::Officer]),
            operator: TestUser::with_roles(&[Role::Operator]),
            anna: TestUser::subject(),
            bert: TestUser::subject(),
            mesh,
        }
    }

    /// Stops the service and starts another on the same database.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Stops the service and starts another that knows of no organisation.
    pub async fn restart_without_organisation(&mut self) {
        self.stop().await;
        self.organisation = None;
        self.start_again().await;
    }

    /// Stops the service and starts another that asks people again when their consent has ended.
    pub async fn restart_asking(&mut self, request_days: u32) {
        self.stop().await;
        self.renewal = RenewalConfig { request_days: Some(request_days) };
        self.start_again().await;
    }

    /// Stops the service and starts another whose keys are configured otherwise.
    pub async fn restart_with(&mut self, change: impl FnOnce(&mut KeysConfig)) {
        self.stop().await;
        change(&mut self.keys);
        self.start_again().await;
    }

    pub async fn stop(&mut self) {
        self.running.take().unwrap().stop().await;
    }

    pub async fn start_again(&mut self) {
        let (running, gateway, metrics) = self.replica(self.database.clone()).await;
        self.metrics = metrics;
        self.running = Some(running);
        self.gateway = gateway;
    }

    /// Starts another service beside the first, on the same databases, and talks to that from now on.
    pub async fn second_replica(&mut self) -> Running {
        let (running, gateway, _) = self.replica(self.database.clone()).await;
        self.gateway = gateway;
        running
    }

    /// Starts another service that reaches the same database in this way; with a channel to it, and what it counts.
    pub async fn replica(&self, database: portal_store::DatabaseConfig) -> (Running, MeshChannel, Metrics) {
        serve(&self.mesh, database, self.keys.clone(), (self.source, self.organisation.clone(), self.renewal))
            .await
    }

    /// How to reach the database.
    pub fn database(&self) -> portal_store::DatabaseConfig {
        self.database.clone()
    }

    /// A channel of `user` through `gateway`.
    pub fn through(&self, user: &TestUser, gateway: &MeshChannel) -> UserChannel {
        self.mesh.call_as(user, Workload::Consent, gateway)
    }

    /// The database of the keys.
    pub async fn key_database(&self) -> Database {
        let host = self.mesh.host();
        Database::connect(&self.keys.database, host.entropy, portal_store::Metrics::default()).await.unwrap()
    }

    /// Moves the file with the root keys away, or back.
    pub fn provider_is_there(&self, there: bool) {
        let ProviderConfig::File { root_key_file, .. } = &self.keys.provider else { panic!("not a file") };
        let hidden = root_key_file.with_extension("hidden");
        let (from, to) = if there { (&hidden, root_key_file) } else { (root_key_file, &hidden) };
        std::fs::rename(from, to).unwrap();
    }

    /// The keys as another process of the service has them.
    pub async fn keys(&self) -> Keys {
        let host = self.mesh.host();
        let ambient = Ambient { clock: host.clock, entropy: host.entropy, metrics: Default::default() };
        let scope = Scope { service: Workload::Consent, tenant: TenantId::DEFAULT };
        Keys::open(&self.keys, scope, ambient).await.unwrap()
    }

    pub fn changes(&self, user: &TestUser) -> ConsentChangeServiceClient<UserChannel> {
        ConsentChangeServiceClient::new(self.channel(user))
    }

    pub fn channel(&self, user: &TestUser) -> UserChannel {
        self.mesh.call_as(user, Workload::Consent, &self.gateway)
    }

    pub fn purposes(&self, user: &TestUser) -> PurposeServiceClient<UserChannel> {
        PurposeServiceClient::new(self.channel(user))
    }

    pub fn notices(&self, user: &TestUser) -> NoticeServiceClient<UserChannel> {
        NoticeServiceClient::new(self.channel(user))
    }

    pub fn consents(&self, user: &TestUser) -> ConsentServiceClient<UserChannel> {
        ConsentServiceClient::new(self.channel(user))
    }

    pub fn subjects(&self, user: &TestUser) -> SubjectServiceClient<UserChannel> {
        SubjectServiceClient::new(self.channel(user))
    }

    pub fn decisions(&self, user: &TestUser) -> DecisionServiceClient<UserChannel> {
        DecisionServiceClient::new(self.channel(user))
    }

    pub fn key_service(&self, user: &TestUser) -> KeyServiceClient<UserChannel> {
        KeyServiceClient::new(self.channel(user))
    }

    pub fn integrity(&self, user: &TestUser) -> IntegrityServiceClient<UserChannel> {
        IntegrityServiceClient::new(self.channel(user))
    }

    pub fn migrations(&self, user: &TestUser) -> MigrationServiceClient<UserChannel> {
        MigrationServiceClient::new(self.channel(user))
    }

    /// A channel that another workload opens.
    pub fn workload(&self, from: Workload) -> MeshChannel {
        let address = self.running.as_ref().unwrap().local_addr();
        self.mesh.channel(from, Workload::Consent, address).as_workload()
    }

    pub fn anonymous(&self) -> MeshChannel {
        self.gateway.clone()
    }

    pub async fn draft_purpose(&self) -> pb::Purpose {
        let request = pb::CreatePurposeRequest { purpose: Some(purpose()), request_id: String::new() };
        self.purposes(&self.controller).create_purpose(request).await.unwrap().into_inner()
    }

    pub async fn published_purpose(&self) -> pb::Purpose {
        let purpose = self.draft_purpose().await;
        let request = pb::PublishPurposeRequest { purpose_id: purpose.purpose_id, ..Default::default() };
        self.purposes(&self.controller).publish_purpose(request).await.unwrap().into_inner()
    }

    pub async fn archive(&self, purpose: &pb::Purpose) -> pb::Purpose {
        let request =
            pb::ArchivePurposeRequest { purpose_id: purpose.purpose_id.clone(), ..Default::default() };
        self.purposes(&self.controller).archive_purpose(request).await.unwrap().into_inner()
    }

    pub async fn draft_notice(&self, purposes: &[&pb::Purpose]) -> pb::Notice {
        let request = pb::CreateNoticeRequest { notice: Some(notice(purposes)), request_id: String::new() };
        self.notices(&self.controller).create_notice(request).await.unwrap().into_inner()
    }

    pub async fn publish_notice(&self, notice: &pb::Notice) -> Result<pb::Notice, Status> {
        let request = pb::PublishNoticeRequest { notice_id: notice.notice_id.clone(), ..Default::default() };
        Ok(self.notices(&self.controller).publish_notice(request).await?.into_inner())
    }

    pub async fn published_notice(&self, purposes: &[&pb::Purpose]) -> pb::Notice {
        let draft = self.draft_notice(purposes).await;
        self.publish_notice(&draft).await.unwrap()
    }

    /// A published purpose and a published notice that explains it.
    pub async fn offer(&self) -> Offer {
        let purpose = self.published_purpose().await;
        let notice = self.published_notice(&[&purpose]).await;
        Offer { purpose, notice }
    }

    pub async fn give(&self, user: &TestUser, offer: &Offer) -> Result<pb::Consent, Status> {
        let reply = self.consents(user).give_consent(offer.give(user.subject)).await?;
        Ok(reply.into_inner().consent.unwrap())
    }

    pub async fn check(&self, user: &TestUser, purpose: &pb::Purpose) -> pb::CheckConsentResponse {
        let request = question(user.subject, purpose);
        self.decisions(&self.officer).check_consent(request).await.unwrap().into_inner()
    }

    /// As [`Self::events`], once all of them have their places in the ledger, so that they stay the same from then on.
    pub async fn placed_events(&self, user: &TestUser) -> Vec<pb::ConsentEvent> {
        until(async || {
            let events = self.events(user).await;
            events.iter().all(|event| event.ledger_index.is_some()).then_some(events)
        })
        .await
    }

    pub async fn events(&self, user: &TestUser) -> Vec<pb::ConsentEvent> {
        let request =
            pb::ListConsentEventsRequest { subject_id: user.subject.to_string(), ..Default::default() };
        self.consents(user).list_consent_events(request).await.unwrap().into_inner().events
    }
}

async fn serve(
    mesh: &TestMesh,
    database: portal_store::DatabaseConfig,
    keys: KeysConfig,
    (source, organisation, renewal): (Source, Option<OrganisationConfig>, RenewalConfig),
) -> (Running, MeshChannel, Metrics) {
    let host = mesh.host();
    let metrics = host.metrics.clone();
    let config = Config {
        server: mesh.server(),
        identity: mesh.identity(Workload::Consent),
        database,
        keys,
        migrations: MigrationConfig::alone(),
        decisions: DecisionConfig { source },
        integrity: every_minute(),
        upstreams: mesh.upstreams(&[]),
        organisation,
        renewal,
        authorization: Default::default(),
        telemetry: Default::default(),
    };
    let running = Service::start(config, host).await.unwrap();
    let gateway = mesh.channel(Workload::Gateway, Workload::Consent, running.local_addr());
    (running, gateway, metrics)
}

/// How many migrations of the schema there are.
pub fn migrations() -> u32 {
    u32::try_from(portal_consent::Migrations::migrations().len()).unwrap()
}

/// Who is the controller of purposes that name none.
pub fn organisation() -> OrganisationConfig {
    let config = serde_json::json!({
        "party_id": "https://example.org", "name": "Example Society", "address": "1 Example Street, Berlin",
        "email": "privacy@example.org", "country": "DE", "jurisdiction": "DE", "storage_locations": ["DE"],
        "retention_event": "Until the consent ends", "data_source": "From the subject",
        "rights": ["eu-gdpr:A17"],
    });
    serde_json::from_value(config).unwrap()
}

/// A scan whenever the clock has passed a full minute; it stands still until a test moves it.
fn every_minute() -> IntegrityConfig {
    let config = serde_json::json!({ "schedule": "* * * * *", "max_rows_per_second": 0 });
    serde_json::from_value(config).unwrap()
}

/// What a subject can be asked.
pub struct Offer {
    pub purpose: pb::Purpose,
    pub notice: pb::Notice,
}

impl Offer {
    pub fn give(&self, subject: SubjectId) -> pb::GiveConsentRequest {
        pb::GiveConsentRequest {
            subject_id: subject.to_string(),
            purpose_id: self.purpose.purpose_id.clone(),
            notice_id: self.notice.notice_id.clone(),
            language: "en".to_owned(),
            method: pb::IndicationMethod::Button.into(),
            ..Default::default()
        }
    }

    pub fn refuse(&self, subject: SubjectId) -> pb::RefuseConsentRequest {
        pb::RefuseConsentRequest {
            subject_id: subject.to_string(),
            purpose_id: self.purpose.purpose_id.clone(),
            notice_id: self.notice.notice_id.clone(),
            language: "en".to_owned(),
            method: pb::IndicationMethod::Button.into(),
            ..Default::default()
        }
    }

    pub fn withdraw(&self, subject: SubjectId) -> pb::WithdrawConsentRequest {
        pb::WithdrawConsentRequest {
            subject_id: subject.to_string(),
            purpose_id: self.purpose.purpose_id.clone(),
            ..Default::default()
        }
    }
}

pub fn purpose() -> pb::Purpose {
    pb::Purpose {
        display_name: "Newsletter".to_owned(),
        description: "We write once a month.".to_owned(),
        dpv_purposes: vec!["dpv:DirectMarketing".to_owned()],
        legal_basis: pb::LegalBasis::Consent.into(),
        personal_data: vec!["pd:EmailAddress".to_owned(), "pd:Name".to_owned()],
        recipients: vec!["Mailer Ltd".to_owned()],
        validity: Some(seconds(30 * 86_400)),
        jurisdiction: "DE".to_owned(),
        ..Default::default()
    }
}

pub fn notice(purposes: &[&pb::Purpose]) -> pb::Notice {
    pb::Notice {
        title: "How we use your data".to_owned(),
        bodies: HashMap::from([
            ("en".to_owned(), "We write to you.".to_owned()),
            ("DE-at".to_owned(), "Wir schreiben Ihnen.".to_owned()),
        ]),
        purpose_ids: purposes.iter().map(|purpose| purpose.purpose_id.clone()).collect(),
        ..Default::default()
    }
}

pub fn question(subject: SubjectId, purpose: &pb::Purpose) -> pb::CheckConsentRequest {
    pb::CheckConsentRequest {
        subject_id: subject.to_string(),
        purpose_id: purpose.purpose_id.clone(),
        ..Default::default()
    }
}

pub fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

pub const HOUR: Duration = Duration::from_secs(3_600);

/// The reason in a status of ours.
pub fn reason(status: &Status) -> String {
    portal_mesh::status::reason_of(status).unwrap_or_else(|| panic!("no reason in {status:?}"))
}

#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, name: &str) {
    let status = result.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (code, name), "{status:?}");
}

/// The fields that INVALID_ARGUMENT names.
#[track_caller]
pub fn fields<T: std::fmt::Debug>(result: Result<T, Status>) -> Vec<String> {
    let status = result.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "INVALID_FIELD"),
        "{status:?}"
    );
    let details = rpc::Status::decode(status.details()).unwrap().details;
    let request = details.iter().find(|any| any.type_url.ends_with("google.rpc.BadRequest")).unwrap();
    let request = rpc::BadRequest::decode(request.value.as_slice()).unwrap();
    request.field_violations.into_iter().map(|violation| violation.field).collect()
}

/// Does `ask` until it says something; the test has failed if that takes a minute.
pub async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(said) = ask().await {
                return said;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("within a minute")
}
