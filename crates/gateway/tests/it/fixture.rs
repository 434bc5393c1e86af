//! A gateway in front of two services: auth, whose exchange and feed a test steers, and consent's purposes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portal_core::{Clock, Role, Workload};
use portal_crypto::suite::Suites;
use portal_gateway::{Config, EdgeConfig, Service};
use portal_mesh::config::{EdgeTlsConfig, TelemetryConfig};
use portal_mesh::status::reason;
use portal_mesh::{Authorization, Caller, Host, Identity, MeshServer, Row, Running, TokenVerifier, convert};
use portal_proto::auth::v1::revocation::Target;
use portal_proto::auth::v1::token_service_server::{TokenService, TokenServiceServer};
use portal_proto::auth::v1::{
    ExchangeTokenRequest, ExchangeTokenResponse, GetKeySetRequest, JsonWebKey, KeySet, Revocation,
    RevocationHeartbeat, WatchRevocationsRequest,
};
use portal_proto::consent::v1::consent_change_service_server::{
    ConsentChangeService, ConsentChangeServiceServer,
};
use portal_proto::consent::v1::purpose_service_server::{PurposeService, PurposeServiceServer};
use portal_proto::consent::v1::{
    AckConsentChangesRequest, AckConsentChangesResponse, ConsentChange, CreatePurposeRequest,
    GetPurposeRequest, ListPurposesRequest, ListPurposesResponse, PublishPurposeRequest, Purpose,
    UpdatePurposeRequest, WatchConsentChangesRequest,
};
use portal_testkit::{TestMesh, TestUser};
use tokio::sync::broadcast;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;
use tonic::codegen::BoxStream;
use tonic::metadata::MetadataValue;
use tonic::service::Routes;
use tonic::{Request, Response, Status, async_trait};

pub const ORIGIN: &str = "https://app.example.org";
/// How often the feed of revocations beats.
pub const BEAT: Duration = Duration::from_millis(200);

portal_mesh::actions! {
    "portal.auth.v1.TokenService" => GetKeySet, ExchangeToken, WatchRevocations;
    "portal.consent.v1.PurposeService" => CreatePurpose, GetPurpose, ListPurposes, PublishPurpose, UpdatePurpose;
    "portal.consent.v1.ConsentChangeService" => WatchConsentChanges;
}

static AUTH_POLICY: [Row; 3] = [
    Row::of::<GetKeySet>().read(),
    Row::of::<ExchangeToken>().read(),
    Row::of::<WatchRevocations>().open_ended(),
];
static CONSENT_POLICY: [Row; 6] = [
    Row::of::<CreatePurpose>().write().max_request_bytes(8 * 1_024 * 1_024),
    Row::of::<GetPurpose>().read(),
    Row::of::<ListPurposes>().read(),
    Row::of::<PublishPurpose>().write(),
    Row::of::<UpdatePurpose>().write(),
    Row::of::<WatchConsentChanges>().open_ended(),
];
/// Who may.
const POLICIES: &str = r#"
@id("portal.auth")
permit (
    principal == Portal::Workload::"gateway",
    action in [Portal::Action::"mesh.edge", Portal::Action::"mesh.revocations"],
    resource
);

@id("portal.auth.keys")
permit (principal, action in Portal::Action::"token.keys", resource);

@id("portal.create")
permit (
    principal in Portal::Role::"controller",
    action == Portal::Action::"portal.consent.v1.PurposeService/CreatePurpose",
    resource
);

@id("portal.subjects")
permit (
    principal in Portal::Role::"subject",
    action in [
        Portal::Action::"changes.follow",
        Portal::Action::"portal.consent.v1.PurposeService/GetPurpose"
    ],
    resource
);

@id("portal.public")
permit (
    principal,
    action in [
        Portal::Action::"portal.consent.v1.PurposeService/ListPurposes",
        Portal::Action::"portal.consent.v1.PurposeService/UpdatePurpose"
    ],
    resource
);

// Only for processes of the mesh: what a spoofed header must not reach.
@id("portal.spoofed")
permit (
    principal == Portal::Workload::"gateway",
    action == Portal::Action::"portal.consent.v1.PurposeService/PublishPurpose",
    resource
);

@id("portal.health")
permit (principal is Portal::Workload, action in Portal::Action::"mesh.health", resource);
"#;

/// What a test sees of the services and steers in them.
pub struct World {
    /// What auth publishes.
    pub keys: Mutex<Vec<JsonWebKey>>,
    pub mesh: TestMesh,
    pub users: Mutex<HashMap<String, TestUser>>,
    /// The keys that access tokens are bound to, by token.
    pub bound: Mutex<HashMap<String, String>>,
    /// Whether auth is of a version that knows no bound tokens.
    pub unaware: Mutex<bool>,
    pub exchanges: AtomicUsize,
    pub exchange_delay: Mutex<Duration>,
    pub feed: broadcast::Sender<Revocation>,
    /// Whether the feed beats.
    pub beating: Mutex<bool>,
    /// The metadata of the last call that consent served.
    pub seen: Mutex<Vec<String>>,
    /// The client that it was told of.
    pub client: Mutex<Option<IpAddr>>,
    pub last_update: Mutex<Option<UpdatePurposeRequest>>,
    pub last_list: Mutex<Option<ListPurposesRequest>>,
}

impl World {
    /// Makes `token` an access token of a new user with `roles`.
    pub fn user(&self, token: &str, roles: &[Role]) -> TestUser {
        let user = TestUser::with_roles(roles);
        self.users.lock().unwrap().insert(token.to_owned(), user.clone());
        user
    }

    pub fn exchanges(&self) -> usize {
        self.exchanges.load(Ordering::SeqCst)
    }

    pub fn revoke(&self, target: Target) {
        let revocation = Revocation { resume_token: "r".to_owned(), revoke_time: None, target: Some(target) };
        self.feed.send(revocation).unwrap();
    }
}

/// The whole, stopped by [`Setup::stop`].
pub struct Setup {
    pub world: Arc<World>,
    pub address: SocketAddr,
    pub host: Host,
    gateway: Running,
    auth: Option<Running>,
    consent: Option<Running>,
}

impl Setup {
    pub async fn start() -> Self {
        Self::behind(&[]).await
    }

    /// With proxies in these networks in front of it.
    pub async fn behind(proxies: &[&str]) -> Self {
        let proxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
        Self::with(TestMesh::start().await, |config, _| config.edge.trusted_proxies = proxies).await
    }

    /// With certificates for clients.
    pub async fn over_tls(mesh: TestMesh, files: EdgeTlsConfig) -> Self {
        Self::with(mesh, |config, _| config.edge_tls = Some(files)).await
    }

    /// With another configuration of the gateway, or on another host.
    pub async fn with(mesh: TestMesh, change: impl FnOnce(&mut Config, &mut Host)) -> Self {
        let world = Arc::new(World {
            mesh,
            keys: Mutex::new(vec![some_key()]),
            users: Mutex::default(),
            bound: Mutex::default(),
            unaware: Mutex::default(),
            exchanges: AtomicUsize::new(0),
            exchange_delay: Mutex::default(),
            feed: broadcast::channel(16).0,
            beating: Mutex::new(true),
            seen: Mutex::default(),
            client: Mutex::default(),
            last_update: Mutex::default(),
            last_list: Mutex::default(),
        });
        let auth_routes = Routes::new(TokenServiceServer::new(Auth(Arc::clone(&world))));
        let auth = serve(&world, Workload::Auth, &AUTH_POLICY, auth_routes).await;
        let purposes = PurposeServiceServer::new(Consent(Arc::clone(&world)));
        let purposes = purposes.max_decoding_message_size(8 * 1_024 * 1_024);
        let consent_routes =
            Routes::new(purposes).add_service(ConsentChangeServiceServer::new(Consent(Arc::clone(&world))));
        let consent = serve(&world, Workload::Consent, &CONSENT_POLICY, consent_routes).await;

        let mut host = world.mesh.host();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let addresses = [
            (Workload::Auth, auth.local_addr()),
            (Workload::Consent, consent.local_addr()),
            (Workload::Valuation, nowhere),
        ];
        let mut config = Config {
            server: world.mesh.server(),
            identity: world.mesh.identity(Workload::Gateway),
            upstreams: portal_mesh::config::UpstreamsConfig::new(&addresses),
            edge: EdgeConfig { cors_origins: vec![ORIGIN.to_owned()], ..EdgeConfig::default() },
            edge_tls: None,
            telemetry: TelemetryConfig::default(),
        };
        change(&mut config, &mut host);
        let gateway = Service::start(config, host.clone()).await.unwrap();
        let address = gateway.local_addr();
        Self { world, address, host, gateway, auth: Some(auth), consent: Some(consent) }
    }

    pub async fn stop_consent(&mut self) {
        self.consent.take().unwrap().stop().await;
    }

    pub async fn stop_auth(&mut self) {
        self.auth.take().unwrap().stop().await;
    }

    pub async fn stop(self) {
        let begun = std::time::Instant::now();
        self.gateway.stop().await;
        for running in [self.auth, self.consent].into_iter().flatten() {
            running.stop().await;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing hangs at the drain");
    }

    /// Waits until the gateway uses its cache: calls as `token` no longer exchange.
    pub async fn wait_for_cache(&self, client: &crate::client::Client, token: &str) {
        for _ in 0..200 {
            let before = self.world.exchanges();
            assert_eq!(client.get("/v1/purposes/1", Some(token)).await.status, 200);
            if self.world.exchanges() == before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the cache was never used");
    }
}

fn some_key() -> JsonWebKey {
    JsonWebKey {
        kid: "k".to_owned(),
        kty: "AKP".to_owned(),
        alg: "ML-DSA-65".to_owned(),
        r#use: "sig".to_owned(),
        r#pub: vec![0xff, 0xfe],
        ..JsonWebKey::default()
    }
}

async fn serve(world: &World, workload: Workload, policy: &'static [Row], routes: Routes) -> Running {
    let mesh = &world.mesh;
    let host = mesh.host();
    let identity = Identity::load(&mesh.identity(workload), workload, &host).unwrap();
    let keys_at = mesh.upstreams(&[]).address(Workload::Auth).unwrap().parse().unwrap();
    let tokens = TokenVerifier::remote(
        &identity,
        &mesh.channel(workload, Workload::Auth, keys_at),
        Suites::ALL,
        &host,
    );
    let authorization = Authorization::made_of(POLICIES, &host.metrics).unwrap();
    MeshServer { identity, policy, authorization, tokens, host }.start(&mesh.server(), routes).await.unwrap()
}

struct Auth(Arc<World>);

#[async_trait]
impl TokenService for Auth {
    async fn get_key_set(&self, _: Request<GetKeySetRequest>) -> Result<Response<KeySet>, Status> {
        let keys = self.0.keys.lock().unwrap().clone();
        Ok(Response::new(KeySet { keys, max_age: None }))
    }

    async fn exchange_token(
        &self,
        request: Request<ExchangeTokenRequest>,
    ) -> Result<Response<ExchangeTokenResponse>, Status> {
        self.0.exchanges.fetch_add(1, Ordering::SeqCst);
        let delay = *self.0.exchange_delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        let request = request.into_inner();
        let user = self.0.users.lock().unwrap().get(&request.access_token).cloned();
        let user = user.ok_or_else(|| reason::TOKEN_INVALID.status())?;
        let mut bound = self.0.bound.lock().unwrap().get(&request.access_token).cloned().unwrap_or_default();
        if *self.0.unaware.lock().unwrap() {
            bound = String::new();
        } else if bound != request.dpop_jkt {
            let missing = request.dpop_jkt.is_empty();
            return Err(if missing { reason::DPOP_PROOF_NEEDED } else { reason::TOKEN_INVALID }.status());
        }
        let audience = request.audience.parse().unwrap();
        let life = Duration::from_secs(240);
        Ok(Response::new(ExchangeTokenResponse {
            token: self.0.mesh.token(&user, audience, life),
            expire_time: Some(convert::timestamp(self.0.mesh.clock.now().plus(life))),
            session_id: user.session.to_string(),
            account_id: user.account.to_string(),
            dpop_jkt: bound,
            ..ExchangeTokenResponse::default()
        }))
    }

    async fn watch_revocations(
        &self,
        _: Request<WatchRevocationsRequest>,
    ) -> Result<Response<BoxStream<Revocation>>, Status> {
        let world = Arc::clone(&self.0);
        let beats = tokio_stream::wrappers::IntervalStream::new(tokio::time::interval(BEAT));
        let beats = beats.filter_map(move |_| {
            let heartbeat = RevocationHeartbeat { interval: Some(convert::duration(BEAT)), caught_up: true };
            let target = Some(Target::Heartbeat(heartbeat));
            let beat = Revocation { resume_token: "r".to_owned(), revoke_time: None, target };
            world.beating.lock().unwrap().then_some(Ok(beat))
        });
        let told = BroadcastStream::new(self.0.feed.subscribe()).filter_map(|told| told.ok().map(Ok));
        Ok(Response::new(Box::pin(beats.merge(told))))
    }
}

#[derive(Clone)]
struct Consent(Arc<World>);

impl Consent {
    fn see<T>(&self, request: &Request<T>) {
        let names = request.metadata().as_ref().keys().map(|name| name.as_str().to_owned());
        *self.0.seen.lock().unwrap() = names.collect();
        *self.0.client.lock().unwrap() = Caller::of(request).unwrap().client_address();
    }
}

#[async_trait]
impl PurposeService for Consent {
    async fn create_purpose(
        &self,
        request: Request<CreatePurposeRequest>,
    ) -> Result<Response<Purpose>, Status> {
        self.see(&request);
        Caller::of(&request)?.permit::<CreatePurpose>()?;
        Ok(Response::new(request.into_inner().purpose.unwrap_or_default()))
    }

    async fn get_purpose(&self, request: Request<GetPurposeRequest>) -> Result<Response<Purpose>, Status> {
        self.see(&request);
        let permit = Caller::of(&request)?.permit::<GetPurpose>()?;
        let account = permit.caller().user().unwrap().account.to_string();
        let GetPurposeRequest { purpose_id, revision } = request.into_inner();
        match purpose_id.as_str() {
            "missing" => {
                return Err(portal_mesh::status::error(tonic::Code::NotFound, "GONE", "no such purpose"));
            }
            "slow" => tokio::time::sleep(Duration::from_secs(10)).await,
            _ => {}
        }
        Ok(Response::new(Purpose { purpose_id, revision, display_name: account, ..Purpose::default() }))
    }

    async fn list_purposes(
        &self,
        request: Request<ListPurposesRequest>,
    ) -> Result<Response<ListPurposesResponse>, Status> {
        self.see(&request);
        let request = request.into_inner();
        if request.page_size < 0 {
            let invalid = portal_core::Invalid::field("page_size", "must not be negative");
            return Err(portal_mesh::status::invalid(&invalid));
        }
        let mut reply =
            Response::new(ListPurposesResponse { next_page_token: "next".to_owned(), ..Default::default() });
        if request.page_token == "corrupt" {
            for (name, value) in [("portal-rows-withheld", "2"), ("portal-internal", "x")] {
                reply.metadata_mut().insert(name, MetadataValue::from_static(value));
            }
        }
        *self.0.last_list.lock().unwrap() = Some(request);
        Ok(reply)
    }

    async fn update_purpose(
        &self,
        request: Request<UpdatePurposeRequest>,
    ) -> Result<Response<Purpose>, Status> {
        let request = request.into_inner();
        *self.0.last_update.lock().unwrap() = Some(request.clone());
        Ok(Response::new(request.purpose.unwrap_or_default()))
    }

    async fn publish_purpose(
        &self,
        request: Request<PublishPurposeRequest>,
    ) -> Result<Response<Purpose>, Status> {
        Caller::of(&request)?.permit::<PublishPurpose>()?;
        Ok(Response::new(Purpose::default()))
    }
}

#[async_trait]
impl ConsentChangeService for Consent {
    /// Two changes, then what the resume token says: an end, an error, silence, or more and more.
    async fn watch_consent_changes(
        &self,
        request: Request<WatchConsentChangesRequest>,
    ) -> Result<Response<BoxStream<ConsentChange>>, Status> {
        let then = request.into_inner().resume_token;
        let change =
            |token: &str| Ok(ConsentChange { resume_token: token.to_owned(), ..ConsentChange::default() });
        let changes = tokio_stream::iter([change("1"), change("2")]);
        let lost = || portal_mesh::status::error(tonic::Code::Aborted, "LOST", "the changes were lost");
        Ok(Response::new(match then.as_str() {
            "error" => Box::pin(changes.chain(tokio_stream::iter([Err(lost())]))),
            "silence" => Box::pin(changes.chain(tokio_stream::pending())),
            "flood" => {
                Box::pin(changes.chain(tokio_stream::iter(std::iter::repeat_with(move || change("3")))))
            }
            "refuse" => return Err(lost()),
            _ => Box::pin(changes),
        }))
    }

    async fn ack_consent_changes(
        &self,
        _: Request<AckConsentChangesRequest>,
    ) -> Result<Response<AckConsentChangesResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}
