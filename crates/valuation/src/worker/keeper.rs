//! Keeps a job: renews its lease and tells its progress, and finds out that it is lost.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portal_core::id::ValuationId;
use portal_core::{Clock, Timestamp};
use tokio::time::{Instant, sleep};

use super::LEASE;
use crate::app::App;
use crate::domain::id::WorkerId;
use crate::domain::valuation::Progress;
use crate::engine;
use crate::error::Error;
use crate::store::valuations;

/// Progress is written at most this often.
const TICK: Duration = Duration::from_millis(200);
/// The lease is looked after at least this often, so a job cancelled in another process ends within a second.
const RENEW: Duration = Duration::from_millis(800);

/// What the engine's thread and the keeper share.
pub struct Gauge {
    clock: Arc<dyn Clock>,
    progress: Mutex<Progress>,
    stopped: AtomicBool,
}

impl Gauge {
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let progress = Mutex::new(Progress { measured_at: clock.now(), ..Progress::default() });
        Arc::new(Self { clock, progress, stopped: AtomicBool::new(false) })
    }

    pub fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// A run of the engine over `total` validation records begins.
    pub fn begin(&self, total: usize) {
        let now = self.clock.now();
        let total = i64::try_from(total).unwrap_or(i64::MAX);
        self.set(Progress { done: 0, total, started_at: Some(now), measured_at: now });
    }

    /// Takes the engine's progress, and tells it whether to go on.
    pub fn advance(&self, progress: engine::Progress) -> ControlFlow<()> {
        let done = i64::try_from(progress.done).unwrap_or(i64::MAX);
        self.set(Progress { done, measured_at: self.clock.now(), ..self.progress() });
        if self.stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Ends the engine's run at its next block.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Keeps the job until it is lost.
pub async fn keep(app: &App, id: ValuationId, worker: WorkerId, gauge: &Gauge) {
    let mut told = gauge.progress();
    let mut lease_until = app.clock.now().plus(LEASE);
    let mut renewed = Instant::now();
    loop {
        let cancelled = tokio::select! {
            () = sleep(TICK) => false,
            () = app.signals.cancelled.notified() => true,
        };
        let progress = gauge.progress();
        if !cancelled && progress == told && renewed.elapsed() < RENEW {
            continue;
        }
        let until = app.clock.now().plus(LEASE);
        match renew(app, id, worker, (until, progress)).await {
            Ok(true) => (told, lease_until, renewed) = (progress, until, Instant::now()),
            Ok(false) => return,
            // While the lease lasts nobody else has the job, so it may go on.
            Err(error) if app.clock.now() < lease_until => {
                tracing::warn!(valuation = %id, %error, "a lease could not be renewed; trying again");
            }
            Err(_) => return,
        }
        app.signals.changed.send_replace(());
    }
}

async fn renew(
    app: &App,
    id: ValuationId,
    worker: WorkerId,
    (until, progress): (Timestamp, Progress),
) -> Result<bool, Error> {
    let progress = &progress;
    app.database
        .run_tx("renew_valuation", |tx| async move {
            Ok(valuations::renew(&tx, id, worker, until, progress).await?)
        })
        .await
}
