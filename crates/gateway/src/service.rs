//! Starts the gateway and what it keeps running beside the connections.

use std::sync::Arc;

use portal_core::Workload;
use portal_mesh::config::ConfigError;
use portal_mesh::edge::{EdgeTls, EdgeTlsError};
use portal_mesh::identity::IdentityError;
use portal_mesh::{Drain, Host, Identity, MeshChannel, Running, task};
use prost_reflect::DescriptorPool;
use tokio::net::TcpListener;

use crate::client::TrustedProxies;
use crate::cors::{Cors, InvalidOrigin};
use crate::forward::Upstreams;
use crate::json::Transcoder;
use crate::json::template::InvalidTemplate;
use crate::local::{self, LocalError};
use crate::mailbox::{Mailbox, UnusableKey};
use crate::metrics::GatewayMetrics;
use crate::oauth::{InvalidPublicUrl, PublicUrl};
use crate::proof::Proofs;
use crate::route::Gateway;
use crate::tokens::Tokens;
use crate::{Config, edge, forward};

/// The gateway can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can't be bound.
    #[error("can't listen on {address}")]
    Bind {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificates for clients can't be used.
    #[error(transparent)]
    EdgeTls(#[from] EdgeTlsError),
    /// The protos that the gateway was built with can't be read.
    #[error("the descriptors of the protos can't be read")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// The workload certificate can't be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Health or reflection can't be set up.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// There is an `edge.mailbox`, and others than the machine itself could read it.
    #[error(
        "edge.mailbox: only for a gateway that listens on loopback; leave it out, or listen on 127.0.0.1"
    )]
    Mailbox,
    /// The key of the mailbox can't be used.
    #[error("edge.mailbox.key_file")]
    MailboxKey(#[from] UnusableKey),
    /// An origin of `edge.cors_origins` is not one.
    #[error("edge.cors_origins")]
    Origin(#[from] InvalidOrigin),
    /// `edge.public_url` is not one.
    #[error("edge.public_url")]
    PublicUrl(#[from] InvalidPublicUrl),
    /// A `google.api.http` rule can't be served.
    #[error("the http rule of {method}")]
    Rule {
        /// The method.
        method: String,
        /// Why.
        #[source]
        source: InvalidTemplate,
    },
}

/// The gateway.
#[derive(Clone, Copy, Debug)]
pub struct Service;

impl Service {
    /// Starts it; it serves until [`Running::stop`].
    ///
    /// # Errors
    /// [`StartError`]; nothing was bound then, or no longer is.
    pub async fn start(config: Config, host: Host) -> Result<Running, StartError> {
        let identity = Identity::load(&config.identity, Workload::Gateway, &host)?;
        let tls = config.edge_tls.as_ref().map(|files| EdgeTls::load(files, &host)).transpose()?;
        let channel = |to: Workload| {
            let address = config.upstreams.address(to)?;
            Ok::<_, StartError>(MeshChannel::new(Arc::clone(&identity), to, address, &host))
        };
        let (auth, consent, valuation) =
            (channel(Workload::Auth)?, channel(Workload::Consent)?, channel(Workload::Valuation)?);
        let pool = DescriptorPool::decode(portal_proto::DESCRIPTORS)?;
        let (routes, health) = local::services()?;
        let cors = Cors::new(&config.edge.cors_origins)?;
        let json = Transcoder::new(pool.clone())?;
        let metrics = GatewayMetrics::register(&host.metrics);
        let tokens = Tokens::new(&auth, &host, metrics.clone());

        let address = config.server.listen;
        let bind_error = |source| StartError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        let local_addr = listener.local_addr().map_err(bind_error)?;
        if config.edge.mailbox.is_some() && !local_addr.ip().is_loopback() {
            return Err(StartError::Mailbox);
        }
        let mailbox = config.edge.mailbox.map(Mailbox::open).transpose()?;
        let (start_drain, drain) = Drain::new();
        let public_url = PublicUrl::of(config.edge.public_url.as_deref(), local_addr, tls.is_some())?;
        let upstreams = Upstreams { auth, consent, valuation, local: routes };
        let watched = upstreams.channels();
        let proxies = TrustedProxies::new(config.edge.trusted_proxies);
        let gateway = Gateway {
            upstreams,
            tokens: tokens.clone(),
            json,
            cors,
            proxies,
            metrics,
            proofs: Proofs::new(config.edge.max_proofs),
            public_url,
            mailbox,
            streams: forward::streams(&pool),
            secure: tls.is_some(),
            drain: drain.clone(),
        };

        let readiness = host.readiness.clone();
        let door = edge::Door { listener, tls, max_connections: config.edge.max_connections };
        let accepting = edge::accept(door, Arc::new(gateway), drain.clone());
        let tasks = vec![
            task::spawn("gateway-edge", async move {
                readiness.set(Workload::Gateway.name(), true);
                accepting.await;
                readiness.set(Workload::Gateway.name(), false);
            }),
            task::spawn("gateway-revocations", tokens.follow(drain.clone())),
            task::spawn("gateway-health", health.watch(watched, pool, host.readiness, drain)),
        ];
        tracing::info!(%local_addr, "the edge is serving");
        Ok(Running::new(local_addr, start_drain, tasks, config.server.drain()))
    }
}
