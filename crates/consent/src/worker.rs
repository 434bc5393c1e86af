//! What happens by itself: replies that are older than a day are forgotten. Safe on any number of replicas at once.

use std::sync::Arc;
use std::time::Duration;

use portal_mesh::Drain;

use crate::app::App;

const INTERVAL: Duration = Duration::from_secs(3_600);

/// Forgets old replies every hour until the drain starts.
pub(crate) async fn purge_replies(app: Arc<App>, drain: Drain) {
    let mut drained = std::pin::pin!(drain.started());
    loop {
        tokio::select! {
            () = &mut drained => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        match app.purge().await {
            Ok(count) => tracing::debug!(count, "forgot old replies"),
            Err(error) => tracing::warn!(%error, "old replies could not be forgotten"),
        }
    }
}
