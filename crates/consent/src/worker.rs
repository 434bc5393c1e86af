//! What happens by itself: replies that are older than a day are forgotten; consents that have ended are recorded as such,
//! by one replica at a time. Safe on any number of replicas at once.

use std::sync::Arc;
use std::time::Duration;

use portal_core::id::{Id, OperationId};
use portal_mesh::Drain;

use crate::app::App;

const INTERVAL: Duration = Duration::from_secs(3_600);
/// How often a replica looks for consents that have ended.
const LOOK: Duration = Duration::from_secs(2);

/// Records ends of consents until the drain starts.
pub(crate) async fn end_consents(app: Arc<App>, drain: Drain) {
    let holder = OperationId::generate(app.clock.now(), &*app.entropy);
    let mut drained = std::pin::pin!(drain.started());
    loop {
        tokio::select! {
            () = &mut drained => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        match app.end_consents(holder).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "consents have ended"),
            Err(error) => tracing::warn!(%error, "ends of consents could not be recorded"),
        }
    }
}

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
