//! A mesh to test one service in: a certificate authority, a clock that stands still, and tokens for made-up users.
//!
//! Connections are the real ones: mutual TLS with ML-DSA-65 certificates. Only auth is a fixture, and only its
//! GetKeySet: it serves the key that [`TestMesh::token`] signs with, so that a test can be any user it likes.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use portal_core::id::{AccountId, ClientId, Id, SessionId, SubjectId};
use portal_core::{
    Acr, Assurance, Clock, ManualClock, Role, Scope, SystemEntropy, Timestamp, TrustDomain, Workload,
};
use portal_crypto::suite::Suites;
use portal_crypto::token::{AccessClaims, FIRST_PARTY, KeySet as VerifyingKeys, TokenKey, issue};
use portal_mesh::ca::CertificateAuthority;
use portal_mesh::config::{IdentityConfig, ServerConfig, UpstreamsConfig};
use portal_mesh::{
    Authorization, Host, Identity, MeshChannel, MeshServer, Metrics, Readiness, Row, Running, TokenVerifier,
    Via,
};
use portal_proto::auth::v1::token_service_server::{TokenService, TokenServiceServer};
use portal_proto::auth::v1::{GetKeySetRequest, JsonWebKey, KeySet};
use tempfile::TempDir;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Status, async_trait};
use tower::Service;

/// The moment at which every test begins: 2026-11-22T00:00:00Z.
pub const START: Timestamp = Timestamp::from_seconds(1_795_305_600);

/// A person with an account, as a test invents it.
#[derive(Clone, Debug)]
pub struct TestUser {
    /// The account.
    pub account: AccountId,
    /// The person.
    pub subject: SubjectId,
    /// The session.
    pub session: SessionId,
    /// What the account may do.
    pub roles: BTreeSet<Role>,
    /// By what they act.
    pub via: Via,
}

impl TestUser {
    /// The id of the OAuth client that acts; empty if none does.
    #[must_use]
    pub fn via_client(&self) -> String {
        match &self.via {
            Via::Client(id, _) | Via::Itself(id, _) => id.to_string(),
            Via::FirstParty => String::new(),
        }
    }

    /// The same through an OAuth client that was given `scopes`.
    #[must_use]
    pub fn through_client(self, scopes: &[Scope]) -> Self {
        let client = ClientId::generate(START, &SystemEntropy);
        Self { via: Via::Client(client, scopes.iter().copied().collect()), ..self }
    }

    /// An OAuth client that acts for itself.
    #[must_use]
    pub fn client(scopes: &[Scope]) -> Self {
        let client = ClientId::generate(START, &SystemEntropy);
        Self {
            account: AccountId::from_uuid(client.uuid()),
            subject: SubjectId::from_uuid(client.uuid()),
            session: SessionId::from_uuid(client.uuid()),
            roles: BTreeSet::from([Role::Service]),
            via: Via::Itself(client, scopes.iter().copied().collect()),
        }
    }

    /// Someone with no role but `subject`.
    #[must_use]
    pub fn subject() -> Self {
        Self::with_roles(&[])
    }

    /// Someone with `roles`, and `subject` as every account has.
    #[must_use]
    pub fn with_roles(roles: &[Role]) -> Self {
        Self {
            account: AccountId::generate(START, &SystemEntropy),
            subject: SubjectId::generate(START, &SystemEntropy),
            session: SessionId::generate(START, &SystemEntropy),
            roles: roles.iter().copied().chain([Role::Subject]).collect(),
            via: Via::FirstParty,
        }
    }
}

/// The mesh. Its files are removed when it is dropped.
pub struct TestMesh {
    directory: TempDir,
    authority: CertificateAuthority,
    /// The time of every process of this mesh.
    pub clock: Arc<ManualClock>,
    key: TokenKey,
    auth: Running,
}

impl TestMesh {
    /// Makes the authority and starts the auth fixture.
    ///
    /// # Panics
    /// If anything fails: this is a test.
    pub async fn start() -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let domain = TrustDomain::parse("portal.test").unwrap();
        let authority = CertificateAuthority::create(domain, clock.as_ref(), &SystemEntropy).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let key = TokenKey::from_seed(&[7; 32]).unwrap();
        let config = identity_files(&authority, &directory, clock.as_ref(), Workload::Auth);
        let host = host(Arc::clone(&clock) as Arc<dyn Clock>);
        let identity = Identity::load(&config, Workload::Auth, &host).unwrap();
        let mut keys = VerifyingKeys::new();
        keys.insert(key.verifying_key().clone());
        let tokens = TokenVerifier::local(&identity, keys, Suites::ALL, &host);
        let fixture = AuthFixture(JsonWebKey {
            kid: key.id().as_str().to_owned(),
            kty: "AKP".to_owned(),
            alg: "ML-DSA-65".to_owned(),
            r#use: "sig".to_owned(),
            r#pub: key.verifying_key().as_bytes().to_vec(),
            ..JsonWebKey::default()
        });
        let routes = Routes::new(TokenServiceServer::new(fixture));
        let authorization = Authorization::load(&Default::default(), &host.metrics).unwrap();
        let server = MeshServer { identity, policy: &AUTH_POLICY, authorization, tokens, host };
        let auth = server.start(&server_config(), routes).await.unwrap();
        Self { directory, authority, clock, key, auth }
    }

    /// What a process of this mesh is given.
    #[must_use]
    pub fn host(&self) -> Host {
        host(Arc::clone(&self.clock) as Arc<dyn Clock>)
    }

    /// A fresh certificate of `workload`, in files, valid for 24 hours.
    #[must_use]
    pub fn identity(&self, workload: Workload) -> IdentityConfig {
        identity_files(&self.authority, &self.directory, self.clock.as_ref(), workload)
    }

    /// The authority that all certificates of this mesh are from.
    #[must_use]
    pub const fn authority(&self) -> &CertificateAuthority {
        &self.authority
    }

    /// `[server]` on a free loopback port.
    #[must_use]
    pub fn server(&self) -> ServerConfig {
        server_config()
    }

    /// The address of auth, and of the others if given.
    #[must_use]
    pub fn upstreams(&self, others: &[(Workload, SocketAddr)]) -> UpstreamsConfig {
        let auth = (Workload::Auth, self.auth.local_addr());
        UpstreamsConfig::new(&others.iter().copied().chain([auth]).collect::<Vec<_>>())
    }

    /// A path in the mesh's temporary directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A channel as `from` to `to` at `address`. As it is, it carries end users' calls; see [`Self::call_as`] and
    /// [`MeshChannel::as_workload`].
    ///
    /// # Panics
    /// If the identity can't be made.
    #[must_use]
    pub fn channel(&self, from: Workload, to: Workload, address: SocketAddr) -> MeshChannel {
        let host = self.host();
        let identity = Identity::load(&self.identity(from), from, &host).unwrap();
        MeshChannel::new(identity, to, &address.to_string(), &host)
    }

    /// `channel` with `user`'s token for `audience` on each call, as the gateway forwards it.
    ///
    /// # Panics
    /// If the token can't be signed.
    #[must_use]
    pub fn call_as(&self, user: &TestUser, audience: Workload, channel: &MeshChannel) -> UserChannel {
        let bearer = format!("Bearer {}", self.token(user, audience, Duration::from_secs(240)));
        UserChannel { authorization: HeaderValue::from_str(&bearer).unwrap(), inner: channel.clone() }
    }

    /// A token for `user`, who just signed in by a password, that `audience` accepts from the gateway for `life` from now.
    ///
    /// # Panics
    /// If it can't be signed.
    #[must_use]
    pub fn token(&self, user: &TestUser, audience: Workload, life: Duration) -> String {
        self.token_held_by(&gateway(), user, audience, life)
    }

    /// The same for whoever has the SPIFFE id `holder`.
    ///
    /// # Panics
    /// If it can't be signed.
    #[must_use]
    pub fn token_held_by(&self, holder: &str, user: &TestUser, audience: Workload, life: Duration) -> String {
        let authenticated_at = self.clock.now();
        let assurance = Assurance { acr: Acr::Password, authenticated_at, has_second_factor: false };
        self.signed((holder, user), (audience, life), Some(assurance))
    }

    /// The same for the gateway, with what it says of how they signed in.
    ///
    /// # Panics
    /// If it can't be signed.
    #[must_use]
    pub fn token_saying(
        &self,
        user: &TestUser,
        audience: Workload,
        life: Duration,
        assurance: Option<Assurance>,
    ) -> String {
        self.signed((&gateway(), user), (audience, life), assurance)
    }

    fn signed(
        &self,
        (holder, user): (&str, &TestUser),
        (audience, life): (Workload, Duration),
        assurance: Option<Assurance>,
    ) -> String {
        let now = self.clock.now();
        let (client_id, scopes) = match &user.via {
            Via::FirstParty => (FIRST_PARTY.to_owned(), Vec::new()),
            Via::Client(id, scopes) | Via::Itself(id, scopes) => {
                (id.to_string(), scopes.iter().map(|scope| scope.name().parse().unwrap()).collect())
            }
        };
        let claims = AccessClaims {
            issuer: "https://portal.test".to_owned(),
            audience: audience.name().to_owned(),
            subject: user.account,
            subject_id: user.subject,
            client_id,
            session_id: user.session,
            roles: user.roles.iter().copied().collect(),
            scopes,
            assurance,
            issued_at: now,
            not_before: now,
            expires_at: now.plus(life),
            token_id: AccountId::generate(now, &SystemEntropy).to_string(),
            holder: Some(holder.to_owned()),
        };
        issue(&claims, &self.key, Suites::ALL).unwrap()
    }
}

/// The SPIFFE id of the gateway.
fn gateway() -> String {
    format!("spiffe://portal.test/{}", Workload::Gateway)
}

fn host(clock: Arc<dyn Clock>) -> Host {
    Host {
        clock,
        entropy: Arc::new(SystemEntropy),
        metrics: Metrics::default(),
        readiness: Readiness::default(),
    }
}

fn server_config() -> ServerConfig {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    ServerConfig { listen: any_port, admin_listen: any_port, drain_seconds: 60 }
}

fn identity_files(
    authority: &CertificateAuthority,
    directory: &TempDir,
    clock: &dyn Clock,
    workload: Workload,
) -> IdentityConfig {
    let issued = authority.issue(workload, portal_mesh::ca::MAX_LEAF_LIFE, clock, &SystemEntropy).unwrap();
    let unique = AccountId::generate(clock.now(), &SystemEntropy);
    let write = |name: &str, text: &str| {
        let path = directory.path().join(format!("{workload}-{unique}-{name}"));
        std::fs::write(&path, text).unwrap();
        path
    };
    IdentityConfig {
        trust_domain: "portal.test".to_owned(),
        certificate_file: write("tls.crt", &issued.certificate_pem),
        private_key_file: write("tls.key", &issued.private_key_pem),
        trust_bundle_file: write("ca.crt", authority.certificate_pem()),
    }
}

portal_mesh::actions! { "portal.auth.v1.TokenService" => GetKeySet }

static AUTH_POLICY: [Row; 1] = [Row::of::<GetKeySet>().read()];

struct AuthFixture(JsonWebKey);

#[async_trait]
impl TokenService for AuthFixture {
    async fn get_key_set(
        &self,
        _: tonic::Request<GetKeySetRequest>,
    ) -> Result<tonic::Response<KeySet>, Status> {
        Ok(tonic::Response::new(KeySet { keys: vec![self.0.clone()], max_age: None }))
    }
}

/// A channel whose calls carry one user's token.
#[derive(Clone)]
pub struct UserChannel {
    authorization: HeaderValue,
    inner: MeshChannel,
}

impl Service<Request<Body>> for UserChannel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.headers_mut().insert(header::AUTHORIZATION, self.authorization.clone());
        self.inner.call(request)
    }
}
