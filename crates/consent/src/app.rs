//! The use cases. Each is one transaction: load → decide → save → append, with the reply to a request id beside them.
//!
//! Invariants: a use case is reached with a permit only, and reads the clock once; keys are fetched before the
//! transaction that seals and after the one that reads, so that none waits for keys while it holds the database.

use std::sync::Arc;
use std::time::Duration;

use portal_core::id::SubjectId;
use portal_core::{Clock, Entropy, Timestamp};
use portal_crypto::envelope::SubjectKey;
use portal_keys::{Keys, Replies, RequestHash, RequestHashes};
use portal_ledger::Log;
use portal_store::idempotency::{self, KeptReply, Key};
use portal_store::{Database, StoreError};
use portal_upkeep::together::Together;

use crate::app::following::Live;
use crate::domain::record::Organisation;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::store::{Seals, Writing};

pub(crate) mod acts;
pub(crate) mod changes;
pub(crate) mod consents;
pub(crate) mod decisions;
pub(crate) mod ended;
pub(crate) mod following;
pub(crate) mod imports;
pub(crate) mod ledgered;
pub(crate) mod notices;
pub(crate) mod purposes;
pub(crate) mod receipts;
pub(crate) mod records;
pub(crate) mod renewal;
pub(crate) mod subjects;
pub(crate) mod together;

/// What the use cases work with.
pub(crate) struct App {
    pub(crate) database: Database,
    pub(crate) keys: Keys,
    pub(crate) seals: Seals,
    pub(crate) replies: Replies,
    pub(crate) requests: RequestHashes,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Metrics,
    pub(crate) log: Log,
    pub(crate) revisions: receipts::Revisions,
    pub(crate) live: Live,
    pub(crate) organisation: Organisation,
    /// How long those whose consents have ended are asked again; they are not without.
    pub(crate) renewal: Option<Duration>,
    pub(crate) together: Together<together::Single>,
}

/// A request id, and how the reply to it is kept.
pub(crate) struct Once<T> {
    key: Key,
    content: Vec<u8>,
    encode: fn(&T) -> Vec<u8>,
}

/// The outcome of a change, or the reply that was kept of the same request before.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    Fresh(T),
    Replayed(Vec<u8>),
}

/// What a transaction comes to: a change, or a reply that is not opened yet.
enum Done<T> {
    Fresh(T),
    /// Of a request that had this hash.
    Kept(KeptReply, [u8; 32]),
}

/// How a change needs the key of the person it is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum KeyOf {
    /// If there is one, and it can be had.
    Known,
    /// If it can be had; a new one for somebody who has none.
    New,
    /// In any case: something of it is sealed under that alone.
    Needed,
}

/// A change that is asked for.
struct Change<'a, T> {
    /// Its request id, if it has one, and what it is known again by.
    once: Option<(&'a Once<T>, RequestHash)>,
    /// The key of the person it is about, if something of it is sealed under that; a kept reply without it is sealed
    /// under the service's own.
    key: Option<Arc<SubjectKey>>,
    now: Timestamp,
}

impl<T> Once<T> {
    /// For the request of `key` whose canonical content is `content`.
    pub(crate) fn new(key: Key, content: Vec<u8>, encode: fn(&T) -> Vec<u8>) -> Self {
        Self { key, content, encode }
    }

    /// For part `number` of the request: what is done of it in one transaction.
    fn part(&self, number: usize) -> Self {
        let request_id = format!("{}/{number}", self.key.request_id);
        Self {
            key: Key { request_id, ..self.key.clone() },
            content: self.content.clone(),
            encode: self.encode,
        }
    }
}

impl<T> Change<'_, T> {
    /// The reply that was kept for the request, if it has an id and was made before.
    async fn kept(&self, tx: &Writing<'_>) -> Result<Option<Done<T>>, Error> {
        let Some((once, hash)) = &self.once else { return Ok(None) };
        let reply = hash.recall(tx.tx(), &once.key, tx.mode().into(), self.now).await?;
        Ok(reply.map(|(kept, hash)| Done::Kept(kept, hash)))
    }

    /// Keeps the reply for the request, if it has an id.
    async fn done(&self, tx: &Writing<'_>, replies: &Replies, value: T) -> Result<Done<T>, Error> {
        if let Some((once, hash)) = &self.once {
            let (reply, forms) = ((once.encode)(&value), tx.mode().into());
            let hash = hash.kept(forms);
            let kept = replies.seal((&once.key, hash), self.key.as_deref(), &reply, forms)?;
            idempotency::keep(tx.tx(), &once.key, hash, &kept, self.now).await?;
        }
        Ok(Done::Fresh(value))
    }

    /// The answer, with a kept reply opened.
    async fn answer(&self, replies: &Replies, done: Done<T>) -> Result<Answer<T>, Error> {
        match (done, &self.once) {
            (Done::Fresh(value), _) => Ok(Answer::Fresh(value)),
            (Done::Kept(kept, _), None) => Ok(Answer::Replayed(kept.plain)),
            (Done::Kept(kept, hash), Some((once, _))) => {
                Ok(Answer::Replayed(replies.open((&once.key, &hash), kept).await?))
            }
        }
    }
}

impl App {
    /// A change about nobody, asked for at this moment.
    fn change<'a, T>(&self, once: Option<&'a Once<T>>) -> Change<'a, T> {
        Change { once: self.known(once), key: None, now: self.clock.now() }
    }

    /// A change about `subject`, asked for at this moment. Where the key can't be had for whatever reason, what is sealed
    /// beside the words and evidence of the subject, a kept reply and the receipt, says nothing that does not stand in
    /// plain columns, and is kept under the service's own. So nobody is kept from withdrawing, and nobody leaves keys
    /// behind by naming people who do not exist.
    async fn change_of<'a, T>(
        &self,
        subject: SubjectId,
        once: Option<&'a Once<T>>,
        key: KeyOf,
    ) -> Result<Change<'a, T>, Error> {
        let now = self.clock.now();
        let key = match key {
            KeyOf::Known => self.keys.subject(subject).await.ok(),
            KeyOf::New => self.keys.subject_or_new(subject).await.ok(),
            KeyOf::Needed => Some(self.keys.subject_or_new(subject).await?),
        };
        Ok(Change { once: self.known(once), key, now })
    }

    /// A request with what it is known again by.
    fn known<'a, T>(&self, once: Option<&'a Once<T>>) -> Option<(&'a Once<T>, RequestHash)> {
        once.map(|once| (once, self.requests.of(&once.content)))
    }

    /// Forgets replies that are no longer valid.
    pub(crate) async fn purge(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        self.database.run_tx("purge_replies", |tx| async move { idempotency::purge(&tx, now).await }).await
    }
}
