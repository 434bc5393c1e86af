//! Who calls, and whose data they call for.

use std::sync::Arc;

use portal_core::{SystemClock, SystemEntropy, Workload};
use portal_mesh::config::IdentityConfig;
use portal_mesh::{Host, Identity, MeshChannel, Metrics, Readiness};
use portal_proto::consent::v1 as consent;
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_proto::consent::v1::purpose_service_client::PurposeServiceClient;
use portal_proto::consent::v1::receipt_service_client::ReceiptServiceClient;
use portal_proto::valuation::v1 as valuation;
use portal_proto::valuation::v1::dataset_service_client::DatasetServiceClient;
use portal_proto::valuation::v1::valuation_service_client::ValuationServiceClient;
use portal_tests::{
    Answer, Channel, Person, Portal, call, dataset, published_notice, published_purpose, purpose,
    record_batch, uuid,
};
use prost::Message;
use prost_reflect::MethodDescriptor;
use tonic::body::Body;

use super::requests::{self, Things};

/// A column of the matrix.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Column {
    Own,
    Other,
    Controller,
    Officer,
    Auditor,
    Operator,
    Service,
    Anonymous,
}

impl Column {
    pub const ALL: [Self; 8] = [
        Self::Own,
        Self::Other,
        Self::Controller,
        Self::Officer,
        Self::Auditor,
        Self::Operator,
        Self::Service,
        Self::Anonymous,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "subject-own",
            Self::Other => "subject-other",
            Self::Controller => "controller",
            Self::Officer => "officer",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Service => "service",
            Self::Anonymous => "anonymous",
        }
    }

    /// Whether the caller is known, so that the answer depends on whose data it asks for.
    pub fn is_about_somebody(self) -> bool {
        !matches!(self, Self::Anonymous | Self::Service)
    }
}

/// The people, and what exists for them to reach.
pub struct World {
    channel: Channel,
    operator: Person,
    controller: Person,
    officer: Person,
    auditor: Person,
    /// Who calls as a subject.
    anna: Person,
    /// Whose data everybody but its owner asks for.
    ben: Person,
    purpose_id: String,
    notice_id: String,
    dataset_id: String,
    valuation_id: String,
    annas_consent: Recorded,
    bens_consent: Recorded,
}

/// A consent, and the receipt for it.
struct Recorded {
    consent_id: String,
    receipt_id: String,
}

impl World {
    pub async fn new(portal: &Portal) -> Self {
        let channel = portal.channel().await;
        let operator = portal.operator().await;
        let controller = portal.staff(&operator, &["controller"]).await;
        let officer = portal.staff(&operator, &["officer"]).await;
        let auditor = portal.staff(&operator, &["auditor"]).await;
        let (anna, ben) = (portal.person("anna").await, portal.person("ben").await);
        let as_controller = controller.on(&channel);
        let purpose_id = published_purpose(&as_controller, "Research").await.purpose_id;
        let notice_id = published_notice(&as_controller, "Notice", &[&purpose_id]).await.notice_id;
        let give = async |person: &Person| {
            let request = consent::GiveConsentRequest {
                subject_id: person.subject_id.clone(),
                purpose_id: purpose_id.clone(),
                notice_id: notice_id.clone(),
                language: "en".to_owned(),
                method: consent::IndicationMethod::Button.into(),
                ..consent::GiveConsentRequest::default()
            };
            let reply = ConsentServiceClient::new(person.on(&channel)).give_consent(request).await.unwrap();
            let list =
                consent::ListReceiptsRequest { subject_id: person.subject_id.clone(), ..Default::default() };
            let listed = ReceiptServiceClient::new(person.on(&channel)).list_receipts(list).await.unwrap();
            let receipt_id = listed.into_inner().receipts.remove(0).receipt_id;
            Recorded { consent_id: reply.into_inner().consent.unwrap().consent_id, receipt_id }
        };
        let (annas_consent, bens_consent) = (give(&anna).await, give(&ben).await);
        let dataset_id = dataset(&as_controller, &purpose_id).await.dataset_id;
        let valuation_id = valuation_of(&as_controller, &dataset_id, &[&anna, &ben]).await;
        Self {
            channel,
            operator,
            controller,
            officer,
            auditor,
            anna,
            ben,
            purpose_id,
            notice_id,
            dataset_id,
            valuation_id,
            annas_consent,
            bens_consent,
        }
    }

    /// Calls `method` as `column` does, with a request for the data that the column is about.
    pub async fn call(&self, portal: &Portal, method: &MethodDescriptor, column: Column) -> Answer {
        // What would end a session, lock an account or the like is done to somebody who has no other part.
        let victim =
            if requests::is_destructive(method) { Some(portal.person("victim").await) } else { None };
        let target = match (&victim, column) {
            (Some(victim), _) => victim,
            (None, Column::Own) => &self.anna,
            (None, _) => &self.ben,
        };
        let caller = match column {
            Column::Own => Some(target),
            Column::Other => Some(&self.anna),
            Column::Controller => Some(&self.controller),
            Column::Officer => Some(&self.officer),
            Column::Auditor => Some(&self.auditor),
            Column::Operator => Some(&self.operator),
            Column::Anonymous | Column::Service => None,
        };
        let recorded = if column == Column::Own { &self.annas_consent } else { &self.bens_consent };
        let draft_id = self.draft(method).await;
        let things = Things {
            subject_id: &target.subject_id,
            account_id: &target.account_id,
            session_id: &target.session_id,
            consent_id: &recorded.consent_id,
            receipt_id: &recorded.receipt_id,
            purpose_id: draft_id.as_ref().unwrap_or(&self.purpose_id),
            notice_id: &self.notice_id,
            dataset_id: &self.dataset_id,
            valuation_id: &self.valuation_id,
            refresh_token: &target.refresh_token,
            email: &target.email,
        };
        let request = requests::build(method, &things).encode_to_vec();
        let channel = caller.map_or_else(|| self.channel.clone(), |caller| caller.on(&self.channel));
        call(channel, &format!("/{}", super::path(method)), &request).await
    }

    /// Calls `method` as Anna, with a request for what is Ben's, or what is like it and nobody's.
    pub async fn trespass(&self, method: &MethodDescriptor, exists: bool) -> Answer {
        let nobodys: [String; 8] = std::array::from_fn(|_| uuid());
        let [subject, account, session, consent, receipt, dataset, valuation, email] = &nobodys;
        let email = &format!("{email}@example.org");
        let ben = &self.ben;
        let things = Things {
            subject_id: if exists { &ben.subject_id } else { subject },
            account_id: if exists { &ben.account_id } else { account },
            session_id: if exists { &ben.session_id } else { session },
            consent_id: if exists { &self.bens_consent.consent_id } else { consent },
            receipt_id: if exists { &self.bens_consent.receipt_id } else { receipt },
            purpose_id: &self.purpose_id,
            notice_id: &self.notice_id,
            dataset_id: if exists { &self.dataset_id } else { dataset },
            valuation_id: if exists { &self.valuation_id } else { valuation },
            refresh_token: &ben.refresh_token,
            email: if exists { &ben.email } else { email },
        };
        let request = requests::build_whole(method, &things).encode_to_vec();
        call(self.anna.on(&self.channel), &format!("/{}", super::path(method)), &request).await
    }

    /// Whether `body` names Ben or something of his.
    pub fn is_about_ben(&self, body: &[u8]) -> bool {
        let Recorded { consent_id, receipt_id } = &self.bens_consent;
        let Person { subject_id, account_id, session_id, .. } = &self.ben;
        [subject_id, account_id, session_id, consent_id, receipt_id]
            .iter()
            .any(|id| body.windows(id.len()).any(|found| found == id.as_bytes()))
    }

    /// A purpose of its own for a method that changes one: the published one must stay as it is.
    async fn draft(&self, method: &MethodDescriptor) -> Option<String> {
        if !matches!(method.name(), "UpdatePurpose" | "PublishPurpose" | "ArchivePurpose") {
            return None;
        }
        let request = consent::CreatePurposeRequest {
            purpose: Some(purpose("Draft")),
            ..consent::CreatePurposeRequest::default()
        };
        let mut purposes = PurposeServiceClient::new(self.controller.on(&self.channel));
        Some(purposes.create_purpose(request).await.unwrap().into_inner().purpose_id)
    }
}

/// Has the records of `people` valued, and waits until that is done.
async fn valuation_of(controller: &Channel, dataset_id: &str, people: &[&Person]) -> String {
    let mut datasets = DatasetServiceClient::new(controller.clone());
    for person in people {
        for split in [valuation::Split::Train, valuation::Split::Validation] {
            let record_ids = (0..4).map(|_| uuid()).collect();
            let request = valuation::AppendRecordBatchRequest {
                dataset_id: dataset_id.to_owned(),
                batch: Some(record_batch(record_ids, &person.subject_id, split)),
                ..valuation::AppendRecordBatchRequest::default()
            };
            datasets.append_record_batch(request).await.unwrap();
        }
    }
    let mut valuations = ValuationServiceClient::new(controller.clone());
    let request = valuation::StartValuationRequest {
        dataset_id: dataset_id.to_owned(),
        method: valuation::Method::KnnShapley.into(),
        ..valuation::StartValuationRequest::default()
    };
    let operation = valuations.start_valuation(request).await.unwrap().into_inner();
    let valuation_id = operation.name.strip_prefix("operations/").unwrap().to_owned();
    let request = valuation::WatchValuationRequest { valuation_id: valuation_id.clone() };
    let mut progress = valuations.watch_valuation(request).await.unwrap().into_inner();
    while progress.message().await.unwrap().is_some() {}
    let request = valuation::GetValuationRequest { valuation_id: valuation_id.clone() };
    let done = valuations.get_valuation(request).await.unwrap().into_inner();
    assert_eq!(done.state(), valuation::ValuationState::Succeeded);
    valuation_id
}

/// The processes of the mesh, by the certificates that `portal up` gave them, and where the services are.
pub struct Workloads {
    /// As whom, to whom.
    channels: Vec<(Workload, Workload, MeshChannel)>,
}

impl Workloads {
    /// Finds out which of the process's listeners is which service: a handshake fails unless it is the one asked for.
    pub async fn find(portal: &Portal) -> Self {
        let host = Host {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            metrics: Metrics::default(),
            readiness: Readiness::default(),
        };
        let mut channels = Vec::new();
        for to in [Workload::Auth, Workload::Consent, Workload::Valuation] {
            let mut address = None;
            for listener in portal.listeners() {
                let gateway = identity(portal, Workload::Gateway, &host);
                let channel = MeshChannel::new(gateway, to, &listener.to_string(), &host).as_workload();
                let request =
                    http::Request::post("/grpc.health.v1.Health/Check").body(Body::empty()).unwrap();
                if channel.send(request).await.is_ok() {
                    address = Some(listener.to_string());
                    break;
                }
            }
            let address = address.unwrap_or_else(|| panic!("{to} does not listen"));
            channels.extend(Workload::ALL.map(|from| {
                (from, to, MeshChannel::new(identity(portal, from, &host), to, &address, &host).as_workload())
            }));
        }
        Self { channels }
    }

    /// Which of them may call `method` on their own behalf.
    pub async fn cell(&self, method: &MethodDescriptor) -> String {
        let service = method.parent_service();
        let to = match service.full_name().split('.').nth(1) {
            Some("auth") => Workload::Auth,
            Some("consent") => Workload::Consent,
            _ => Workload::Valuation,
        };
        let mut allowed = Vec::new();
        for (from, _, channel) in self.channels.iter().filter(|(_, at, _)| *at == to) {
            let answer = call(channel.clone(), &format!("/{}", super::path(method)), b"").await;
            if super::cell(&answer).contains("yes") {
                allowed.push(from.name());
            }
        }
        // A public method is everybody's.
        match allowed.len() {
            0 => "-".to_owned(),
            4 => "yes".to_owned(),
            _ => allowed.join(","),
        }
    }
}

fn identity(portal: &Portal, workload: Workload, host: &Host) -> Arc<Identity> {
    let directory = portal.directory().join("data/tls").join(workload.name());
    let config = IdentityConfig {
        trust_domain: "portal.local".to_owned(),
        certificate_file: directory.join("tls.crt"),
        private_key_file: directory.join("tls.key"),
        trust_bundle_file: directory.join("ca.crt"),
    };
    Identity::load(&config, workload, host).unwrap()
}
