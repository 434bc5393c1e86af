//! Work that blocks, off the async threads.

use std::sync::Arc;
use std::thread;

use tokio::sync::{Semaphore, oneshot};

use super::{Cause, ProviderError};

/// Lets one piece of work in at a time. Work that never ends holds its thread and this gate; who waits for it runs into
/// the time limit of the call, and no further thread is lost.
#[derive(Clone)]
pub(super) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Does `work` on a thread of its own. The gate opens when the work ends, even if nobody waits for it any more.
    ///
    /// Not a thread of the runtime: that waits for its threads when it stops, and a token that hangs would keep the
    /// process from ending.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let permit = Arc::clone(&self.0).acquire_owned().await;
        let (answer, answered) = oneshot::channel();
        let inside = move || {
            let _permit = permit;
            // Whoever asked may have stopped waiting.
            let _ = answer.send(work());
        };
        let started = thread::Builder::new().name("root-keys".to_owned()).spawn(inside);
        started.map_err(|error| ProviderError::Unreachable { cause: Some(Cause::Thread(error)) })?;
        answered.await.unwrap_or(Err(ProviderError::Unreachable { cause: None }))
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
        let (started, has_started) = oneshot::channel();
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

    #[test]
    fn work_that_hangs_does_not_keep_the_process_from_ending() {
        let (_never_let_go, hang) = mpsc::channel::<()>();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let gate = Gate::new();
        let stuck = async {
            tokio::time::timeout(Duration::from_millis(20), gate.run(move || Ok(hang.recv()))).await
        };
        assert!(runtime.block_on(stuck).is_err());
        let (ended, has_ended) = mpsc::channel();
        thread::spawn(move || {
            drop(runtime);
            ended.send(()).unwrap();
        });
        has_ended.recv_timeout(Duration::from_secs(60)).unwrap();
    }
}
