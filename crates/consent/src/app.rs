//! The use cases. Each is one transaction: load → decide → save → append, with the reply to a request id beside them.
//!
//! Invariant: a use case is reached with a permit only, and reads the clock once.

use std::sync::Arc;

use portal_core::{Clock, Entropy, Timestamp};
use portal_crypto::hash::sha256;
use portal_store::idempotency::{self, Key};
use portal_store::{Database, StoreError, Tx};

use crate::error::Error;
use crate::metrics::Metrics;

pub(crate) mod consents;
pub(crate) mod decisions;
pub(crate) mod notices;
pub(crate) mod purposes;

mod canonical;

/// What the use cases work with.
pub(crate) struct App {
    pub(crate) database: Database,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Metrics,
}

/// A request id, and how the reply to it is kept.
pub(crate) struct Once<T> {
    key: Key,
    hash: [u8; 32],
    encode: fn(&T) -> Vec<u8>,
}

/// The outcome of a change, or the reply that was kept of the same request before.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    Fresh(T),
    Replayed(Vec<u8>),
}

impl<T> Once<T> {
    /// For the request of `key` whose canonical content is `content`.
    pub(crate) fn new(key: Key, content: &[u8], encode: fn(&T) -> Vec<u8>) -> Self {
        Self { key, hash: sha256(content), encode }
    }
}

/// The reply that was kept for the request, if it has an id and was made before.
async fn replay<T>(tx: &Tx, once: Option<&Once<T>>, now: Timestamp) -> Result<Option<Answer<T>>, Error> {
    let Some(once) = once else { return Ok(None) };
    let reply = idempotency::replay(tx, &once.key, &once.hash, now).await?;
    Ok(reply.map(Answer::Replayed))
}

/// Keeps the reply for the request, if it has an id.
async fn answer<T>(tx: &Tx, once: Option<&Once<T>>, value: T, now: Timestamp) -> Result<Answer<T>, Error> {
    if let Some(once) = once {
        idempotency::remember(tx, &once.key, &once.hash, &(once.encode)(&value), now).await?;
    }
    Ok(Answer::Fresh(value))
}

impl App {
    /// Forgets replies that are no longer valid.
    pub(crate) async fn purge(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        self.database.run_tx("purge_replies", |tx| async move { idempotency::purge(&tx, now).await }).await
    }
}
