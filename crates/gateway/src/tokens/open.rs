//! What stays open ends with the access that opened it: with its token, its session, its account or its client.

use std::time::Duration;

use http::{HeaderMap, header};
use portal_core::Workload;
use portal_crypto::hash::sha256;
use portal_mesh::guard::bearer;
use portal_mesh::status::reason;
use tokio::time::Instant;
use tonic::Status;

use super::cache::Flight;
use super::{Exchanged, Key, Refusal, Tokens};

/// How often an open call is looked after: half of the second within which what is revoked is dead.
const LOOK: Duration = Duration::from_millis(500);
/// How long an open call goes on while nobody can say whether it still may. New calls don't begin meanwhile.
const GRACE: Duration = Duration::from_secs(10);

impl Tokens {
    /// Ends when a call that was let in with these headers may no longer go on, with the status that tells why. `None` for a
    /// call that carries no token.
    pub(crate) fn end_of_access(
        &self,
        headers: &HeaderMap,
        audience: Workload,
    ) -> Option<impl Future<Output = Status> + Send + use<>> {
        let token = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()))?.to_owned();
        let (tokens, key) = (self.clone(), (sha256(token.as_bytes()), audience));
        Some(async move {
            let mut last_known = Instant::now();
            loop {
                tokio::time::sleep(LOOK).await;
                match tokens.still(key, &token).await {
                    Ok(_) => last_known = Instant::now(),
                    Err(Refusal::Invalid) => return reason::TOKEN_INVALID.status(),
                    Err(Refusal::Unavailable) if last_known.elapsed() < GRACE => {}
                    Err(Refusal::Unavailable) => return reason::TOKEN_UNVERIFIABLE.status(),
                }
            }
        })
    }

    /// What the token is exchanged for now, asked of auth only when what is remembered has ended or can't be relied on.
    async fn still(&self, key: Key, token: &str) -> Exchanged {
        let shared = &self.0;
        if !shared.feed.is_live() {
            return shared.clone().exchange(token.to_owned(), key.1).await;
        }
        let start = || shared.clone().exchange_and_keep(key, token.to_owned());
        match shared.cache.grant(key, shared.clock.now(), start) {
            Flight::Landed(grant) => Ok(grant),
            Flight::UnderWay(exchange) => exchange.await,
        }
    }
}
