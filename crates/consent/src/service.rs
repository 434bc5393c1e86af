//! The gRPC edge: one thin function per rpc: parse → permit → use case → reply. No SQL and no rule.

use std::sync::Arc;

use portal_core::{Invalid, Role, Workload};
use portal_crypto::page_token::PageTokenKey;
use portal_keys::{Replies, RequestHashes};
use portal_mesh::status::{invalid, reason};
use portal_mesh::{
    Authorization, Caller, Host, Identity, MeshChannel, MeshServer, Running, TokenVerifier, task,
};
use portal_proto::consent::v1 as pb;
use portal_upkeep::rpc::Operators;
use prost::Message;
use tonic::service::Routes;
use tonic::{Response, Status};

use crate::app::following::{self, Live};
use crate::app::{Answer, App};
use crate::config::Config;
use crate::error::StartError;
use crate::metrics::Metrics;
use crate::upkeep::Upkeep;
use crate::worker;

pub mod policy;
pub mod status;

mod changes;
mod consents;
mod convert;
mod decisions;
mod notices;
mod purposes;
mod receipts;
mod subjects;

/// The consent service.
pub struct Service;

impl Service {
    /// Opens the database, brings its schema up to date and serves the package's services until stopped.
    ///
    /// # Errors
    /// [`StartError`] if the configuration, the database, the certificate or the address can't be used.
    pub async fn start(config: Config, host: Host) -> Result<Running, StartError> {
        let authorization = Authorization::load(&config.authorization, &host.metrics)?;
        let identity = Identity::load(&config.identity, Workload::Consent, &host)?;
        let organisation = config.organisation()?;
        let renewal = config.renewal.term()?;
        let auth_address = config.upstreams.address(Workload::Auth)?;
        let auth = MeshChannel::new(Arc::clone(&identity), Workload::Auth, auth_address, &host);
        let upkeep = Upkeep::open(&config, &host).await?;
        let keys = &upkeep.keys;
        let page_tokens = PageTokenKey::new(keys.service_secret());
        let replies = Replies::new(keys, upkeep.sealing.clone(), Arc::clone(&host.entropy));
        let operators = upkeep.operators(&replies);
        let app = Arc::new(App {
            database: upkeep.database.clone(),
            replies,
            requests: RequestHashes::new(keys.service_secret()),
            keys: keys.clone(),
            seals: upkeep.seals.clone(),
            clock: Arc::clone(&host.clock),
            entropy: Arc::clone(&host.entropy),
            metrics: host.metrics.register(Metrics::register),
            log: upkeep.log.clone(),
            revisions: Default::default(),
            live: Live::new(config.decisions.source, Arc::clone(&host.clock)),
            organisation,
            renewal,
            together: Default::default(),
        });
        let edge = Edge { app: Arc::clone(&app), page_tokens, operators };
        let tokens = TokenVerifier::remote(&identity, &auth, keys.suites(), &host);
        let server = MeshServer { identity, policy: policy::TABLE, authorization, tokens, host };
        let mut running = server.start(&config.server, edge.routes()).await?;
        let ending = worker::end_consents(Arc::clone(&app), running.drain());
        running.own(task::spawn("consent-expiry", ending));
        let following = following::follow(Arc::clone(&app), running.drain());
        running.own(task::spawn("consent-follow-ledger", following));
        let purging = worker::purge_replies(app, running.drain());
        running.own(task::spawn("consent-purge-replies", purging));
        upkeep.run(&mut running);
        Ok(running)
    }
}

/// What every rpc of the package is answered from.
#[derive(Clone)]
struct Edge {
    app: Arc<App>,
    page_tokens: PageTokenKey,
    operators: Operators,
}

portal_upkeep::serve_operators!(portal_proto::consent::v1, policy, Edge.operators);
portal_upkeep::serve_ledger!(portal_proto::consent::v1, policy, Edge.operators);

impl Edge {
    /// A server for each service of the package. The policy bounds messages per method; tonic's own bound is the largest.
    fn routes(self) -> Routes {
        use policy::{LARGE, LARGEST};
        Routes::new(pb::purpose_service_server::PurposeServiceServer::new(self.clone()))
            .add_service(
                pb::notice_service_server::NoticeServiceServer::new(self.clone())
                    .max_decoding_message_size(LARGE),
            )
            .add_service(
                pb::consent_service_server::ConsentServiceServer::new(self.clone())
                    .max_decoding_message_size(LARGEST),
            )
            .add_service(
                pb::decision_service_server::DecisionServiceServer::new(self.clone())
                    .max_decoding_message_size(LARGE),
            )
            .add_service(pb::consent_change_service_server::ConsentChangeServiceServer::new(self.clone()))
            .add_service(pb::receipt_service_server::ReceiptServiceServer::new(self.clone()))
            .add_service(pb::subject_service_server::SubjectServiceServer::new(self.clone()))
            .add_service(pb::ledger_service_server::LedgerServiceServer::new(self.clone()))
            .add_service(pb::integrity_service_server::IntegrityServiceServer::new(self.clone()))
            .add_service(pb::key_service_server::KeyServiceServer::new(self.clone()))
            .add_service(pb::migration_service_server::MigrationServiceServer::new(self))
    }
}

/// The status of a request that can't be taken.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(violations: Invalid) -> Status {
    invalid(&violations)
}

/// The reply to a change: new, or as it was kept.
fn respond<T, M: Message + Default>(
    answer: Answer<T>,
    message: impl FnOnce(&T) -> M,
) -> Result<Response<M>, Status> {
    match answer {
        Answer::Fresh(value) => Ok(Response::new(message(&value))),
        Answer::Replayed(reply) => kept(&reply).map(Response::new),
    }
}

/// What a kept reply says.
fn kept<M: Message + Default>(reply: &[u8]) -> Result<M, Status> {
    M::decode(reply).map_err(|error| {
        tracing::error!(%error, "a kept reply can't be read");
        reason::INTERNAL.status()
    })
}

/// Whether the caller works on purposes and notices, rather than only reading what is in force.
fn sees_drafts(caller: &Caller) -> bool {
    has_role(caller, Role::Controller) || has_role(caller, Role::Officer)
}

fn has_role(caller: &Caller, role: Role) -> bool {
    caller.user().is_some_and(|user| user.roles.contains(&role))
}
