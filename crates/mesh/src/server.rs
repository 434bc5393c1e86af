//! Serves a service: accepts connections of the mesh, puts the guard around its routes, drains when told to.

use std::sync::Arc;
use std::time::Duration;

use portal_core::Workload;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::ServingStatus;

use crate::acceptor::accept;
use crate::config::ServerConfig;
use crate::guard::{GuardLayer, GuardState, MAX_CALLS};
use crate::policy::Row;
use crate::token::TokenVerifier;
use crate::{Authorization, Drain, Host, Identity, Running, task};

/// The server can't start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can't be bound.
    #[error("can't listen on {address}")]
    Bind {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What a service gives the mesh to be served.
pub struct MeshServer {
    /// Its certificate.
    pub identity: Arc<Identity>,
    /// A row for each of its methods.
    pub policy: &'static [Row],
    /// Who may call them.
    pub authorization: Authorization,
    /// Verifies end users' tokens.
    pub tokens: TokenVerifier,
    /// The process it runs in.
    pub host: Host,
}

impl MeshServer {
    /// Binds the address and serves `routes` until [`Running::stop`].
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub async fn start(self, config: &ServerConfig, routes: Routes) -> Result<Running, ServeError> {
        let address = config.listen;
        let bind_error = |source| ServeError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        let local_addr = listener.local_addr().map_err(bind_error)?;
        let (start_drain, drain) = Drain::new();
        let workload = self.identity.workload();
        let serving = task::spawn("mesh-server", self.serve(listener, routes, drain));
        tracing::info!(%workload, %local_addr, "serving");
        Ok(Running::new(local_addr, start_drain, vec![serving], config.drain()))
    }

    async fn serve(self, listener: TcpListener, routes: Routes, drain: Drain) {
        let workload: Workload = self.identity.workload();
        let mesh_metrics = self.host.metrics.mesh();
        let connections = accept(listener, self.identity, self.host.metrics.tls());
        let state = GuardState {
            policy: self.policy,
            authorization: self.authorization,
            tokens: self.tokens,
            metrics: mesh_metrics,
            entropy: self.host.entropy,
            slots: Arc::new(Semaphore::new(MAX_CALLS)),
            drain: drain.clone(),
        };
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("", ServingStatus::Serving).await;
        self.host.readiness.set(workload.name(), true);
        let served = Server::builder()
            .layer(GuardLayer(Arc::new(state)))
            .max_concurrent_streams(1_024)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .http2_max_header_list_size(16 * 1_024)
            .http2_max_pending_accept_reset_streams(Some(20))
            .http2_max_local_error_reset_streams(Some(128))
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .max_connection_age(Duration::from_secs(600))
            .max_connection_age_grace(Duration::from_secs(30))
            .add_routes(routes.add_service(health_service))
            .serve_with_incoming_shutdown(connections, drain.started())
            .await;
        self.host.readiness.set(workload.name(), false);
        if let Err(error) = served {
            tracing::error!(%workload, %error, "the server ended");
        }
    }
}
