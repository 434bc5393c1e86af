//! What stays open ends with the access that opened it: with its token, its session, its account or its client.

use std::time::Duration;

use portal_core::Workload;
use portal_mesh::status::reason;
use tokio::time::Instant;
use tonic::Status;

use super::cache::Flight;
use super::{Asked, Exchanged, Key, Presented, Refusal, Tokens};

/// How often an open call is looked after: half of the second within which what is revoked is dead.
const LOOK: Duration = Duration::from_millis(500);
/// How long an open call goes on while nobody can say whether it still may. New calls don't begin meanwhile.
const GRACE: Duration = Duration::from_secs(10);

impl Tokens {
    /// Ends when a call that was let in with this token may no longer go on, with the status that tells why.
    pub(crate) fn end_of_access(
        &self,
        presented: Presented<'_>,
        audience: Workload,
    ) -> impl Future<Output = Status> + Send + use<> {
        let (tokens, key, asked) = (self.clone(), presented.key_of(audience), presented.to_asked());
        async move {
            let mut last_known = Instant::now();
            loop {
                tokio::time::sleep(LOOK).await;
                match tokens.still(key, &asked).await {
                    Ok(_) => last_known = Instant::now(),
                    Err(Refusal::Bound | Refusal::Invalid) => return reason::TOKEN_INVALID.status(),
                    Err(Refusal::Unavailable) if last_known.elapsed() < GRACE => {}
                    Err(Refusal::Unavailable) => return reason::TOKEN_UNVERIFIABLE.status(),
                }
            }
        }
    }

    /// What the token is exchanged for now, asked of auth only when what is remembered has ended or can't be relied on.
    async fn still(&self, key: Key, asked: &Asked) -> Exchanged {
        let shared = &self.0;
        if !shared.feed.is_live() {
            return shared.clone().exchange(asked.clone(), key.1).await;
        }
        let start = || shared.clone().exchange_and_keep(key, asked.clone());
        match shared.cache.grant(key, shared.clock.now(), start) {
            Flight::Landed(grant) => Ok(grant),
            Flight::UnderWay(exchange) => exchange.await,
        }
    }
}
