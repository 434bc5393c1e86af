//! A purpose service with a made-up policy: enough handlers to see what reaches them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portal_core::Workload;
use portal_crypto::suite::Suites;
use portal_mesh::config::{AuthorizationConfig, IdentityConfig, ServerConfig};
use portal_mesh::context::Context;
use portal_mesh::{
    Authorization, Caller, Identity, MeshChannel, MeshServer, Metrics, Row, Running, TokenVerifier,
};
use portal_proto::consent::v1::purpose_service_server::{PurposeService, PurposeServiceServer};
use portal_proto::consent::v1::{
    ArchivePurposeRequest, CreatePurposeRequest, GetPurposeRequest, ListPurposeRevisionsRequest,
    ListPurposeRevisionsResponse, ListPurposesRequest, ListPurposesResponse, Purpose,
};
use portal_testkit::TestMesh;
use tonic::service::Routes;
use tonic::{Request, Response, Status, async_trait};

portal_mesh::actions! {
    "portal.consent.v1.PurposeService" => CreatePurpose, GetPurpose, ListPurposes, ArchivePurpose, PublishPurpose,
        ListPurposeRevisions
}

/// PublishPurpose has no row on purpose, UpdatePurpose has neither row nor handler.
pub static POLICY: [Row; 5] = [
    Row::of::<CreatePurpose>().write().max_request_bytes(1_000),
    Row::of::<GetPurpose>().read(),
    Row::of::<ListPurposes>().read().deadline_seconds(1),
    Row::of::<ArchivePurpose>(),
    Row::of::<ListPurposeRevisions>().read().step_up(900),
];

/// Who may. PublishPurpose is permitted, and has no row all the same.
pub const POLICIES: &str = r#"
@id("portal.create")
permit (
    principal,
    action == Portal::Action::"portal.consent.v1.PurposeService/CreatePurpose",
    resource == Portal::Records::"everybody"
)
when { principal in [Portal::Role::"controller", Portal::Role::"service"] };

@id("portal.scopes")
@reason("SCOPE_MISSING")
forbid (principal, action, resource)
when { context has client }
unless {
    action == Portal::Action::"portal.consent.v1.PurposeService/GetPurpose" ||
    (action == Portal::Action::"portal.consent.v1.PurposeService/CreatePurpose" &&
        context.client.scopes.contains(Portal::Scope::"consent.record"))
};

@id("portal.public")
permit (
    principal,
    action == Portal::Action::"portal.consent.v1.PurposeService/GetPurpose",
    resource == Portal::Records::"everybody"
)
unless { principal is Portal::Workload };

@id("portal.own")
permit (
    principal in Portal::Role::"subject",
    action == Portal::Action::"portal.consent.v1.PurposeService/ListPurposes",
    resource == Portal::Records::"own"
);

@id("portal.controller")
permit (
    principal in Portal::Role::"controller",
    action in [
        Portal::Action::"portal.consent.v1.PurposeService/ArchivePurpose",
        Portal::Action::"portal.consent.v1.PurposeService/ListPurposeRevisions",
        Portal::Action::"portal.consent.v1.PurposeService/PublishPurpose"
    ],
    resource == Portal::Records::"everybody"
);

@id("portal.valuation")
permit (
    principal == Portal::Workload::"valuation",
    action in [
        Portal::Action::"portal.consent.v1.PurposeService/GetPurpose",
        Portal::Action::"portal.consent.v1.PurposeService/ListPurposeRevisions"
    ],
    resource == Portal::Records::"everybody"
);

@id("portal.health")
permit (principal is Portal::Workload, action in Portal::Action::"mesh.health", resource);
"#;

#[derive(Clone, Default)]
pub struct Fixture {
    pub calls: Arc<AtomicUsize>,
}

#[async_trait]
impl PurposeService for Fixture {
    async fn create_purpose(
        &self,
        request: Request<CreatePurposeRequest>,
    ) -> Result<Response<Purpose>, Status> {
        Caller::of(&request)?.permit::<CreatePurpose>()?;
        self.calls.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(request.into_inner().purpose.unwrap_or_default()))
    }

    /// Tells the trace id and the time left, in microseconds.
    async fn get_purpose(&self, request: Request<GetPurposeRequest>) -> Result<Response<Purpose>, Status> {
        Caller::of(&request)?.permit::<GetPurpose>()?;
        self.calls.fetch_add(1, Ordering::SeqCst);
        let context = Context::current().unwrap();
        let left = context.deadline.unwrap().saturating_duration_since(tokio::time::Instant::now());
        Ok(Response::new(Purpose {
            display_name: context.trace.trace_id(),
            revision: i32::try_from(left.as_micros()).unwrap(),
            ..Purpose::default()
        }))
    }

    /// Never answers.
    async fn list_purposes(
        &self,
        request: Request<ListPurposesRequest>,
    ) -> Result<Response<ListPurposesResponse>, Status> {
        Caller::of(&request)?.permit::<ListPurposes>()?;
        self.calls.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }

    /// Wants a fresh proof of who calls.
    async fn list_purpose_revisions(
        &self,
        request: Request<ListPurposeRevisionsRequest>,
    ) -> Result<Response<ListPurposeRevisionsResponse>, Status> {
        Caller::of(&request)?.permit::<ListPurposeRevisions>()?;
        self.calls.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(ListPurposeRevisionsResponse::default()))
    }

    /// A handler that asks for the wrong permit.
    async fn archive_purpose(
        &self,
        request: Request<ArchivePurposeRequest>,
    ) -> Result<Response<Purpose>, Status> {
        Caller::of(&request)?.permit::<CreatePurpose>()?;
        self.calls.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(Purpose::default()))
    }
}

pub struct Served {
    pub mesh: TestMesh,
    pub fixture: Fixture,
    pub running: Running,
    pub metrics: Metrics,
    files: IdentityConfig,
    identity: Arc<Identity>,
}

impl Served {
    pub async fn start() -> Self {
        let mesh = TestMesh::start().await;
        let address = mesh.server().listen;
        Self::restart(mesh, Fixture::default(), address).await
    }

    pub async fn restart(mesh: TestMesh, fixture: Fixture, address: SocketAddr) -> Self {
        let authorization = Authorization::made_of(POLICIES, &Metrics::default()).unwrap();
        Self::serve(mesh, (fixture, authorization), address).await
    }

    /// By Portal's policies, and those of an operator.
    pub async fn under(mesh: TestMesh, config: AuthorizationConfig) -> Self {
        let host = mesh.host();
        let address = mesh.server().listen;
        let mut served = Self::serve(
            mesh,
            (Fixture::default(), Authorization::load(&config, &host.metrics).unwrap()),
            address,
        )
        .await;
        served.metrics = host.metrics;
        served
    }

    async fn serve(
        mesh: TestMesh,
        (fixture, authorization): (Fixture, Authorization),
        address: SocketAddr,
    ) -> Self {
        let files = mesh.identity(Workload::Consent);
        let host = mesh.host();
        let metrics = host.metrics.clone();
        let identity = Identity::load(&files, Workload::Consent, &host).unwrap();
        let auth = MeshChannel::new(
            Arc::clone(&identity),
            Workload::Auth,
            mesh.upstreams(&[]).address(Workload::Auth).unwrap(),
            &host,
        );
        let tokens = TokenVerifier::remote(&identity, &auth, Suites::ALL, &host);
        let routes = Routes::new(PurposeServiceServer::new(fixture.clone()));
        let server =
            MeshServer { identity: Arc::clone(&identity), policy: &POLICY, authorization, tokens, host };
        let running = server.start(&ServerConfig { listen: address, ..mesh.server() }, routes).await.unwrap();
        Self { mesh, fixture, running, metrics, files, identity }
    }

    /// Puts a new certificate into the service's files and lets it notice.
    pub fn renew_in_place(&self) {
        let renewed = self.mesh.identity(Workload::Consent);
        std::fs::copy(renewed.certificate_file, &self.files.certificate_file).unwrap();
        std::fs::copy(renewed.private_key_file, &self.files.private_key_file).unwrap();
        self.identity.reload().unwrap();
    }

    /// A verifier as the service has.
    pub fn verifier(&self) -> TokenVerifier {
        let (host, upstreams) = (self.mesh.host(), self.mesh.upstreams(&[]));
        let auth = upstreams.address(Workload::Auth).unwrap();
        let auth = MeshChannel::new(Arc::clone(&self.identity), Workload::Auth, auth, &host);
        TokenVerifier::remote(&self.identity, &auth, Suites::ALL, &host)
    }

    pub fn channel(&self, from: Workload) -> MeshChannel {
        self.mesh.channel(from, Workload::Consent, self.running.local_addr())
    }

    pub fn calls(&self) -> usize {
        self.fixture.calls.load(Ordering::SeqCst)
    }
}

pub const SECOND: Duration = Duration::from_secs(1);
