//! A running consent service on a database, its keys, and something to decide on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portal_consent::{Config, Service};
use portal_core::{Role, Workload};
use portal_keys::KeysConfig;
use portal_mesh::{MeshChannel, Metrics, Running, task};
use portal_proto::consent::v1 as pb;
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_proto::consent::v1::decision_service_client::DecisionServiceClient;
use portal_proto::consent::v1::notice_service_client::NoticeServiceClient;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_store::DatabaseConfig;
use portal_testkit::TestDatabase;
use portal_testkit::mesh::{TestMesh, TestUser, UserChannel};
use portal_upkeep::MigrationConfig;
use tokio::runtime::Runtime;

/// How often the clock of the mesh, which stands still in tests, is moved.
const TICK: Duration = Duration::from_millis(1);

pub struct World {
    mesh: Arc<TestMesh>,
    running: Running,
    gateway: MeshChannel,
    pub metrics: Metrics,
    pub controller: TestUser,
    pub purposes: Vec<String>,
    pub notice: String,
    stop: Arc<AtomicBool>,
}

impl World {
    /// Starts the service on `runtime`, and publishes three purposes and a notice that explains them.
    pub async fn start(database: &TestDatabase, runtime: &Runtime) -> Self {
        let mesh = Arc::new(TestMesh::start().await);
        let config = config(&mesh, database.config(), database.keys("consent").await);
        let host = mesh.host();
        let metrics = host.metrics.clone();
        let running = runtime.spawn(Service::start(config, host)).await.unwrap().unwrap();
        let gateway = mesh.channel(Workload::Gateway, Workload::Consent, running.local_addr());
        let stop = Arc::new(AtomicBool::new(false));
        task::spawn("clock", tick(Arc::clone(&mesh), Arc::clone(&stop)));
        let controller = TestUser::with_roles(&[Role::Controller, Role::Officer]);
        let mut world = Self {
            mesh,
            running,
            gateway,
            metrics,
            controller,
            purposes: vec![],
            notice: String::new(),
            stop,
        };
        for number in 0..3 {
            let purpose = world.published_purpose(number).await;
            world.purposes.push(purpose);
        }
        world.notice = world.published_notice().await;
        world
    }

    pub async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.running.stop().await;
    }

    /// A channel of `user`, as the gateway has it.
    pub fn channel(&self, user: &TestUser) -> UserChannel {
        self.mesh.call_as(user, Workload::Consent, &self.gateway)
    }

    pub fn consents(&self) -> ConsentServiceClient<UserChannel> {
        ConsentServiceClient::new(self.channel(&self.controller))
            .max_decoding_message_size(16 << 20)
            .max_encoding_message_size(16 << 20)
    }

    pub fn decisions(&self) -> DecisionServiceClient<UserChannel> {
        DecisionServiceClient::new(self.channel(&self.controller))
    }

    async fn published_purpose(&self, number: usize) -> String {
        let purpose = pb::Purpose {
            display_name: format!("Newsletter {number}"),
            description: "We write once a month.".to_owned(),
            dpv_purposes: vec!["dpv:DirectMarketing".to_owned()],
            legal_basis: pb::LegalBasis::Consent.into(),
            personal_data: vec!["pd:EmailAddress".to_owned(), "pd:Name".to_owned()],
            recipients: vec!["Mailer Ltd".to_owned()],
            jurisdiction: "DE".to_owned(),
            ..pb::Purpose::default()
        };
        let mut purposes = PurposeServiceClient::new(self.channel(&self.controller));
        let request = pb::CreatePurposeRequest { purpose: Some(purpose), ..Default::default() };
        let purpose_id = purposes.create_purpose(request).await.unwrap().into_inner().purpose_id;
        let request = pb::PublishPurposeRequest { purpose_id: purpose_id.clone(), ..Default::default() };
        purposes.publish_purpose(request).await.unwrap();
        purpose_id
    }

    async fn published_notice(&self) -> String {
        let notice = pb::Notice {
            title: "How we use your data".to_owned(),
            bodies: [("en".to_owned(), "We write to you.".to_owned())].into(),
            purpose_ids: self.purposes.clone(),
            ..pb::Notice::default()
        };
        let mut notices = NoticeServiceClient::new(self.channel(&self.controller));
        let request = pb::CreateNoticeRequest { notice: Some(notice), ..Default::default() };
        let notice_id = notices.create_notice(request).await.unwrap().into_inner().notice_id;
        let request = pb::PublishNoticeRequest { notice_id: notice_id.clone(), ..Default::default() };
        notices.publish_notice(request).await.unwrap();
        notice_id
    }
}

/// The configuration of an installation, on this database.
pub fn config(mesh: &TestMesh, database: DatabaseConfig, keys: KeysConfig) -> Config {
    Config {
        server: mesh.server(),
        identity: mesh.identity(Workload::Consent),
        database,
        keys,
        migrations: MigrationConfig::default(),
        decisions: Default::default(),
        integrity: Default::default(),
        renewal: Default::default(),
        upstreams: mesh.upstreams(&[]),
        organisation: Some(organisation()),
        authorization: Default::default(),
        telemetry: Default::default(),
    }
}

fn organisation() -> portal_consent::OrganisationConfig {
    let config = serde_json::json!({
        "party_id": "https://example.org", "name": "Example Society", "address": "1 Example Street, Berlin",
        "email": "privacy@example.org", "country": "DE", "jurisdiction": "DE", "storage_locations": ["DE"],
        "retention_event": "Until the consent ends", "data_source": "From the subject",
        "rights": ["eu-gdpr:A17"],
    });
    serde_json::from_value(config).unwrap()
}

/// Lets the clock go until it is told to stop.
async fn tick(mesh: Arc<TestMesh>, stop: Arc<AtomicBool>) {
    let mut ticks = tokio::time::interval(TICK);
    let mut last = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        ticks.tick().await;
        let now = Instant::now();
        mesh.clock.advance(now - last);
        last = now;
    }
}
