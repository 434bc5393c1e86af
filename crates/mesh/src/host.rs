//! What a process gives each service it runs, and the handle it keeps.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portal_core::{Clock, Entropy};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Metrics;

/// Time, entropy and telemetry of a process.
#[derive(Clone)]
pub struct Host {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Where metrics are registered.
    pub metrics: Metrics,
    /// What `/readyz` tells.
    pub readiness: Readiness,
}

/// Which parts of the process are ready. A process is ready when all are, and it has at least one.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, bool>>>);

impl Readiness {
    /// Sets whether `part` is ready.
    pub fn set(&self, part: &'static str, ready: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part, ready);
    }

    /// Whether all parts are ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !parts.is_empty() && parts.values().all(|ready| *ready)
    }

    /// The parts that are not.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<&'static str> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter(|(_, ready)| !**ready).map(|(part, _)| *part).collect()
    }
}

/// Tells handlers that the server is stopping.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<bool>);

impl Drain {
    /// A drain and what starts it.
    #[must_use]
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (start, receiver) = watch::channel(false);
        (start, Self(receiver))
    }

    /// Resolves when the server begins to stop.
    pub async fn started(mut self) {
        // An error means that the handle is gone: nobody will ever stop this server in order, so it is stopping now.
        drop(self.0.wait_for(|started| *started).await);
    }
}

/// A server that is running. Dropping it stops accepting; [`Running::stop`] waits for the calls under way.
pub struct Running {
    local_addr: SocketAddr,
    start_drain: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    // Behind a mutex that nobody waits for: with it the handle can be shared.
    last: Mutex<Vec<Last>>,
    drain: Duration,
}

/// Work that is done when no call is under way any more.
type Last = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How long the last work may take.
const LAST: Duration = Duration::from_secs(5);

impl Running {
    /// A handle of `tasks`, which end after `start_drain` is sent.
    #[must_use]
    pub fn new(
        local_addr: SocketAddr,
        start_drain: watch::Sender<bool>,
        tasks: Vec<JoinHandle<()>>,
        drain: Duration,
    ) -> Self {
        Self { local_addr, start_drain, tasks, last: Mutex::default(), drain }
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Adds a task that belongs to this server: a worker, say. It must end when the drain starts.
    pub fn own(&mut self, task: JoinHandle<()>) {
        self.tasks.push(task);
    }

    /// Adds work for [`Self::stop`] to do when the calls and tasks have ended: to close what they used.
    pub fn at_last(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.last.get_mut().unwrap_or_else(PoisonError::into_inner).push(Box::pin(work));
    }

    /// The drain that handlers and workers watch.
    #[must_use]
    pub fn drain(&self) -> Drain {
        Drain(self.start_drain.subscribe())
    }

    /// Stops accepting, waits for the calls under way (at most the configured drain time), closes and ends.
    pub async fn stop(self) {
        self.start_drain.send_replace(true);
        let aborts: Vec<_> = self.tasks.iter().map(JoinHandle::abort_handle).collect();
        let all = futures_util::future::join_all(self.tasks);
        if tokio::time::timeout(self.drain, all).await.is_err() {
            tracing::warn!("calls were still under way at the end of the drain");
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
        let last = self.last.into_inner().unwrap_or_else(PoisonError::into_inner);
        if tokio::time::timeout(LAST, futures_util::future::join_all(last)).await.is_err() {
            tracing::warn!("what was used could not be closed in order");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn the_last_work_is_done_when_the_tasks_have_ended() {
        let (start, drain) = Drain::new();
        let ended = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&ended);
        let task = crate::task::spawn("test", async move {
            drain.started().await;
            ends.store(true, Ordering::SeqCst);
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut running = Running::new(address, start, vec![task], Duration::from_secs(10));
        let (done, was_done) = tokio::sync::oneshot::channel();
        running.at_last(async move {
            let _ = done.send(ended.load(Ordering::SeqCst));
        });
        running.stop().await;
        assert_eq!(was_done.await, Ok(true));
    }
}
