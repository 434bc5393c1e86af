//! The one place that starts tasks: each has a name, and a panic in one is logged instead of lost.

use std::future::Future;

use futures_util::FutureExt;
use tokio::task::JoinHandle;

/// Starts `future` on the current runtime. The caller keeps the handle, or the task ends with its own inputs.
#[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        if std::panic::AssertUnwindSafe(future).catch_unwind().await.is_err() {
            tracing::error!(task = name, "a task panicked");
        }
    })
}
