//! A change that happens once per request id, however often it is asked for.

use std::future::Future;

use portal_core::Timestamp;
use portal_crypto::envelope::SubjectKey;
use portal_store::idempotency::{self, KeptReply, Key};
use portal_store::{ReadTx, Tx};

use super::App;
use crate::error::Error;
use crate::store::Seals;

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

/// How the transaction of a change ended.
pub(super) enum Outcome<T> {
    /// The same request was answered before.
    Again(KeptReply),
    /// It happened now.
    First(T),
}

impl<T> Change<T> {
    /// The reply of the same request before, if there was one.
    pub(super) async fn before(&self, tx: &ReadTx, seals: &Seals) -> Result<Option<KeptReply>, Error> {
        let Some((key, fingerprint)) = &self.request else { return Ok(None) };
        let forms = seals.mode(tx).await?.into();
        Ok(idempotency::recall(tx, key, fingerprint, forms, self.now).await?)
    }
}

impl App {
    /// Runs `body` unless the same request was answered before. The reply is kept under the key of the person it is
    /// `about`, or the service's own key if it is about nobody.
    pub(super) async fn once<T, F>(
        &self,
        tx: &Tx,
        change: &Change<T>,
        about: Option<&SubjectKey>,
        body: F,
    ) -> Result<Outcome<T>, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        if let Some(kept) = change.before(tx, &self.seals).await? {
            return Ok(Outcome::Again(kept));
        }
        let result = body.await?;
        if let Some((key, fingerprint)) = &change.request {
            let reply = (change.encode)(&result, change.now);
            let forms = self.seals.mode(tx).await?.into();
            let kept = self.replies.seal((key, fingerprint), about, &reply, forms)?;
            idempotency::keep(tx, key, fingerprint, &kept, change.now).await?;
        }
        Ok(Outcome::First(result))
    }

    /// The reply of a change whose transaction has ended.
    pub(super) async fn reply<T>(&self, change: &Change<T>, outcome: Outcome<T>) -> Result<Reply<T>, Error> {
        match (outcome, &change.request) {
            (Outcome::First(value), _) => Ok(Reply::First(value)),
            (Outcome::Again(kept), Some((key, fingerprint))) => {
                Ok(Reply::Again(self.replies.open((key, fingerprint), kept).await?))
            }
            // Without a request id nothing is found again.
            (Outcome::Again(kept), None) => Ok(Reply::Again(kept.plain)),
        }
    }
}
