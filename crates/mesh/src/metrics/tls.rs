//! Metrics of TLS: handshakes, and the certificates they are made with.

use std::io;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustls::{CommonState, NamedGroup, ProtocolVersion};

use crate::certificate::Algorithm;

/// Which kind of listener a connection came to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Listener {
    /// For clients from outside.
    Edge,
    /// For other processes of the mesh.
    Mesh,
}

/// What a handshake agreed on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Negotiated {
    version: Option<ProtocolVersion>,
    group: Option<NamedGroup>,
    signature: Option<Algorithm>,
}

impl Negotiated {
    /// Of a connection whose server signed with `signature`.
    pub(crate) fn of(connection: &CommonState, signature: Algorithm) -> Self {
        Self {
            version: connection.protocol_version(),
            group: connection.negotiated_key_exchange_group().map(rustls::crypto::SupportedKxGroup::name),
            signature: Some(signature),
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Handshake {
    listener: &'static str,
    outcome: &'static str,
    version: &'static str,
    group: &'static str,
    signature: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Reload {
    certificate: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Certificate {
    certificate: &'static str,
    algorithm: &'static str,
}

/// Metrics of handshakes and certificates.
#[derive(Clone)]
pub(crate) struct TlsMetrics {
    handshakes: Family<Handshake, Counter>,
    reloads: Family<Reload, Counter>,
    days_left: Family<Certificate, Gauge<f64, AtomicU64>>,
}

impl TlsMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics =
            Self { handshakes: Family::default(), reloads: Family::default(), days_left: Family::default() };
        registry.register(
            "tls_handshakes",
            "TLS handshakes by listener, outcome, version, key exchange group and the server's signature",
            metrics.handshakes.clone(),
        );
        registry.register(
            "certificate_reloads",
            "Looks at renewed certificate files by certificate and outcome",
            metrics.reloads.clone(),
        );
        registry.register(
            "certificate_days_left",
            "Days until the certificate in use expires",
            metrics.days_left.clone(),
        );
        metrics
    }

    /// Counts a handshake.
    pub(crate) fn handshake(&self, listener: Listener, result: Result<Negotiated, &io::Error>) {
        let outcome = match result {
            Ok(_) => "accepted",
            Err(error) => match error.kind() {
                // What rustls refuses, and what we refuse after it.
                io::ErrorKind::InvalidData | io::ErrorKind::PermissionDenied => "refused",
                io::ErrorKind::TimedOut => "timed_out",
                _ => "broken_off",
            },
        };
        let Negotiated { version, group, signature } = result.unwrap_or_default();
        let listener = match listener {
            Listener::Edge => "edge",
            Listener::Mesh => "mesh",
        };
        let labels = Handshake {
            listener,
            outcome,
            version: version.map_or("none", |version| match version {
                ProtocolVersion::TLSv1_3 => "1.3",
                _ => "other",
            }),
            group: group.map_or("none", |group| match group {
                NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
                NamedGroup::X25519 => "X25519",
                NamedGroup::secp256r1 => "secp256r1",
                _ => "other",
            }),
            signature: signature.map_or("none", Algorithm::name),
        };
        self.handshakes.get_or_create(&labels).inc();
    }

    /// Counts a look that found renewed files.
    pub(crate) fn reloaded(&self, certificate: &'static str, outcome: &'static str) {
        self.reloads.get_or_create(&Reload { certificate, outcome }).inc();
    }

    /// Sets how long a certificate is still valid.
    pub(crate) fn days_left(&self, certificate: &'static str, algorithm: Algorithm, seconds: i64) {
        let labels = Certificate { certificate, algorithm: algorithm.name() };
        #[expect(clippy::cast_precision_loss, reason = "2^53 s are longer than any certificate lives")]
        self.days_left.get_or_create(&labels).set(seconds as f64 / 86_400.0);
    }
}
