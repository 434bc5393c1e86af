//! A running auth and the gateway's way to it.

use std::num::NonZeroU32;
use std::time::Duration;

use portal_auth::{
    Config, OAuthConfig, OperatorConfig, PasskeyConfig, PasswordConfig, Service, TokenConfig, TotpConfig,
    Upkeep,
};
use portal_core::Workload;
use portal_core::id::{Id, SubjectId, TenantId};
use portal_crypto::envelope::Scope;
use portal_keys::config::ProviderConfig;
use portal_keys::{Ambient, Keys};
use portal_mesh::config::{TelemetryConfig, UpstreamsConfig};
use portal_mesh::status::reason_of;
use portal_mesh::{MeshChannel, Running};
use portal_proto::auth::v1 as pb;
use portal_proto::auth::v1::account_service_client::AccountServiceClient;
use portal_proto::auth::v1::create_session_response::Result as SignIn;
use portal_proto::auth::v1::session_service_client::SessionServiceClient;
use portal_proto::auth::v1::token_service_client::TokenServiceClient;
use portal_proto::google::rpc;
use portal_testkit::{TestDatabase, TestMesh};
use portal_upkeep::{IntegrityConfig, MigrationConfig};
use prost::Message;
use tonic::{Code, Request, Status};

pub const OPERATOR: &str = "operator@portal.test";
pub const OPERATOR_PASSWORD: &str = "operator's password";
pub const ORIGIN: &str = "https://portal.test";
pub const PASSWORD: &str = "it's; a \" AND 1=1 -- 🔑 password";

pub struct Auth {
    pub mesh: TestMesh,
    pub config: Config,
    running: Running,
    channel: MeshChannel,
}

impl Auth {
    pub async fn start(database: &TestDatabase) -> Self {
        let mesh = TestMesh::start().await;
        let config = config(&mesh, database).await;
        Self::with(mesh, config).await
    }

    /// One with this configuration.
    pub async fn with(mesh: TestMesh, config: Config) -> Self {
        let running = Service::start(config.clone(), mesh.host()).await.unwrap();
        let channel = mesh.channel(Workload::Gateway, Workload::Auth, running.local_addr());
        Self { mesh, config, running, channel }
    }

    /// The same service on the same database, after this one has stopped.
    pub async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The same with another configuration.
    pub async fn restart_with(self, change: impl FnOnce(&mut Config)) -> Self {
        let Self { mesh, mut config, running, .. } = self;
        running.stop().await;
        change(&mut config);
        Self::with(mesh, config).await
    }

    /// Stops it: what it takes to start it again.
    pub async fn stop(self) -> (TestMesh, Config) {
        let Self { mesh, config, running, .. } = self;
        running.stop().await;
        (mesh, config)
    }

    /// The keys, as another process of the service has them.
    pub async fn keys(&self) -> Keys {
        let host = self.mesh.host();
        let ambient = Ambient { clock: host.clock, entropy: host.entropy, metrics: Default::default() };
        let scope = Scope { service: Workload::Auth, tenant: TenantId::DEFAULT };
        Keys::open(&self.config.keys, scope, ambient).await.unwrap()
    }

    /// Data and keys, as a command opens them beside the service.
    pub async fn upkeep(&self) -> Upkeep {
        Upkeep::open(&self.config, &self.mesh.host()).await.unwrap()
    }

    /// Takes the file of the root keys away, or puts it back.
    pub fn root_keys_are_there(&self, there: bool) {
        let ProviderConfig::File { root_key_file, .. } = &self.config.keys.provider else {
            panic!("no file")
        };
        let hidden = root_key_file.with_extension("hidden");
        let (from, to) = if there { (&hidden, root_key_file) } else { (root_key_file, &hidden) };
        std::fs::rename(from, to).unwrap();
    }

    /// A channel to a second replica on the same database.
    pub async fn replica(&self) -> (Running, MeshChannel) {
        let running = Service::start(self.config.clone(), self.mesh.host()).await.unwrap();
        let channel = self.mesh.channel(Workload::Gateway, Workload::Auth, running.local_addr());
        (running, channel)
    }

    pub fn channel_from(&self, workload: Workload) -> MeshChannel {
        self.mesh.channel(workload, Workload::Auth, self.running.local_addr())
    }

    /// The gateway's channel.
    pub fn channel(&self) -> MeshChannel {
        self.channel.clone()
    }

    pub fn advance(&self, seconds: u64) {
        self.mesh.clock.advance(Duration::from_secs(seconds));
    }

    pub fn accounts(&self) -> AccountServiceClient<MeshChannel> {
        AccountServiceClient::new(self.channel.clone())
    }

    pub fn sessions(&self) -> SessionServiceClient<MeshChannel> {
        SessionServiceClient::new(self.channel.clone())
    }

    /// Token calls of the gateway on its own behalf.
    pub fn tokens(&self) -> TokenServiceClient<MeshChannel> {
        TokenServiceClient::new(self.channel.as_workload())
    }

    pub async fn sign_up(&self, email: &str) -> pb::Account {
        self.accounts().create_account(new_account(email, PASSWORD)).await.unwrap().into_inner()
    }

    pub async fn try_sign_in(&self, email: &str, password: &str) -> Result<pb::Session, Status> {
        let reply = self.sessions().create_session(sign_in(email, password, false)).await?.into_inner();
        Ok(session_of(reply))
    }

    pub async fn sign_in(&self, email: &str) -> pb::Session {
        self.try_sign_in(email, PASSWORD).await.unwrap()
    }

    /// A new account and its first session.
    pub async fn person(&self, email: &str) -> (pb::Account, pb::Session) {
        (self.sign_up(email).await, self.sign_in(email).await)
    }

    pub async fn operator(&self) -> pb::Session {
        self.try_sign_in(OPERATOR, OPERATOR_PASSWORD).await.unwrap()
    }

    /// The account, as the operator reads it.
    pub async fn get(&self, operator: &pb::Session, account_id: &str) -> Result<pb::Account, Status> {
        let request = pb::GetAccountRequest { account_id: account_id.to_owned() };
        Ok(self.accounts().get_account(self.by(operator, request).await).await?.into_inner())
    }

    /// Whoever has an account, by e-mail address, as the operator reads it; and how many accounts were withheld.
    pub async fn listed(&self, operator: &pb::Session) -> (Vec<pb::Account>, usize) {
        let request = self.by(operator, pb::ListAccountsRequest::default()).await;
        let reply = self.accounts().list_accounts(request).await.unwrap();
        let withheld = withheld(&reply);
        let mut accounts = reply.into_inner().accounts;
        accounts.sort_by(|one, other| one.email.cmp(&other.email));
        (accounts, withheld)
    }

    /// The live sessions of whoever holds `session`, and how many were withheld.
    pub async fn sessions_of(&self, session: &pb::Session) -> Result<(Vec<pb::Session>, usize), Status> {
        let request =
            pb::ListSessionsRequest { account_id: session.account_id.clone(), ..Default::default() };
        let reply = self.sessions().list_sessions(self.by(session, request).await).await?;
        let withheld = withheld(&reply);
        Ok((reply.into_inner().sessions, withheld))
    }

    pub async fn refresh(&self, session: &pb::Session) -> Result<pb::Session, Status> {
        let request = pb::RefreshSessionRequest { refresh_token: session.refresh_token.clone() };
        Ok(self.sessions().refresh_session(request).await?.into_inner())
    }

    pub async fn exchange(&self, access: &str, audience: &str) -> Result<pb::ExchangeTokenResponse, Status> {
        let request = pb::ExchangeTokenRequest {
            access_token: access.to_owned(),
            audience: audience.to_owned(),
            ..Default::default()
        };
        Ok(self.tokens().exchange_token(request).await?.into_inner())
    }

    /// `message` as the gateway sends it for whoever holds `session`.
    pub async fn by<T>(&self, session: &pb::Session, message: T) -> Request<T> {
        let token = self.exchange(&session.access_token, "auth").await.unwrap().token;
        with_token(&token, message)
    }
}

pub async fn config(mesh: &TestMesh, database: &TestDatabase) -> Config {
    let password_file = mesh.path("operator-password");
    std::fs::write(&password_file, format!("{OPERATOR_PASSWORD}\n")).unwrap();
    Config {
        server: mesh.server(),
        identity: mesh.identity(Workload::Auth),
        database: database.config(),
        keys: database.keys("auth").await,
        integrity: IntegrityConfig::on_demand(),
        migrations: MigrationConfig::alone(),
        passwords: unlimited(),
        oauth: unlimited_applications(),
        mail: None,
        tokens: TokenConfig::default(),
        totp: TotpConfig::default(),
        passkeys: Some(PasskeyConfig {
            rp_id: "portal.test".to_owned(),
            rp_name: "Portal of the test".to_owned(),
            origins: vec![ORIGIN.to_owned(), "https://other.portal.test".to_owned()],
            any_port: false,
        }),
        authorization: Default::default(),
        telemetry: TelemetryConfig::default(),
        operator: Some(OperatorConfig { email: OPERATOR.to_owned(), password_file }),
        upstreams: UpstreamsConfig::default(),
    }
}

/// As many attempts as a test likes, at whatever time its clock shows.
fn unlimited() -> PasswordConfig {
    let many = NonZeroU32::new(1_000_000).unwrap();
    PasswordConfig {
        account_per_minute: many,
        client_per_minute: many,
        per_second: Some(many),
        ..PasswordConfig::default()
    }
}

fn unlimited_applications() -> OAuthConfig {
    let many = NonZeroU32::new(1_000_000).unwrap();
    OAuthConfig {
        questions_per_minute: many,
        grants_per_minute: many,
        user_codes_per_minute: many,
        ..OAuthConfig::default()
    }
}

pub fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

pub fn new_account(email: &str, password: &str) -> pb::CreateAccountRequest {
    pb::CreateAccountRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        display_name: "Anna Ω".to_owned(),
        request_id: String::new(),
    }
}

pub fn sign_in(email: &str, password: &str, remember_me: bool) -> pb::CreateSessionRequest {
    pb::CreateSessionRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        remember_me,
        device_name: "Anna's laptop".to_owned(),
        raise_session: false,
    }
}

pub fn session_of(reply: pb::CreateSessionResponse) -> pb::Session {
    match reply.result {
        Some(SignIn::Session(session)) => session,
        other => panic!("not a session: {other:?}"),
    }
}

pub fn subject(id: &str) -> SubjectId {
    SubjectId::from_uuid(uuid::Uuid::parse_str(id).unwrap())
}

/// How many rows were left out of a list.
fn withheld<T>(reply: &tonic::Response<T>) -> usize {
    reply.metadata().get("portal-rows-withheld").map_or(0, |rows| rows.to_str().unwrap().parse().unwrap())
}

/// After how many seconds to try again, as the error tells.
pub fn retry_seconds(status: &Status) -> u64 {
    let details = rpc::Status::decode(status.details()).unwrap().details;
    let retry = details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo")).unwrap();
    let delay = rpc::RetryInfo::decode(retry.value.as_slice()).unwrap().retry_delay.unwrap();
    u64::try_from(delay.seconds).unwrap()
}

#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, reason: &str) {
    let status = result.unwrap_err();
    assert_eq!((status.code(), reason_of(&status).as_deref()), (code, Some(reason)), "{status:?}");
}
