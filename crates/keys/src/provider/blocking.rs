//! Work that blocks, off the async threads.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::ProviderError;

/// Lets one piece of work in at a time. Work that never ends holds its thread and this gate; who waits for it runs into
/// the time limit of the call, and no further thread is lost.
#[derive(Clone)]
pub(super) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Does `work` on a thread of its own. The gate opens when the work ends, even if nobody waits for it any more.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let permit = Arc::clone(&self.0).acquire_owned().await;
        let inside = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(inside).await.unwrap_or(Err(ProviderError::Unreachable { cause: None }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_waits_behind_work_that_hangs_is_answered_and_takes_no_thread() {
        let limit = Duration::from_millis(20);
        let gate = Gate::new();
        let (let_go, hang) = mpsc::channel::<()>();
        let (started, has_started) = tokio::sync::oneshot::channel();
        let stuck = gate.run(move || {
            started.send(()).unwrap();
            hang.recv().unwrap();
            Ok(1)
        });
        tokio::pin!(stuck);
        tokio::select! {
            _ = &mut stuck => unreachable!("it hangs"),
            started = has_started => started.unwrap(),
        }
        assert!(tokio::time::timeout(limit, stuck).await.is_err());
        let behind = gate.run(|| -> Result<(), _> { unreachable!("nobody waits for it any more") });
        assert!(tokio::time::timeout(limit, behind).await.is_err());
        let_go.send(()).unwrap();
        assert_eq!(gate.run(|| Ok(3)).await.unwrap(), 3);
    }
}
