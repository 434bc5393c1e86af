//! Decisions that were made elsewhere, recorded many at a time.
//!
//! Each record succeeds or fails by itself, by the rules and with the errors of the single calls. A chunk is one
//! transaction with a number of statements that does not grow with the records: purposes, notices and consents are read
//! once, the rules run in memory in the order of the records, and what came of it is written in one go. A chunk that loses
//! a race is run again as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use portal_core::id::{ConsentId, EventId, Id, NoticeId, PurposeId, SubjectId};
use portal_core::{Invalid, Sensitive, Timestamp};
use portal_crypto::envelope::SubjectKey;
use portal_keys::{KeysError, SubjectKeys};
use portal_mesh::Permit;
use portal_store::{Inserts, StoreError};

use super::consents::{Seen, actor};
use super::{Answer, App, Done, Once};
use crate::domain::consent::{Act, Consent, Event, Evidence, Indication, Offer, Outcome};
use crate::domain::delegation::Delegation;
use crate::domain::language::Language;
use crate::domain::notice::Notice;
use crate::domain::purpose::Purpose;
use crate::domain::status::Status;
use crate::domain::subject::Capacity;
use crate::error::Error;
use crate::service::policy::BatchRecordConsents;
use crate::store::consents::Changed;
use crate::store::decisions::{self, Read};
use crate::store::events::Appended;
use crate::store::subjects::StoredSubject;
use crate::store::{Reading, Seals, Writing, consents, notices, purposes, receipts, subjects};

/// Records of one transaction.
pub(crate) const CHUNK: usize = 1_000;

/// A decision that was made elsewhere.
pub(crate) struct Record {
    pub(crate) subject: SubjectId,
    pub(crate) purpose: PurposeId,
    pub(crate) decision: Decision,
    pub(crate) method: Option<Indication>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) event_at: Option<Timestamp>,
    pub(crate) delegation: Option<Delegation>,
}

/// What was decided.
pub(crate) enum Decision {
    Give(Shown, Option<Duration>),
    Refuse(Shown),
    Renew(Shown, Option<Duration>),
    Withdraw(Option<Sensitive<String>>),
}

/// What the subject was shown.
pub(crate) struct Shown {
    pub(crate) notice: NoticeId,
    pub(crate) language: Language,
}

/// A record, or what is wrong with it.
pub(crate) type Asked = Result<Record, Invalid>;

/// What came of a record that was taken.
pub(crate) struct Recorded {
    pub(crate) seen: Seen,
    /// The status after the event, if there was one.
    pub(crate) changed: Option<Status>,
}

/// What came of a record.
pub(crate) type Item = Result<Recorded, Error>;

/// What came of a chunk.
pub(super) struct Taken {
    /// In the order of the records.
    pub(super) items: Vec<Item>,
    /// What is still to be inserted.
    pub(super) inserts: Inserts,
    /// Every consent that was read or made, as it stands after.
    pub(super) stand: Vec<Consent>,
}

impl Record {
    /// How much evidence there is.
    pub(super) fn bytes(&self) -> usize {
        self.evidence.iter().map(|evidence| evidence.content.expose().len()).sum()
    }

    fn shown(&self) -> Option<&Shown> {
        match &self.decision {
            Decision::Give(shown, _) | Decision::Refuse(shown) | Decision::Renew(shown, _) => Some(shown),
            Decision::Withdraw(_) => None,
        }
    }

    /// Whether its subject gets a key if there is none yet.
    fn makes_key(&self) -> bool {
        self.seals() || self.shown().is_some()
    }

    /// Whether it has something to be sealed.
    fn seals(&self) -> bool {
        !self.evidence.is_empty()
            || self.delegation.is_some()
            || matches!(self.decision, Decision::Withdraw(Some(_)))
    }
}

impl App {
    /// Records `records` in chunks, and answers for each chunk. The reply to a request id is kept for each chunk by itself,
    /// in its own transaction: the same request again records what is not in yet, and answers the same.
    pub(crate) async fn record_batch(
        &self,
        permit: &Permit<BatchRecordConsents>,
        records: &[Asked],
        once: Option<&Once<Vec<Item>>>,
    ) -> Result<Vec<Answer<Vec<Item>>>, Error> {
        let actor = &actor(permit.caller());
        let mut answers = Vec::with_capacity(records.len().div_ceil(CHUNK));
        for (number, chunk) in records.chunks(CHUNK).enumerate() {
            let once = once.map(|once| once.part(number));
            let change = &self.change(once.as_ref());
            let keys = &self.keys_of(chunk.iter().flatten()).await?;
            let (done, changed) = self
                .database
                .run_repeatable("record_consents", |tx| async move {
                    let tx = self.seals.writing(&tx).await?;
                    if let Some(kept) = change.kept(&tx).await? {
                        return Ok::<_, Error>((kept, Vec::new()));
                    }
                    let items = self.record_asked(&tx, chunk, (keys, actor), change.now).await?;
                    let changed = changes(&items);
                    Ok((change.done(&tx, &self.replies, items).await?, changed))
                })
                .await?;
            self.recorded(changed);
            if let Done::Kept(..) = &done {
                self.live.distrust();
            }
            answers.push(change.answer(&self.replies, done).await?);
        }
        Ok(answers)
    }

    /// Takes note of what was committed.
    pub(super) fn recorded(&self, changed: Vec<(Consent, Status)>) {
        for (consent, status) in changed {
            self.live.took(&consent);
            self.metrics.event(status);
        }
    }

    /// The keys of the people of `records`, as the single calls have them.
    pub(super) async fn keys_of<'r>(
        &self,
        records: impl Iterator<Item = &'r Record> + Clone,
    ) -> Result<KeysOfChunk, Error> {
        let subjects = |new: bool| -> BTreeSet<SubjectId> {
            let records = records.clone().filter(|record| record.makes_key() == new);
            records.map(|record| record.subject).collect()
        };
        let (new, known) = (subjects(true), subjects(false));
        let made = self.keys.subjects_or_new(&Vec::from_iter(new)).await;
        let made = if records.clone().any(Record::seals) { made? } else { made.unwrap_or_default() };
        let known = self.keys.subjects(&Vec::from_iter(known)).await.unwrap_or_default();
        Ok(KeysOfChunk { made, known })
    }

    /// Records a chunk; what is wrong in itself is refused in its place.
    pub(super) async fn record_asked(
        &self,
        tx: &Writing<'_>,
        chunk: &[Asked],
        (keys, actor): (&KeysOfChunk, &str),
        now: Timestamp,
    ) -> Result<Vec<Item>, Error> {
        let records: Vec<_> = chunk.iter().flatten().map(|record| (record, actor)).collect();
        let taken = self.record_chunk(tx, &records, keys, now).await?;
        taken.inserts.run(tx.tx()).await?;
        let mut items = taken.items.into_iter();
        let item = |asked: &Asked| match asked {
            Err(invalid) => Some(Err(Error::Invalid(invalid.clone()))),
            Ok(_) => items.next(),
        };
        Ok(chunk.iter().filter_map(item).collect())
    }

    /// Records a chunk: each record by an actor. All is done when its inserts are run.
    pub(super) async fn record_chunk(
        &self,
        tx: &Writing<'_>,
        records: &[(&Record, &str)],
        keys: &KeysOfChunk,
        now: Timestamp,
    ) -> Result<Taken, Error> {
        let mut chunk = Chunk::read(tx, records, &self.seals).await?;
        let mut items = Vec::with_capacity(records.len());
        for (record, actor) in records {
            let id = EventId::generate(now, &*self.entropy);
            let (actor, method, reason) = ((*actor).to_owned(), record.method, record.reason());
            let act = Act { event: id, actor, method, reason, event_at: record.event_at, now };
            let new = ConsentId::generate(now, &*self.entropy);
            items.push(chunk.take(record, (keys, new), act));
        }
        let changed: Vec<_> = chunk.changed.into_values().collect();
        let mut inserts = Inserts::of(tx.tx());
        self.record_many((tx, &mut inserts), (&changed, &chunk.events), chunk.subjects, now).await?;
        let mut unchanged: Vec<_> = items.iter_mut().flatten().map(|item| &mut item.seen).collect();
        unchanged.retain(|seen| seen.event.is_none());
        if !unchanged.is_empty() {
            // The state that they found may be one of this chunk.
            std::mem::replace(&mut inserts, Inserts::of(tx.tx())).run(tx.tx()).await?;
            name_receipts(tx, unchanged).await?;
        }
        Ok(Taken { items, inserts, stand: chunk.consents.into_values().flatten().collect() })
    }
}

/// Names, of each record that changed nothing, the receipt of the state that it found.
async fn name_receipts(tx: &Writing<'_>, unchanged: Vec<&mut Seen>) -> Result<(), StoreError> {
    let state = |seen: &Seen| (seen.consent.facts().id, seen.consent.facts().version);
    let states: Vec<_> = unchanged.iter().map(|seen| state(seen)).collect();
    let events = decisions::event_ids(tx, &states).await?;
    let ids: Vec<_> = events.values().copied().collect();
    let receipts = receipts::existing(tx, &ids).await?;
    for seen in unchanged {
        let event = events.get(&state(seen)).filter(|event| receipts.contains(event));
        seen.event = event.copied().map(EventId::from_uuid);
    }
    Ok(())
}

/// The keys of the people of a chunk.
pub(super) struct KeysOfChunk {
    /// Of those who get one if they have none.
    made: SubjectKeys,
    known: SubjectKeys,
}

impl KeysOfChunk {
    /// The key for what `record` changes. It is an error only where something can be sealed under it alone.
    pub(super) fn of(&self, record: &Record) -> Result<Option<&Arc<SubjectKey>>, KeysError> {
        match self.made.get(record.subject) {
            Ok(key) => Ok(Some(key)),
            Err(error) if record.seals() => Err(error),
            Err(_) => Ok(self.known.get(record.subject).ok()),
        }
    }
}

/// What was changed by `items`, and the statuses after the events.
pub(super) fn changes(items: &[Item]) -> Vec<(Consent, Status)> {
    let changed = |item: &Recorded| Some((item.seen.consent.clone(), item.changed?));
    items.iter().flatten().filter_map(changed).collect()
}

impl Record {
    fn reason(&self) -> Option<Sensitive<String>> {
        match &self.decision {
            Decision::Withdraw(reason) => reason.clone(),
            Decision::Give(..) | Decision::Refuse(_) | Decision::Renew(..) => None,
        }
    }
}

/// What the records of a chunk are about, as it stood and as it comes to stand.
struct Chunk<'a> {
    seals: &'a Seals,
    subjects: BTreeMap<SubjectId, Read<StoredSubject>>,
    purposes: BTreeMap<PurposeId, Read<Purpose>>,
    notices: BTreeMap<NoticeId, Read<Notice>>,
    consents: BTreeMap<(SubjectId, PurposeId), Read<Consent>>,
    changed: BTreeMap<ConsentId, Changed>,
    events: Vec<Appended<'a>>,
}

impl<'a> Chunk<'a> {
    async fn read(tx: &Reading<'_>, records: &[(&Record, &str)], seals: &'a Seals) -> Result<Self, Error> {
        let mut wanted: BTreeMap<PurposeId, BTreeSet<SubjectId>> = BTreeMap::new();
        let (mut purposes, mut notices) = (BTreeSet::new(), BTreeSet::new());
        let subjects = records.iter().map(|(record, _)| record.subject).collect();
        for (record, _) in records {
            wanted.entry(record.purpose).or_default().insert(record.subject);
            if let Some(shown) = record.shown() {
                purposes.insert(record.purpose);
                notices.insert(shown.notice);
            }
        }
        Ok(Self {
            seals,
            subjects: subjects::find_all(tx, &subjects).await?,
            purposes: purposes::offered(tx, &purposes).await?,
            notices: notices::offered(tx, &notices).await?,
            consents: consents::of_all(tx, &wanted).await?,
            changed: BTreeMap::new(),
            events: Vec::new(),
        })
    }

    /// Takes the next record: its consent is `new` if there is none yet.
    fn take(&mut self, record: &'a Record, (keys, new): (&'a KeysOfChunk, ConsentId), act: Act) -> Item {
        let key = keys.of(record)?;
        let at = act.now;
        let outcome = self.decide(record, (new, key), act)?.by(record.delegation.clone());
        let seen = Seen::after(&outcome, at);
        let changed = match outcome {
            Outcome::Unchanged(_) => None,
            Outcome::Changed(consent, event) => Some(self.change(consent, *event, &record.evidence, key)),
        };
        Ok(Recorded { seen, changed })
    }

    fn decide(
        &self,
        record: &Record,
        (new, key): (ConsentId, Option<&Arc<SubjectKey>>),
        act: Act,
    ) -> Result<Outcome, Error> {
        let found = self.consents.get(&(record.subject, record.purpose));
        let found = found.cloned().transpose().map_err(Error::Unreadable)?;
        let Some(shown) = record.shown() else {
            return Ok(found.ok_or(Error::ConsentNotFound)?.withdraw(act)?);
        };
        let purpose = known(&self.purposes, &record.purpose)?.ok_or(Error::PurposeNotFound)?;
        let notice = known(&self.notices, &shown.notice)?.ok_or(Error::NoticeNotFound)?;
        let offer = Offer::new(purpose, notice, shown.language.clone())?;
        let capacity = match &record.decision {
            Decision::Give(..) | Decision::Renew(..) => self.capacity(record.subject, key)?,
            Decision::Refuse(_) | Decision::Withdraw(_) => Capacity::Full,
        };
        let offer = offer.put_to(capacity, record.delegation.clone());
        let standing = found.unwrap_or_else(|| Consent::unknown(new, record.subject, &offer, act.now));
        Ok(match &record.decision {
            Decision::Give(_, valid_for) => standing.give(&offer, *valid_for, act),
            Decision::Refuse(_) => standing.refuse(&offer, act),
            Decision::Renew(_, valid_for) => standing.renew(&offer, *valid_for, act),
            Decision::Withdraw(_) => standing.withdraw(act),
        }?)
    }

    /// Whether `subject` can decide alone. Without their key nothing is known of somebody of whom there is something to know,
    /// and they can't consent until there is.
    fn capacity(&self, subject: SubjectId, key: Option<&Arc<SubjectKey>>) -> Result<Capacity, Error> {
        let Some(stored) = known(&self.subjects, &subject)? else { return Ok(Capacity::Full) };
        let key = key.ok_or(Error::KeyNotAtHand)?;
        Ok(stored.open(self.seals, key)?.details.capacity())
    }

    fn change(
        &mut self,
        consent: Consent,
        event: Event,
        evidence: &'a [Evidence],
        key: Option<&'a Arc<SubjectKey>>,
    ) -> Status {
        let (facts, status) = (consent.facts(), event.status);
        let read = facts.version - 1;
        self.changed
            .entry(facts.id)
            .and_modify(|changed| changed.consent = consent.clone())
            .or_insert_with(|| Changed { consent: consent.clone(), version: read });
        self.consents.insert((facts.subject, facts.purpose), Ok(consent));
        self.events.push(Appended { event, evidence, key });
        status
    }
}

fn known<'m, K: Ord, T>(all: &'m BTreeMap<K, Read<T>>, id: &K) -> Result<Option<&'m T>, Error> {
    match all.get(id) {
        None => Ok(None),
        Some(Ok(found)) => Ok(Some(found)),
        Some(Err(corrupt)) => Err(Error::Unreadable(Arc::clone(corrupt))),
    }
}
