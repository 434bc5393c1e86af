//! The process's metrics registry and the metrics of the mesh itself. All names start with `portal_`.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tonic::Code;

mod tls;

pub(crate) use tls::{Listener, Negotiated, TlsMetrics};

/// The registry of the process; clones share it.
#[derive(Clone)]
pub struct Metrics(Arc<Shared>);

struct Shared {
    registry: Mutex<Registry>,
    mesh: MeshMetrics,
    tls: TlsMetrics,
    /// Metrics that several services of a process count in, by type.
    shared: Mutex<HashMap<TypeId, Box<dyn Any + Send + Sync>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("portal");
        let mesh = MeshMetrics::register(&mut registry);
        let tls = TlsMetrics::register(&mut registry);
        Self(Arc::new(Shared { registry: Mutex::new(registry), mesh, tls, shared: Mutex::default() }))
    }
}

impl Metrics {
    /// Registers metrics; their names get the prefix `portal_`.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.0.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The metrics of type `T`, registered at the first call: two services in one process that use the same library count
    /// in the same metrics, since a name may be told only once.
    pub fn shared<T: Any + Clone + Send + Sync>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        let mut shared = self.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = shared.get(&TypeId::of::<T>()).and_then(|metrics| metrics.downcast_ref::<T>())
        {
            return metrics.clone();
        }
        let metrics = self.register(register);
        shared.insert(TypeId::of::<T>(), Box::new(metrics.clone()));
        metrics
    }

    /// The metrics of the mesh.
    #[must_use]
    pub fn mesh(&self) -> MeshMetrics {
        self.0.mesh.clone()
    }

    /// The metrics of handshakes and certificates.
    pub(crate) fn tls(&self) -> TlsMetrics {
        self.0.tls.clone()
    }

    /// All metrics in OpenMetrics text form.
    ///
    /// # Errors
    /// As the encoder.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        let registry = self.0.registry.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Call {
    method: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Method {
    method: &'static str,
}

/// Seconds: 0.05 ms to 6.6 s, each twice the one before. A decision from memory takes less than 0.2 ms.
fn latency_histogram() -> Histogram {
    Histogram::new((0..18).map(|power| 0.000_05 * f64::from(1 << power)))
}

/// Metrics of connections and calls.
#[derive(Clone)]
pub struct MeshMetrics {
    calls: Family<Call, Counter>,
    seconds: Family<Method, Histogram, fn() -> Histogram>,
    under_way: Gauge<i64, AtomicI64>,
}

impl MeshMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(latency_histogram),
            under_way: Gauge::default(),
        };
        registry.register("rpc_server_calls", "Calls served by method and gRPC code", metrics.calls.clone());
        registry.register(
            "rpc_server_duration_seconds",
            "Time from request to end of response by method",
            metrics.seconds.clone(),
        );
        registry.register("rpc_server_under_way", "Calls being served", metrics.under_way.clone());
        metrics
    }

    pub(crate) fn call_started(&self) {
        self.under_way.inc();
    }

    pub(crate) fn call_ended(&self, method: &'static str, code: Code, took: Duration) {
        self.under_way.dec();
        self.calls.get_or_create(&Call { method, code: code_name(code) }).inc();
        self.seconds.get_or_create(&Method { method }).observe(took.as_secs_f64());
    }
}

/// The name of a code in the gRPC specification.
#[must_use]
pub const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
