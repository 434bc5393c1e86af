//! A change that happens once per request id, however often it is asked for.

use std::future::Future;

use portal_core::Timestamp;
use portal_store::Tx;
use portal_store::idempotency::{self, Key};

use crate::error::Error;

/// When a change happens, under which request id, and how its result is remembered.
pub struct Change<T> {
    /// The time of the change.
    pub now: Timestamp,
    /// Whose request it is, and the fingerprint of its content; `None` without a request id.
    pub request: Option<(Key, [u8; 32])>,
    /// The reply, as it is kept for repetitions.
    pub encode: fn(&T, Timestamp) -> Vec<u8>,
}

/// What a change answers.
#[derive(Debug)]
pub enum Reply<T> {
    /// The reply of the same request before, as [`Change::encode`] wrote it.
    Again(Vec<u8>),
    /// It happened now.
    First(T),
}

impl<T> Change<T> {
    /// Runs `body` unless the same request was answered before.
    pub(super) async fn once<F>(&self, tx: &Tx, body: F) -> Result<Reply<T>, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let Some((key, fingerprint)) = &self.request else {
            return Ok(Reply::First(body.await?));
        };
        if let Some(reply) = idempotency::replay(tx, key, fingerprint, self.now).await? {
            return Ok(Reply::Again(reply));
        }
        let result = body.await?;
        idempotency::remember(tx, key, fingerprint, &(self.encode)(&result, self.now), self.now).await?;
        Ok(Reply::First(result))
    }
}
