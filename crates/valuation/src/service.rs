//! The gRPC edge: parse, permit, use case, reply.

mod convert;
mod datasets;
mod operations;
mod pages;
pub mod policy;
pub mod status;
mod valuations;

use std::sync::Arc;

use portal_core::id::{Id, OperationId, TenantId};
use portal_core::{Invalid, Workload};
use portal_crypto::envelope::Scope;
use portal_crypto::hash::sha256;
use portal_crypto::page_token::PageTokenKey;
use portal_keys::{Ambient, Keys, KeysError, Replies};
use portal_mesh::policy::Action;
use portal_mesh::{Caller, Host, Identity, MeshChannel, MeshServer, Running, TokenVerifier, task};
use portal_proto::google::longrunning::operations_server::OperationsServer;
use portal_proto::valuation::v1::anonymisation_service_server::{
    AnonymisationService, AnonymisationServiceServer,
};
use portal_proto::valuation::v1::dataset_service_server::DatasetServiceServer;
use portal_proto::valuation::v1::integrity_service_server::{IntegrityService, IntegrityServiceServer};
use portal_proto::valuation::v1::key_service_server::{KeyService, KeyServiceServer};
use portal_proto::valuation::v1::ledger_service_server::{LedgerService, LedgerServiceServer};
use portal_proto::valuation::v1::migration_service_server::{MigrationService, MigrationServiceServer};
use portal_proto::valuation::v1::payout_service_server::{PayoutService, PayoutServiceServer};
use portal_proto::valuation::v1::valuation_service_server::ValuationServiceServer;
use portal_store::idempotency::Key;
use portal_store::sealed::{RowDigests, Sealing};
use portal_store::{Database, migrate};
use prost::Message;
use tonic::Status;
use tonic::service::Routes;

use crate::app::consent::Consent;
use crate::app::once::Once;
use crate::app::{App, Signals};
use crate::config::Config;
use crate::error::StartError;
use crate::metrics::Metrics;
use crate::migration::Migrations;
use crate::store::moving::{self, Crypto};
use crate::store::{Listed, Seals, scanned};
use crate::worker;
use pages::Pages;

/// The valuation service.
pub struct Service;

/// What every rpc needs. Clones share it.
#[derive(Clone)]
struct Edge {
    app: Arc<App>,
    pages: Arc<Pages>,
}

impl Service {
    /// Starts it: database up to date, worker running, calls answered.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(config: Config, host: Host) -> Result<Running, StartError> {
        let identity = Identity::load(&config.identity, Workload::Valuation, &host)?;
        let keys = open_keys(&config, &host).await?;
        let pages = Arc::new(Pages(PageTokenKey::new(keys.service_secret())));
        let channel = |to| -> Result<MeshChannel, StartError> {
            Ok(MeshChannel::new(Arc::clone(&identity), to, config.upstreams.address(to)?, &host))
        };
        let (auth, consent) = (channel(Workload::Auth)?, channel(Workload::Consent)?);
        let entropy = Arc::clone(&host.entropy);
        let store_metrics = host.metrics.shared(portal_store::Metrics::register);
        let sealing = Sealing::new(Arc::clone(&entropy), &store_metrics);
        let seals = Seals::new(sealing.clone(), RowDigests::new(keys.digest_key().clone(), &store_metrics));
        let database = Database::connect(&config.database, entropy, store_metrics).await?;
        migrate::up::<Migrations>(&database).await?;
        let upkeep =
            Upkeep::new(&config, &host, &database, &Crypto { seals: seals.clone(), keys: keys.clone() });
        // Before anything is written: in a new installation nothing ever stands in the clear.
        upkeep.migrations.settle().await?;
        let (signals, abandoned) = Signals::new();
        let app = Arc::new(App {
            database,
            clock: Arc::clone(&host.clock),
            entropy: Arc::clone(&host.entropy),
            consent: Consent::new(&consent),
            replies: Replies::new(&keys, sealing, Arc::clone(&host.entropy)),
            keys,
            seals,
            metrics: host.metrics.register(Metrics::register),
            signals,
        });
        let tokens = TokenVerifier::remote(&identity, &auth, &host);
        let edge = Edge { app: Arc::clone(&app), pages };
        let server = MeshServer { identity, policy: policy::TABLE, tokens, host };
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

/// What goes on beside the calls: data migrations and integrity scans.
struct Upkeep {
    migrations: portal_upkeep::migration::Migrations,
    scans: portal_upkeep::scan::Scans,
}

impl Upkeep {
    fn new(config: &Config, host: &Host, database: &Database, crypto: &Crypto) -> Self {
        let metrics = host.metrics.shared(portal_upkeep::Metrics::register);
        let host = portal_upkeep::Host {
            service: Workload::Valuation,
            database: database.clone(),
            clock: Arc::clone(&host.clock),
            entropy: Arc::clone(&host.entropy),
            metrics,
        };
        let (migrations, tables) = (moving::migrations(crypto), scanned::tables(crypto));
        Self {
            migrations: portal_upkeep::migration::Migrations::new(
                &host,
                config.migrations.clone(),
                migrations,
            ),
            scans: portal_upkeep::scan::Scans::new(&host, config.integrity.clone(), tables),
        }
    }

    fn run(self, running: &mut Running) {
        let Self { migrations, scans } = self;
        let (stop_migrations, stop_scans) = (running.drain(), running.drain());
        let migrate = async move { migrations.run(stop_migrations.started()).await };
        running.own(task::spawn("valuation-migrations", migrate));
        let scan = async move { scans.run(stop_scans.started()).await };
        running.own(task::spawn("valuation-scans", scan));
    }
}

async fn open_keys(config: &Config, host: &Host) -> Result<Keys, KeysError> {
    let store_metrics = host.metrics.shared(portal_store::Metrics::register);
    let metrics = host.metrics.shared(|registry| portal_keys::Metrics::register(registry, store_metrics));
    let scope = Scope { service: Workload::Valuation, tenant: TenantId::DEFAULT };
    let (clock, entropy) = (Arc::clone(&host.clock), Arc::clone(&host.entropy));
    Keys::open(&config.keys, scope, Ambient { clock, entropy, metrics }).await
}

fn routes(edge: &Edge) -> Routes {
    let datasets = DatasetServiceServer::new(edge.clone()).max_decoding_message_size(policy::MAX_BATCH_BYTES);
    Routes::new(datasets)
        .add_service(ValuationServiceServer::new(edge.clone()))
        .add_service(OperationsServer::new(edge.clone()))
        .add_service(AnonymisationServiceServer::new(Later))
        .add_service(IntegrityServiceServer::new(Later))
        .add_service(KeyServiceServer::new(Later))
        .add_service(LedgerServiceServer::new(Later))
        .add_service(MigrationServiceServer::new(Later))
        .add_service(PayoutServiceServer::new(Later))
}

/// Services that are not there yet: each method answers UNIMPLEMENTED to those its policy lets in.
struct Later;

impl AnonymisationService for Later {}
impl IntegrityService for Later {}
impl KeyService for Later {}
impl LedgerService for Later {}
impl MigrationService for Later {}
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
    Ok(Once { key: Some((key, sha256(&request.encode_to_vec()))), encode })
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
