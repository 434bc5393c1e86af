//! What auth does by itself: forgets what is of no more use. Several replicas may do it at once.

use std::sync::Arc;
use std::time::Duration;

use portal_mesh::Drain;
use portal_store::idempotency;
use tokio::time::Instant;

use crate::app::App;
use crate::domain::device::TOLD;
use crate::domain::failures::FORGOTTEN;
use crate::error::Error;
use crate::store::{
    ceremonies, challenges, client_sign_ins, factors, failures, mail_tokens, recovery_requests, revocations,
    token_bindings,
};

/// How often.
const INTERVAL: Duration = Duration::from_secs(600);
/// How often it is forgotten who tried a password: it is in memory.
const ATTEMPTS_INTERVAL: Duration = Duration::from_secs(60);
/// How long a code is known after its end: who uses it again has a copy.
const CODES_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long revocations are kept: much longer than anything they revoke would live, and than a watcher may be away.
const REVOCATIONS_KEPT: Duration = Duration::from_secs(3_600);
/// How long a recovery that was asked for waits to be answered: whoever asked has asked again since.
const REQUESTS_KEPT: Duration = Duration::from_secs(1_800);

/// Forgets at intervals until `drain` starts.
pub async fn run(app: Arc<App>, drain: Drain) {
    let stopping = drain.started();
    tokio::pin!(stopping);
    let mut next = Instant::now() + INTERVAL;
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(ATTEMPTS_INTERVAL) => app.attempts.forget(),
        }
        if Instant::now() < next {
            continue;
        }
        next = Instant::now() + INTERVAL;
        if let Err(error) = forget(&app).await {
            tracing::warn!(%error, "expired rows were not removed");
        }
    }
}

/// Removes expired tokens, sessions, replies and revocations, and says how many rows went.
pub(crate) async fn forget(app: &App) -> Result<u64, Error> {
    let now = app.now();
    app.database
        .run_tx("forget", |tx| async move {
            let tokens = app.pairs.purge(&tx, now).await? + app.sessions.purge(&tx, now).await?;
            let revocations = revocations::purge(&tx, now.minus(REVOCATIONS_KEPT)).await?;
            let waiting = factors::purge(&tx, now).await? + ceremonies::purge(&tx, now).await?;
            let challenges = challenges::purge(&tx, now).await? + waiting;
            let failures = failures::purge(&tx, now.minus(FORGOTTEN)).await?;
            let mail = mail_tokens::purge(&tx, now).await?
                + recovery_requests::purge(&tx, now.minus(REQUESTS_KEPT)).await?;
            let grants = app.grants.purge(&tx, now).await?;
            let grants = grants + app.authorizations.purge(&tx, now, CODES_KEPT).await?;
            let grants = grants + app.devices.purge(&tx, now, TOLD).await?;
            let sign_ins = client_sign_ins::purge(&tx).await? + token_bindings::purge(&tx, now).await?;
            let rest = mail + grants + sign_ins + idempotency::purge(&tx, now).await?;
            Ok(tokens + revocations + challenges + failures + rest)
        })
        .await
}
