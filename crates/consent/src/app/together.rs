//! Decisions that are asked for at the same time are committed together, as [`portal_upkeep::together`] does it. Requests with
//! the same id are never in one transaction: the later one finds the reply to the earlier one.
//!
//! The transactions are of REPEATABLE READ. What may not happen twice is refused by unique keys (a request id; a subject's
//! consent to a purpose; a consent's next event), and what is only read (purposes, notices, subjects) is written by
//! transactions that read no consent: whatever they come to, one came before the other.

use std::sync::Arc;

use portal_core::Timestamp;
use portal_keys::RequestHash;
use portal_store::idempotency::{self, Key};
use portal_store::{Inserts, StoreError};
use portal_upkeep::together::{self, Failure, Outcome, Together, Work};

use super::consents::Seen;
use super::records::{KeysOfChunk, Record};
use super::{Answer, App, Done, Once};
use crate::domain::consent::Consent;
use crate::domain::status::Status;
use crate::error::Error;
use crate::store::Writing;

/// Bytes of evidence of one transaction, if it has more than one decision.
const BYTES: usize = 4 << 20;

/// A decision that is asked for by a call of its own.
pub(crate) struct Single {
    pub(super) record: Record,
    /// Who made the call, as events name it.
    pub(super) actor: String,
    pub(super) once: Option<Once<Seen>>,
}

impl Single {
    fn key(&self) -> Option<&Key> {
        self.once.as_ref().map(|once| &once.key)
    }
}

impl Work for Single {
    type App = App;
    type Done = Answer<Seen>;
    type Error = Error;
    const NAME: &'static str = "decide_together";

    fn together(app: &App) -> &Together<Self> {
        &app.together
    }

    fn joins(&self, group: &[Self]) -> bool {
        let again = self.key().is_some() && group.iter().any(|one| one.key() == self.key());
        let bytes: usize = group.iter().map(|one| one.record.bytes()).sum();
        !again && bytes + self.record.bytes() <= BYTES
    }

    async fn commit(app: &App, group: &[Self]) -> Result<Vec<Outcome<Self>>, Error> {
        app.commit(group).await
    }
}

impl Failure for Error {
    fn store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }

    fn of_all(error: Arc<Self>) -> Self {
        Self::Together(error)
    }

    fn abandoned() -> Self {
        Self::Abandoned
    }
}

/// What a transaction came to.
struct Committed {
    done: Vec<Result<Done<Seen>, Error>>,
    /// The status after each event.
    events: Vec<Status>,
    /// Every consent that was read, as it stands after.
    stand: Vec<Consent>,
}

/// The decisions of a transaction, and what their requests are known again by.
type Group<'a> = (&'a [Single], &'a [Option<RequestHash>]);

impl App {
    /// Records a decision, in the next transaction.
    pub(super) async fn decide_together(self: &Arc<Self>, single: Single) -> Outcome<Single> {
        together::ask(self, single).await
    }

    /// Records all of them in one transaction.
    async fn commit(&self, group: &[Single]) -> Result<Vec<Outcome<Single>>, Error> {
        let now = self.clock.now();
        let keys = &self.keys_of(group.iter().map(|single| &single.record)).await?;
        let hash = |single: &Single| single.once.as_ref().map(|once| self.requests.of(&once.content));
        let hashes = &group.iter().map(hash).collect::<Vec<_>>();
        let committed = self
            .database
            .run_repeatable("decide_together", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                self.decide_all(&tx, (group, hashes), keys, now).await
            })
            .await?;
        // What is told to be in force or not must be found so, though another replica decided it.
        committed.stand.iter().for_each(|consent| self.live.took(consent));
        if !committed.events.is_empty() {
            committed.events.iter().for_each(|status| self.metrics.event(*status));
            self.log.wake();
        }
        let mut outcomes = Vec::with_capacity(group.len());
        for (done, single) in committed.done.into_iter().zip(group) {
            if let Ok(Done::Kept(..)) = &done {
                // Perhaps another replica committed it.
                self.live.distrust();
            }
            outcomes.push(match done {
                Err(error) => Err(error),
                Ok(Done::Fresh(seen)) => Ok(Answer::Fresh(seen)),
                Ok(Done::Kept(kept, hash)) => match single.key() {
                    None => Ok(Answer::Replayed(kept.plain)),
                    Some(key) => {
                        self.replies.open((key, &hash), kept).await.map(Answer::Replayed).map_err(Error::from)
                    }
                },
            });
        }
        Ok(outcomes)
    }

    async fn decide_all(
        &self,
        tx: &Writing<'_>,
        (group, hashes): Group<'_>,
        keys: &KeysOfChunk,
        now: Timestamp,
    ) -> Result<Committed, Error> {
        let forms = tx.mode().into();
        let ids: Vec<&Key> = group.iter().filter_map(Single::key).collect();
        let found = idempotency::find_all(tx.tx(), &ids, now).await?;
        let kept = |(single, hash): (&Single, &Option<RequestHash>)| {
            let reply = hash.as_ref()?.reply(found.get(single.key()?)?, forms);
            Some(reply.map(|(kept, hash)| Done::Kept(kept, hash)).map_err(Error::from))
        };
        let kept: Vec<Option<Result<Done<Seen>, Error>>> = group.iter().zip(hashes).map(kept).collect();
        let open = group.iter().zip(&kept).filter(|(_, kept)| kept.is_none()).map(|(single, _)| single);
        let records: Vec<_> = open.map(|single| (&single.record, single.actor.as_str())).collect();
        let taken = self.record_chunk(tx, &records, keys, now).await?;
        let mut inserts = taken.inserts;
        let events = taken.items.iter().flatten().filter_map(|item| item.changed).collect();
        let mut items = taken.items.into_iter();
        let mut done = Vec::with_capacity(group.len());
        for kept in kept {
            let fresh = || items.next().map(|item| item.map(|recorded| Done::Fresh(recorded.seen)));
            done.extend(kept.or_else(fresh));
        }
        self.keep_replies((tx, &mut inserts), (group, hashes), (&done, keys), now)?;
        inserts.run(tx.tx()).await?;
        Ok(Committed { done, events, stand: taken.stand })
    }

    /// Keeps the replies to those requests that have an id and were not answered before.
    fn keep_replies(
        &self,
        (tx, inserts): (&Writing<'_>, &mut Inserts),
        (group, hashes): Group<'_>,
        (done, keys): (&[Result<Done<Seen>, Error>], &KeysOfChunk),
        now: Timestamp,
    ) -> Result<(), Error> {
        let forms = tx.mode().into();
        let mut replies = Vec::new();
        for ((single, hash), done) in group.iter().zip(hashes).zip(done) {
            let (Some(once), Some(hash), Ok(Done::Fresh(seen))) = (&single.once, hash, done) else {
                continue;
            };
            let (reply, hash) = ((once.encode)(seen), hash.kept(forms));
            let key = keys.of(&single.record).ok().flatten().map(|key| &**key);
            let reply = self.replies.seal((&once.key, hash), key, &reply, forms)?;
            replies.push((&once.key, hash, reply));
        }
        Ok(idempotency::keep_all(inserts, replies, now)?)
    }
}
