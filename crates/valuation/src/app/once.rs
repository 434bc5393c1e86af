//! Runs a change once per `request_id`: asked again, it gives the first reply.

use portal_core::Timestamp;
use portal_store::Tx;
use portal_store::idempotency::{Key, remember, replay};

use crate::error::Error;

/// How often a request may take effect, and what its reply looks like.
pub struct Once<T> {
    /// The caller's key and the hash of the request, if it gave a `request_id`.
    pub key: Option<(Key, [u8; 32])>,
    /// The reply as it is kept.
    pub encode: fn(&T) -> Vec<u8>,
}

impl<T> Once<T> {
    /// The first reply, or the reply of `change`, which is then the first.
    pub async fn run(
        &self,
        tx: &Tx,
        now: Timestamp,
        change: impl Future<Output = Result<T, Error>>,
    ) -> Result<Vec<u8>, Error> {
        let Some((key, hash)) = &self.key else { return Ok((self.encode)(&change.await?)) };
        if let Some(reply) = replay(tx, key, hash, now).await? {
            return Ok(reply);
        }
        let reply = (self.encode)(&change.await?);
        remember(tx, key, hash, &reply, now).await?;
        Ok(reply)
    }
}
