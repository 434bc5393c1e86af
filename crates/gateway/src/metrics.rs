//! The gateway's own metrics; the calls themselves are counted by the services that serve them.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum Protocol {
    Asset,
    Grpc,
    GrpcWeb,
    Json,
    OAuth,
    Preflight,
    Refused,
}

#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum Exchange {
    Cached,
    Exchanged,
    Refused,
    Unavailable,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ProtocolLabel {
    protocol: Protocol,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabel {
    outcome: Exchange,
}

/// Metrics of the edge.
#[derive(Clone)]
pub(crate) struct GatewayMetrics {
    pub(crate) connections: Gauge,
    /// Proofs that there was no place for.
    pub(crate) crowded: Counter,
    requests: Family<ProtocolLabel, Counter>,
    exchanges: Family<OutcomeLabel, Counter>,
}

impl GatewayMetrics {
    pub(crate) fn register(metrics: &portal_mesh::Metrics) -> Self {
        let ours = Self {
            connections: Gauge::default(),
            crowded: Counter::default(),
            requests: Family::default(),
            exchanges: Family::default(),
        };
        metrics.register(|registry| {
            registry.register(
                "gateway_connections",
                "Connections open at the edge",
                ours.connections.clone(),
            );
            registry.register(
                "gateway_proofs_crowded",
                "Proofs of possession that were refused because as many are remembered as can be",
                ours.crowded.clone(),
            );
            registry.register("gateway_requests", "Requests at the edge by protocol", ours.requests.clone());
            registry.register(
                "gateway_token_exchanges",
                "Access tokens turned into signed tokens by outcome",
                ours.exchanges.clone(),
            );
        });
        ours
    }

    pub(crate) fn request(&self, protocol: Protocol) {
        self.requests.get_or_create(&ProtocolLabel { protocol }).inc();
    }

    pub(crate) fn exchange(&self, outcome: Exchange) {
        self.exchanges.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
