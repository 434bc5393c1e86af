//! Runs a change once per `request_id`: asked again, it gives the first reply.
//!
//! Replies are kept sealed under a key of the service: none of this service is about one person.

use portal_core::Timestamp;
use portal_keys::{Replies, RequestHashes};
use portal_store::idempotency::{Key, keep};

use crate::error::Error;
use crate::store::Writing;

/// How often a request may take effect, and what its reply looks like.
pub struct Once<T> {
    /// The caller's key and the content of the request, if it gave a `request_id`.
    pub key: Option<(Key, Vec<u8>)>,
    /// The reply as it is kept.
    pub encode: fn(&T) -> Vec<u8>,
}

impl<T> Once<T> {
    /// The first reply, or the reply of `change`, which is then the first.
    pub async fn run(
        &self,
        (replies, requests): (&Replies, &RequestHashes),
        writing: &Writing<'_>,
        now: Timestamp,
        change: impl Future<Output = Result<T, Error>>,
    ) -> Result<Vec<u8>, Error> {
        let Some((key, content)) = &self.key else { return Ok((self.encode)(&change.await?)) };
        let (hash, forms) = (requests.of(content), writing.forms());
        if let Some((kept, hash)) = hash.recall(writing.tx(), key, forms, now).await? {
            // Boxed: it is seldom run, and would make the future of every change as large as its own.
            return Ok(Box::pin(replies.open((key, &hash), kept)).await?);
        }
        let reply = (self.encode)(&change.await?);
        let kept = replies.seal((key, hash.kept(forms)), None, &reply, forms)?;
        keep(writing.tx(), key, hash.kept(forms), &kept, now).await?;
        Ok(reply)
    }
}
