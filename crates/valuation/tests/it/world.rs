//! A mesh with the valuation service in it, and short ways to call it.

use std::net::SocketAddr;
use std::time::Duration;

use portal_core::id::{AccountId, Id, PurposeId, TenantId};
use portal_core::{Role, SystemEntropy, Workload};
use portal_crypto::envelope::Scope;
use portal_keys::{Ambient, Keys, KeysConfig};
use portal_mesh::status::reason_of;
use portal_mesh::{MeshChannel, Running};
use portal_proto::google::longrunning::operations_client::OperationsClient;
use portal_proto::google::longrunning::{Operation, WaitOperationRequest, operation};
use portal_proto::google::rpc;
use portal_proto::valuation::v1 as pb;
use portal_proto::valuation::v1::append_records_request::Payload;
use portal_proto::valuation::v1::dataset_service_client::DatasetServiceClient;
use portal_proto::valuation::v1::integrity_service_client::IntegrityServiceClient;
use portal_proto::valuation::v1::key_service_client::KeyServiceClient;
use portal_proto::valuation::v1::migration_service_client::MigrationServiceClient;
use portal_proto::valuation::v1::valuation_service_client::ValuationServiceClient;
use portal_store::DatabaseConfig;
use portal_testkit::mesh::{START, TestUser, UserChannel};
use portal_testkit::{TestDatabase, TestMesh};
use portal_upkeep::{IntegrityConfig, MigrationConfig};
use portal_valuation::{Config, JobsConfig, Service};
use prost::Message;
use tonic::{Code, Status};

use crate::consent::Decisions;

pub struct World {
    pub mesh: TestMesh,
    pub decisions: Decisions,
    pub consent: Option<Running>,
    pub consent_address: SocketAddr,
    pub service: Option<Running>,
    pub channel: MeshChannel,
    pub controller: TestUser,
    pub operator: TestUser,
    pub purpose: PurposeId,
    keys: KeysConfig,
    database: DatabaseConfig,
}

/// What makes a good request a bad one.
pub type Change<T> = fn(&mut T);

/// A record's worth of test data.
#[derive(Clone)]
pub struct Record {
    pub id: String,
    pub subject: String,
    pub features: Vec<f32>,
    pub label: f32,
    pub split: pb::Split,
}

impl World {
    pub async fn start(database: &TestDatabase) -> Self {
        let mesh = TestMesh::start().await;
        let decisions = Decisions::default();
        let purpose = PurposeId::generate(START, &SystemEntropy);
        decisions.set_purpose(&purpose.to_string());
        let consent = decisions.serve(&mesh, None).await;
        Self::assemble(mesh, (decisions, purpose), consent, database).await
    }

    /// A world around a consent service.
    pub async fn assemble(
        mesh: TestMesh,
        (decisions, purpose): (Decisions, PurposeId),
        consent: Running,
        database: &TestDatabase,
    ) -> Self {
        let consent_address = consent.local_addr();
        let keys = database.keys("valuation").await;
        let config = config(&mesh, keys.clone(), database.config(), consent_address);
        let service = Service::start(config, mesh.host()).await.unwrap();
        let channel = mesh.channel(Workload::Gateway, Workload::Valuation, service.local_addr());
        Self {
            mesh,
            decisions,
            consent: Some(consent),
            consent_address,
            service: Some(service),
            channel,
            controller: TestUser::with_roles(&[Role::Controller]),
            operator: TestUser::with_roles(&[Role::Operator]),
            purpose,
            keys,
            database: database.config(),
        }
    }

    pub fn config(&self) -> Config {
        config(&self.mesh, self.keys.clone(), self.database.clone(), self.consent_address)
    }

    /// The keys of the service, as another process of it has them.
    pub async fn keys(&self) -> Keys {
        let host = self.mesh.host();
        let (clock, entropy, metrics) = (host.clock, host.entropy, portal_keys::Metrics::default());
        let scope = Scope { service: Workload::Valuation, tenant: TenantId::DEFAULT };
        Keys::open(&self.keys, scope, Ambient { clock, entropy, metrics }).await.unwrap()
    }

    /// Stops the service and starts it again.
    pub async fn restart(&mut self) {
        self.restart_with(|_| ()).await;
    }

    /// Stops the service and starts it again, configured otherwise.
    pub async fn restart_with(&mut self, change: impl FnOnce(&mut Config)) {
        self.service.take().unwrap().stop().await;
        let mut config = self.config();
        change(&mut config);
        let service = Service::start(config, self.mesh.host()).await.unwrap();
        self.reach(service);
    }

    /// Reaches the service at another address from now on.
    pub fn reach(&mut self, service: Running) {
        self.channel = self.mesh.channel(Workload::Gateway, Workload::Valuation, service.local_addr());
        self.service = Some(service);
    }

    pub fn call_as(&self, user: &TestUser) -> UserChannel {
        self.mesh.call_as(user, Workload::Valuation, &self.channel)
    }

    pub fn datasets(&self) -> DatasetServiceClient<UserChannel> {
        DatasetServiceClient::new(self.call_as(&self.controller))
    }

    pub fn valuations(&self) -> ValuationServiceClient<UserChannel> {
        ValuationServiceClient::new(self.call_as(&self.controller))
    }

    pub fn operations(&self) -> OperationsClient<UserChannel> {
        OperationsClient::new(self.call_as(&self.controller))
    }

    pub fn integrity(&self, user: &TestUser) -> IntegrityServiceClient<UserChannel> {
        IntegrityServiceClient::new(self.call_as(user))
    }

    pub fn key_service(&self, user: &TestUser) -> KeyServiceClient<UserChannel> {
        KeyServiceClient::new(self.call_as(user))
    }

    pub fn migrations(&self, user: &TestUser) -> MigrationServiceClient<UserChannel> {
        MigrationServiceClient::new(self.call_as(user))
    }

    pub fn dataset_message(&self, features: i32) -> pb::Dataset {
        pb::Dataset {
            display_name: "Digits".to_owned(),
            task: pb::Task::Classification.into(),
            feature_count: features,
            class_count: 10,
            purpose_id: self.purpose.to_string(),
            ..pb::Dataset::default()
        }
    }

    /// A dataset of the controller's, without records.
    pub async fn create(&self, features: i32) -> pb::Dataset {
        let dataset = Some(self.dataset_message(features));
        let request = pb::CreateDatasetRequest { dataset, request_id: String::new() };
        self.datasets().create_dataset(request).await.unwrap().into_inner()
    }

    pub async fn dataset(&self, dataset_id: &str) -> pb::Dataset {
        let request = pb::GetDatasetRequest { dataset_id: dataset_id.to_owned() };
        self.datasets().get_dataset(request).await.unwrap().into_inner()
    }

    /// Streams `records` in, `size` to a batch.
    pub async fn append(
        &self,
        dataset_id: &str,
        records: &[Record],
        size: usize,
    ) -> Result<pb::AppendRecordsResponse, Status> {
        let batches = batches(records, size).into_iter().map(Payload::Batch);
        let payloads = std::iter::once(Payload::DatasetId(dataset_id.to_owned())).chain(batches);
        let messages: Vec<_> =
            payloads.map(|payload| pb::AppendRecordsRequest { payload: Some(payload) }).collect();
        let stream = futures_util::stream::iter(messages);
        Ok(self.datasets().append_records(stream).await?.into_inner())
    }

    /// A dataset with `records`.
    pub async fn filled(&self, features: i32, records: &[Record]) -> pb::Dataset {
        let dataset = self.create(features).await;
        self.append(&dataset.dataset_id, records, 1_000).await.unwrap();
        self.dataset(&dataset.dataset_id).await
    }

    pub async fn start_valuation(&self, dataset: &pb::Dataset) -> Operation {
        self.valuations().start_valuation(start_request(dataset)).await.unwrap().into_inner()
    }

    /// Waits for the end of an operation, at most a minute.
    pub async fn wait(&self, name: &str) -> Operation {
        let timeout = Some(prost_types::Duration { seconds: 50, nanos: 0 });
        let mut request = tonic::Request::new(WaitOperationRequest { name: name.to_owned(), timeout });
        request.set_timeout(Duration::from_secs(59));
        let operation = self.operations().wait_operation(request).await.unwrap().into_inner();
        assert!(operation.done, "{name} did not end");
        operation
    }

    /// The valuation that an operation ended with.
    pub async fn valued(&self, name: &str) -> pb::Valuation {
        match self.wait(name).await.result.unwrap() {
            operation::Result::Response(any) => {
                assert_eq!(any.type_url, "type.googleapis.com/portal.valuation.v1.Valuation");
                pb::Valuation::decode(any.value.as_slice()).unwrap()
            }
            operation::Result::Error(error) => panic!("{}", error.message),
        }
    }

    /// All values of records, page by page.
    pub async fn record_values(&self, valuation_id: &str) -> Vec<pb::RecordValue> {
        let mut values = Vec::new();
        let mut request = pb::ListRecordValuesRequest {
            valuation_id: valuation_id.to_owned(),
            page_size: 700,
            ..pb::ListRecordValuesRequest::default()
        };
        loop {
            let page = self.valuations().list_record_values(request.clone()).await.unwrap().into_inner();
            values.extend(page.record_values);
            if page.next_page_token.is_empty() {
                return values;
            }
            request.page_token = page.next_page_token;
        }
    }
}

fn config(mesh: &TestMesh, keys: KeysConfig, database: DatabaseConfig, consent: SocketAddr) -> Config {
    Config {
        server: mesh.server(),
        identity: mesh.identity(Workload::Valuation),
        database,
        keys,
        upstreams: mesh.upstreams(&[(Workload::Consent, consent)]),
        authorization: Default::default(),
        telemetry: portal_mesh::config::TelemetryConfig::default(),
        jobs: JobsConfig { consent_patience_seconds: 3 },
        integrity: IntegrityConfig::on_demand(),
        migrations: MigrationConfig::alone(),
    }
}

pub fn start_request(dataset: &pb::Dataset) -> pb::StartValuationRequest {
    pb::StartValuationRequest {
        dataset_id: dataset.dataset_id.clone(),
        method: pb::Method::KnnShapley.into(),
        ..pb::StartValuationRequest::default()
    }
}

/// Batches of one split each, in the order of the records.
pub fn batches(records: &[Record], size: usize) -> Vec<pb::RecordBatch> {
    let runs = records.chunk_by(|a, b| a.split == b.split);
    runs.flat_map(|run| run.chunks(size)).map(batch).collect()
}

pub fn batch(records: &[Record]) -> pb::RecordBatch {
    pb::RecordBatch {
        record_ids: records.iter().map(|record| record.id.clone()).collect(),
        subject_ids: records.iter().map(|record| record.subject.clone()).collect(),
        features: records.iter().flat_map(|record| record.features.clone()).collect(),
        labels: records.iter().map(|record| record.label).collect(),
        split: records[0].split.into(),
        arrow_ipc: Vec::new(),
    }
}

/// A person that always has the same id.
pub fn person(number: usize) -> String {
    format!("0198c3a4-7d1e-7cc3-98c4-{number:012x}")
}

pub fn new_id() -> String {
    AccountId::generate(START, &SystemEntropy).to_string()
}

/// The digits, each of another person.
pub fn digits() -> Vec<Record> {
    let lines = include_str!("../data/digits.csv").lines().skip(1);
    let record = |(number, line): (usize, &str)| {
        let mut cells = line.split(',');
        let id = cells.next().unwrap().to_owned();
        let split = match cells.next().unwrap() {
            "TRAIN" => pb::Split::Train,
            "VALIDATION" => pb::Split::Validation,
            other => panic!("{other}"),
        };
        let label = cells.next().unwrap().parse().unwrap();
        let features = cells.map(|cell| cell.parse().unwrap()).collect();
        Record { id, subject: person(number), features, label, split }
    };
    lines.enumerate().map(record).collect()
}

/// Made-up records of `people` persons, two features, ten classes: the same each time.
pub fn synthetic(training: usize, validation: usize, people: usize) -> Vec<Record> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32) / 16_777_216.0
    };
    (0..training + validation)
        .map(|number| {
            let (x, y) = (next(), next());
            Record {
                id: format!("r{number}"),
                subject: person(number % people),
                features: vec![x, y],
                label: (x * 10.0).floor(),
                split: if number < training { pb::Split::Train } else { pb::Split::Validation },
            }
        })
        .collect()
}

/// Checks an error's code and reason, and the first field it names if it is about fields.
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, reason: &str) -> Status {
    let status = result.expect_err("a refusal");
    let found = reason_of(&status).unwrap_or_default();
    assert_eq!((status.code(), found.as_str()), (code, reason), "{}", status.message());
    status
}

/// Checks that a request was refused for `field`.
#[track_caller]
pub fn assert_field<T: std::fmt::Debug>(result: Result<T, Status>, field: &str) {
    let status = assert_refused(result, Code::InvalidArgument, "INVALID_FIELD");
    let details = rpc::Status::decode(status.details()).unwrap().details;
    let bad = details.iter().find(|any| any.type_url.ends_with("BadRequest")).unwrap();
    let bad = rpc::BadRequest::decode(bad.value.as_slice()).unwrap();
    let fields: Vec<_> = bad.field_violations.iter().map(|violation| violation.field.as_str()).collect();
    assert!(fields.contains(&field), "{fields:?} lacks {field}");
}
