//! The gRPC edge: parse, permit, use case, reply.

mod convert;
mod datasets;
mod operations;
mod pages;
pub mod policy;
pub mod status;
mod valuations;

use std::sync::Arc;

use portal_core::id::{Id, OperationId};
use portal_core::{Invalid, Workload};
use portal_crypto::page_token::PageTokenKey;
use portal_keys::{Replies, RequestHashes};
use portal_mesh::policy::Action;
use portal_mesh::{
    Authorization, Caller, Host, Identity, MeshChannel, MeshServer, Running, TokenVerifier, task,
};
use portal_proto::google::longrunning::operations_server::OperationsServer;
use portal_proto::valuation::v1::anonymisation_service_server::{
    AnonymisationService, AnonymisationServiceServer,
};
use portal_proto::valuation::v1::dataset_service_server::DatasetServiceServer;
use portal_proto::valuation::v1::integrity_service_server::IntegrityServiceServer;
use portal_proto::valuation::v1::key_service_server::KeyServiceServer;
use portal_proto::valuation::v1::ledger_service_server::LedgerServiceServer;
use portal_proto::valuation::v1::migration_service_server::MigrationServiceServer;
use portal_proto::valuation::v1::payout_service_server::{PayoutService, PayoutServiceServer};
use portal_proto::valuation::v1::valuation_service_server::ValuationServiceServer;
use portal_store::idempotency::Key;
use portal_upkeep::rpc::Operators;
use prost::Message;
use tonic::Status;
use tonic::service::Routes;

use crate::app::consent::Consent;
use crate::app::once::Once;
use crate::app::{App, Signals};
use crate::config::Config;
use crate::error::StartError;
use crate::metrics::Metrics;
use crate::store::Listed;
use crate::upkeep::Upkeep;
use crate::worker;
use pages::Pages;

/// The valuation service.
pub struct Service;

/// What every rpc needs. Clones share it.
#[derive(Clone)]
struct Edge {
    app: Arc<App>,
    pages: Arc<Pages>,
    operators: Operators,
}

portal_upkeep::serve_operators!(portal_proto::valuation::v1, policy, Edge.operators);
portal_upkeep::serve_ledger!(portal_proto::valuation::v1, policy, Edge.operators);

impl Service {
    /// Starts it: database up to date, worker running, calls answered.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(config: Config, host: Host) -> Result<Running, StartError> {
        let authorization = Authorization::load(&config.authorization, &host.metrics)?;
        let identity = Identity::load(&config.identity, Workload::Valuation, &host)?;
        let upkeep = Upkeep::open(&config, &host).await?;
        let keys = &upkeep.keys;
        let pages = Arc::new(Pages(PageTokenKey::new(keys.service_secret())));
        let channel = |to| -> Result<MeshChannel, StartError> {
            Ok(MeshChannel::new(Arc::clone(&identity), to, config.upstreams.address(to)?, &host))
        };
        let (auth, consent) = (channel(Workload::Auth)?, channel(Workload::Consent)?);
        let (signals, abandoned) = Signals::new();
        let replies = Replies::new(keys, upkeep.sealing.clone(), Arc::clone(&host.entropy));
        let operators = upkeep.operators(&replies);
        let app = Arc::new(App {
            database: upkeep.database.clone(),
            audit: upkeep.audit.clone(),
            clock: Arc::clone(&host.clock),
            entropy: Arc::clone(&host.entropy),
            consent: Consent::new(&consent),
            replies,
            requests: RequestHashes::new(keys.service_secret()),
            keys: keys.clone(),
            seals: upkeep.seals.clone(),
            metrics: host.metrics.register(Metrics::register),
            signals,
        });
        let tokens = TokenVerifier::remote(&identity, &auth, keys.suites(), &host);
        let edge = Edge { app: Arc::clone(&app), pages, operators };
        let server = MeshServer { identity, policy: policy::TABLE, authorization, tokens, host };
        let mut running = server.start(&config.server, routes(&edge)).await?;
        let patience = config.jobs.consent_patience();
        let work = worker::run(Arc::clone(&app), patience, running.drain());
        running.own(task::spawn("valuation-worker", work));
        let sweep = worker::sweep(app, abandoned, running.drain());
        running.own(task::spawn("valuation-sweeper", sweep));
        upkeep.run(&mut running);
        Ok(running)
    }
}

fn routes(edge: &Edge) -> Routes {
    let datasets = DatasetServiceServer::new(edge.clone()).max_decoding_message_size(policy::MAX_BATCH_BYTES);
    Routes::new(datasets)
        .add_service(ValuationServiceServer::new(edge.clone()))
        .add_service(OperationsServer::new(edge.clone()))
        .add_service(AnonymisationServiceServer::new(Later))
        .add_service(IntegrityServiceServer::new(edge.clone()))
        .add_service(KeyServiceServer::new(edge.clone()))
        .add_service(LedgerServiceServer::new(edge.clone()))
        .add_service(MigrationServiceServer::new(edge.clone()))
        .add_service(PayoutServiceServer::new(Later))
}

/// Services that are not there yet: each method answers UNIMPLEMENTED to those its policy lets in.
struct Later;

impl AnonymisationService for Later {}
impl PayoutService for Later {}

/// A request that takes effect once per `request_id`.
fn once<A: Action, T>(
    caller: &Caller,
    request: &impl Message,
    request_id: &str,
    encode: fn(&T) -> Vec<u8>,
) -> Result<Once<T>, Status> {
    if request_id.is_empty() {
        return Ok(Once { key: None, encode });
    }
    let id = OperationId::parse(request_id).map_err(|error| refused(Invalid::field("request_id", error)))?;
    let key = Key { caller: caller.key(), method: A::METHOD, request_id: id.to_string() };
    Ok(Once { key: Some((key, request.encode_to_vec())), encode })
}

/// A reply as it was kept.
fn reply<T: Message + Default>(kept: &[u8]) -> Result<tonic::Response<T>, Status> {
    let message = T::decode(kept).map_err(|error| {
        tracing::error!(%error, "a kept reply can't be read");
        portal_mesh::status::reason::INTERNAL.status()
    })?;
    Ok(tonic::Response::new(message))
}

/// What a list shows, and how many rows of it are left out.
fn shown<P, T, M>(found: &[Listed<P, T>], write: impl Fn(&T) -> M) -> (Vec<M>, usize) {
    let shown: Vec<M> = found.iter().filter_map(|(_, row)| row.as_ref()).map(write).collect();
    let left_out = found.len() - shown.len();
    (shown, left_out)
}

/// What is wrong with a request, as a status.
fn refused(invalid: Invalid) -> Status {
    crate::error::Error::Invalid(invalid).into()
}
