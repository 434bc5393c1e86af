//! Consent as the valuation service sees it: BatchCheckConsents over the mesh, answered from a set that a test changes.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use portal_core::Workload;
use portal_crypto::suite::Suites;
use portal_mesh::{Authorization, Identity, MeshChannel, MeshServer, Row, Running, TokenVerifier};
use portal_proto::consent::v1::decision_service_server::{DecisionService, DecisionServiceServer};
use portal_proto::consent::v1::{
    BatchCheckConsentsRequest, BatchCheckConsentsResponse, CheckConsentResponse, Decision, Reason,
};
use portal_testkit::TestMesh;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

portal_mesh::actions! { "portal.consent.v1.DecisionService" => BatchCheckConsents }

static POLICY: [Row; 1] = [Row::of::<BatchCheckConsents>().read()];

/// Who refuses which purpose; whoever is not in it has given consent.
#[derive(Clone, Default)]
pub struct Decisions(Arc<State>);

#[derive(Default)]
struct State {
    denied: Mutex<HashSet<String>>,
    purpose: Mutex<String>,
    calls: AtomicUsize,
    short: AtomicBool,
}

impl Decisions {
    /// Only this purpose has any consents.
    pub fn set_purpose(&self, purpose: &str) {
        purpose.clone_into(&mut self.0.purpose.lock().unwrap());
    }

    pub fn withdraw(&self, subject: &str) {
        self.0.denied.lock().unwrap().insert(subject.to_owned());
    }

    pub fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// From now on every answer lacks one decision.
    pub fn answer_short(&self) {
        self.0.short.store(true, Ordering::SeqCst);
    }

    /// Serves the decisions as `consent`, at `listen` or any port.
    pub async fn serve(&self, mesh: &TestMesh, listen: Option<SocketAddr>) -> Running {
        let host = mesh.host();
        let identity = Identity::load(&mesh.identity(Workload::Consent), Workload::Consent, &host).unwrap();
        let auth = mesh.upstreams(&[]);
        let auth = MeshChannel::new(
            Arc::clone(&identity),
            Workload::Auth,
            auth.address(Workload::Auth).unwrap(),
            &host,
        );
        let tokens = TokenVerifier::remote(&identity, &auth, Suites::ALL, &host);
        let authorization = Authorization::load(&Default::default(), &host.metrics).unwrap();
        let server = MeshServer { identity, policy: &POLICY, authorization, tokens, host };
        let mut config = mesh.server();
        config.listen = listen.unwrap_or(config.listen);
        server.start(&config, Routes::new(DecisionServiceServer::new(self.clone()))).await.unwrap()
    }
}

#[tonic::async_trait]
impl DecisionService for Decisions {
    async fn batch_check_consents(
        &self,
        request: Request<BatchCheckConsentsRequest>,
    ) -> Result<Response<BatchCheckConsentsResponse>, Status> {
        let requests = request.into_inner().requests;
        assert!((1..=1_000).contains(&requests.len()), "{} questions", requests.len());
        let distinct: HashSet<_> = requests.iter().map(|request| &request.subject_id).collect();
        assert_eq!(distinct.len(), requests.len(), "a subject was asked for twice");
        let denied = self.0.denied.lock().unwrap();
        let purpose = self.0.purpose.lock().unwrap();
        let decide = |permit| CheckConsentResponse {
            decision: if permit { Decision::Permit } else { Decision::Deny }.into(),
            reason: if permit { Reason::ConsentGiven } else { Reason::ConsentWithdrawn }.into(),
            ..CheckConsentResponse::default()
        };
        let mut responses: Vec<_> = requests
            .iter()
            .map(|request| decide(request.purpose_id == *purpose && !denied.contains(&request.subject_id)))
            .collect();
        if self.0.short.load(Ordering::SeqCst) {
            responses.pop();
        }
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(BatchCheckConsentsResponse { responses }))
    }
}
