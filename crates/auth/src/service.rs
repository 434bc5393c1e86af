//! The gRPC edge: parse, permit, use case, reply. No rule and no SQL.

pub mod policy;

mod accounts;
mod audit;
mod clients;
mod convert;
mod factors;
mod keys;
mod oauth;
mod ocsf;
mod sessions;
mod status;
mod tokens;

use std::sync::Arc;

use portal_core::{Invalid, Workload};
use portal_crypto::page_token::PageTokenKey;
use portal_keys::KeysError;
use portal_mesh::config::{ConfigError, read};
use portal_mesh::identity::IdentityError;
use portal_mesh::policy::Action;
use portal_mesh::server::ServeError;
use portal_mesh::token::KeySource;
use portal_mesh::{Authorization, Caller, Host, Identity, MeshServer, Running, TokenVerifier, task};
use portal_proto::auth::v1 as pb;
use portal_store::ConnectError;
use portal_store::idempotency::Key;
use portal_store::migrate::MigrateError;
use portal_upkeep::migration::MigrationError;
use portal_upkeep::rpc::Operators;
use prost::Message;
use tonic::service::Routes;
use tonic::{Response, Status};

use crate::app::mailer::Mailer;
use crate::app::{App, Change, Reply, feed, herald, post, signing};
use crate::config::{Config, OperatorConfig};
use crate::domain::{Email, NewPassword};
use crate::error::Error;
use crate::upkeep::Upkeep;
use crate::worker;

use convert::RequestId;
pub use status::REASONS;

/// Largest request message; the policy's rows may ask for less.
const MAX_REQUEST_BYTES: usize = 256 * 1_024;

/// The service can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong, or a file of it can't be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database can't be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The certificate can't be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The state of the data migrations could not be read.
    #[error("the state of the data migrations could not be read")]
    DataMigrations(#[from] MigrationError),
    /// The keys can't be had.
    #[error("the keys could not be opened")]
    Keys(#[from] KeysError),
    /// The schema could not be migrated.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The first operator could not be created.
    #[error("the first operator could not be created")]
    Operator(#[source] Error),
    /// The address can't be bound.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The keys that sign tokens could not be had.
    #[error("the keys that sign tokens could not be had")]
    SigningKeys(#[source] Error),
}

/// The authentication service.
pub struct Service;

impl Service {
    /// Opens the keys, connects, migrates, creates the first operator if one is configured, and serves.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(config: Config, host: Host) -> Result<Running, StartError> {
        let authorization = Authorization::load(&config.authorization, &host.metrics)?;
        let identity = Identity::load(&config.identity, Workload::Auth, &host)?;
        let rules = config.rules()?;
        let operator = config.operator.as_ref().map(operator).transpose()?;
        let mailer = config.mail.as_ref().map(Mailer::new).transpose()?;
        let outbound = config.oauth.outbound(&host.clock)?;
        let upkeep = Upkeep::open(&config, &host).await?;
        let trust_domain = identity.trust_domain().clone();
        let app = Arc::new(App::new(&upkeep, trust_domain, (rules, mailer, outbound), &host));
        app.keep_signing_keys().await.map_err(StartError::SigningKeys)?;
        if let Some((email, password)) = operator {
            app.ensure_operator(email, password).await.map_err(StartError::Operator)?;
        }
        let own: Arc<dyn KeySource> = Arc::<App>::clone(&app);
        let tokens = TokenVerifier::of_issuer(&identity, own, app.keys.suites(), &host);
        let page_tokens = PageTokenKey::new(app.keys.service_secret());
        let operators = upkeep.operators(app.replies(), Arc::<App>::clone(&app));
        let routes = routes(&Api { app: Arc::clone(&app), page_tokens, operators });
        let server = MeshServer { identity, policy: policy::TABLE, authorization, tokens, host };
        let mut running = server.start(&config.server, routes).await?;
        running.own(task::spawn("auth-feed", feed::run(Arc::clone(&app), running.drain())));
        running.own(task::spawn("auth-signing-keys", signing::run(Arc::clone(&app), running.drain())));
        running.own(task::spawn("auth-worker", worker::run(Arc::clone(&app), running.drain())));
        running.own(task::spawn("auth-post", post::run(Arc::clone(&app), running.drain())));
        running.own(task::spawn("auth-herald", herald::run(Arc::clone(&app), running.drain())));
        upkeep.run(&mut running);
        Ok(running)
    }
}

fn operator(config: &OperatorConfig) -> Result<(Email, NewPassword), ConfigError> {
    let invalid = |key, problem: String| ConfigError::Invalid { key, problem };
    let email = Email::parse(&config.email).map_err(|error| invalid("operator.email", error.to_string()))?;
    let mut password = read(&config.password_file)?;
    let kept = password.trim_end_matches(['\r', '\n']).len();
    password.truncate(kept);
    let password =
        NewPassword::parse(password).map_err(|error| invalid("operator.password_file", error.to_string()))?;
    Ok((email, password))
}

macro_rules! bounded {
    ($server:ident :: $type:ident, $api:expr) => {
        pb::$server::$type::new($api).max_decoding_message_size(MAX_REQUEST_BYTES)
    };
}

fn routes(api: &Api) -> Routes {
    Routes::new(bounded!(account_service_server::AccountServiceServer, api.clone()))
        .add_service(bounded!(audit_service_server::AuditServiceServer, api.clone()))
        .add_service(bounded!(client_service_server::ClientServiceServer, api.clone()))
        .add_service(bounded!(integrity_service_server::IntegrityServiceServer, api.clone()))
        .add_service(bounded!(key_service_server::KeyServiceServer, api.clone()))
        .add_service(bounded!(ledger_service_server::LedgerServiceServer, api.clone()))
        .add_service(bounded!(mfa_service_server::MfaServiceServer, api.clone()))
        .add_service(bounded!(migration_service_server::MigrationServiceServer, api.clone()))
        .add_service(bounded!(o_auth_service_server::OAuthServiceServer, api.clone()))
        .add_service(bounded!(session_service_server::SessionServiceServer, api.clone()))
        .add_service(bounded!(token_service_server::TokenServiceServer, api.clone()))
}

/// The handlers.
#[derive(Clone)]
struct Api {
    app: Arc<App>,
    page_tokens: PageTokenKey,
    operators: Operators,
}

portal_upkeep::serve_operators!(portal_proto::auth::v1, policy, Api.operators);
portal_upkeep::serve_ledger!(portal_proto::auth::v1, policy, Api.operators);

impl Api {
    /// A change that `caller` asks for now by `request`, which must not hold a secret.
    fn change<A: Action, T>(
        &self,
        caller: &Caller,
        id: RequestId,
        request: &impl Message,
        encode: fn(&T, portal_core::Timestamp) -> Vec<u8>,
    ) -> Change<T> {
        let key = id.0.map(|request_id| Key { caller: caller.key(), method: A::METHOD, request_id });
        let fingerprint = |key| (key, self.app.request_fingerprint(&request.encode_to_vec()));
        Change { now: self.app.now(), request: key.map(fingerprint), encode }
    }

    /// What makes a page token good for this method, caller and filters only.
    fn page_scope<A: Action>(caller: &Caller, filters: &impl Message) -> Vec<u8> {
        let parts =
            [A::METHOD.as_bytes(), caller.key().as_bytes(), &filters.encode_to_vec()].map(<[u8]>::to_vec);
        parts.join(&0)
    }

    /// The place that a page token stands for; `None` for the first page.
    fn open_page(&self, scope: &[u8], token: &str) -> Result<Option<Vec<u8>>, Status> {
        if token.is_empty() {
            return Ok(None);
        }
        let opened = self.page_tokens.open(scope, token);
        opened.map(Some).map_err(|error| invalid(Invalid::field("page_token", error)))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn invalid(invalid: Invalid) -> Status {
    portal_mesh::status::invalid(&invalid)
}

/// The reply to a change, first or repeated.
fn answer<T, M: Message + Default>(
    reply: Reply<T>,
    convert: impl Fn(&T) -> M,
) -> Result<Response<M>, Status> {
    let message = match reply {
        Reply::First(value) => convert(&value),
        Reply::Again(bytes) => M::decode(bytes.as_slice()).map_err(|error| {
            tracing::error!(%error, "a remembered reply can't be read");
            portal_mesh::status::reason::INTERNAL.status()
        })?,
    };
    Ok(Response::new(message))
}
