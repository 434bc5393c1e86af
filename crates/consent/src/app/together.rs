//! Decisions that are asked for at the same time are committed together.
//!
//! A commit waits for the disk, and a transaction for a dozen answers of the database, whether it records one decision or
//! sixty. So whoever comes while others are being written waits for the next transaction, with all who came meanwhile.
//! Nobody waits for company: the first one to come is written at once.
//!
//! What it promises:
//! - Each decision succeeds or fails by itself: a group that fails as a whole is tried again one by one, unless it failed for
//!   what all have in common: a database that is not there is not asked once for each of them.
//! - Nobody is answered before the commit, and everybody is, whoever else hangs up.
//! - Requests with the same id are never in one group: the later one finds the reply to the earlier one.
//!
//! The transactions are of REPEATABLE READ. What may not happen twice is refused by unique keys (a request id; a subject's
//! consent to a purpose; a consent's next event), and what is only read (purposes, notices, subjects) is written by
//! transactions that read no consent: whatever they come to, one came before the other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portal_core::Timestamp;
use portal_keys::RequestHash;
use portal_mesh::task;
use portal_store::idempotency::{self, Key};
use portal_store::{Inserts, StoreError};
use tokio::sync::{Semaphore, oneshot};

use super::consents::Seen;
use super::records::{KeysOfChunk, Record};
use super::{Answer, App, Done, Once};
use crate::domain::consent::Consent;
use crate::domain::status::Status;
use crate::error::Error;
use crate::store::Writing;

/// Decisions of one transaction.
const MOST: usize = 128;
/// Bytes of evidence of one transaction, if it has more than one decision.
const BYTES: usize = 4 << 20;
/// Transactions at a time: while one waits for the disk, another one is prepared.
const TURNS: usize = 2;

/// A decision that is asked for by a call of its own.
pub(super) struct Single {
    pub(super) record: Record,
    /// Who made the call, as events name it.
    pub(super) actor: String,
    pub(super) once: Option<Once<Seen>>,
}

type Outcome = Result<Answer<Seen>, Error>;

struct Waiting {
    single: Single,
    answer: oneshot::Sender<Outcome>,
}

/// Those who wait for a transaction.
pub(crate) struct Together {
    waiting: Mutex<VecDeque<Waiting>>,
    turns: Arc<Semaphore>,
}

impl Default for Together {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turns: Arc::new(Semaphore::new(TURNS)) }
    }
}

impl Together {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first of those who wait, up to the second one with the same request id.
    fn next(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        let (mut group, mut bytes): (Vec<Waiting>, _) = (Vec::new(), 0);
        while let Some(next) = waiting.front() {
            let key = next.single.key();
            let again = key.is_some() && group.iter().any(|one| one.single.key() == key);
            bytes += next.single.record.bytes();
            if again || group.len() == MOST || (bytes > BYTES && !group.is_empty()) {
                break;
            }
            group.extend(waiting.pop_front());
        }
        group
    }
}

impl Single {
    fn key(&self) -> Option<&Key> {
        self.once.as_ref().map(|once| &once.key)
    }
}

/// Whether the next one would fail of the same, and after as long.
const fn is_common(error: &Error) -> bool {
    matches!(error, Error::Store(StoreError::Conflict { .. } | StoreError::Unavailable(_)))
}

fn all_failed(count: usize, error: Error) -> Vec<Outcome> {
    let error = Arc::new(error);
    (0..count).map(|_| Err(Error::Together(Arc::clone(&error)))).collect()
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
    pub(super) async fn decide_together(self: &Arc<Self>, single: Single) -> Outcome {
        let (answer, answered) = oneshot::channel();
        self.together.waiting().push_back(Waiting { single, answer });
        self.set_out();
        answered.await.unwrap_or(Err(Error::Abandoned))
    }

    /// Has a turn taken, if one is free, until nobody waits any more.
    fn set_out(self: &Arc<Self>) {
        let Ok(turn) = Arc::clone(&self.together.turns).try_acquire_owned() else { return };
        let app = Arc::clone(self);
        task::spawn("decide_together", async move {
            loop {
                let group = app.together.next();
                if group.is_empty() {
                    break;
                }
                app.answer_all(group).await;
            }
            drop(turn);
            // Whoever came in between found no turn free.
            if !app.together.waiting().is_empty() {
                app.set_out();
            }
        });
    }

    async fn answer_all(&self, group: Vec<Waiting>) {
        let (singles, answers): (Vec<_>, Vec<_>) =
            group.into_iter().map(|waiting| (waiting.single, waiting.answer)).unzip();
        let outcomes = match self.commit(&singles).await {
            Ok(outcomes) => outcomes,
            Err(error) if singles.len() == 1 => vec![Err(error)],
            Err(error) if is_common(&error) => all_failed(singles.len(), error),
            Err(_) => self.one_by_one(&singles).await,
        };
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // Whoever hung up is not told.
            drop(answer.send(outcome));
        }
    }

    /// Records each of them in a transaction of its own, as long as there is a database.
    async fn one_by_one(&self, singles: &[Single]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(singles.len());
        for single in singles.chunks(1) {
            match self.commit(single).await {
                Ok(outcome) => outcomes.extend(outcome),
                Err(error) if is_common(&error) => {
                    outcomes.extend(all_failed(singles.len() - outcomes.len(), error));
                    break;
                }
                Err(error) => outcomes.push(Err(error)),
            }
        }
        outcomes
    }

    /// Records all of them in one transaction.
    async fn commit(&self, group: &[Single]) -> Result<Vec<Outcome>, Error> {
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
