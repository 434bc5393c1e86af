//! What decisions rest on, in memory: the last state of every consent, and what is known of purposes and notices.
//!
//! Invariants: a consent only ever goes forward, by its version: what was read earlier never replaces what was written
//! later, however late it comes. It is answered by the same rule as from the database, and what is not known for sure,
//! such as the past or a corrupt record, is not answered at all: the database has to.
//!
//! Three million consents take less than 400 MB: a row has 72 bytes, what many of them share is kept once, and the table
//! is cut into shards, so that growing never holds much of it twice.
//!
//! | module | holds |
//! |---|---|
//! | `interned` | what many rows share |
//! | [`follower`] | how a snapshot follows the ledger |
//! | [`freshness`] | until when it may be answered from |

pub(crate) mod follower;
pub(crate) mod freshness;

mod interned;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use portal_core::Timestamp;
use portal_core::id::{ConsentId, Id, NoticeId, PurposeId, SubjectId};
use uuid::Uuid;

use crate::domain::consent::{Basis, Facts};
use crate::domain::decision::{Answer, KnownPurpose, Question, Record, Standing, decide};
use crate::domain::status::Status;
use interned::Interned;

/// A power of two.
const SHARDS: usize = 1_024;

/// What is known of purposes and notices. A corrupt one is there without what it says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) purposes: BTreeMap<PurposeId, Option<KnownPurpose>>,
    /// The published revisions of notices that changed their terms, and when.
    pub(crate) notices: BTreeMap<NoticeId, Option<Vec<(u32, Timestamp)>>>,
}

/// An answer, and the place in the ledger of the event that it rests on, if that has one yet.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) position: Option<u64>,
}

/// Every consent as it was last heard of.
pub(crate) struct Snapshot {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
    purposes: Interned<PurposeId>,
    bases: Interned<Basis>,
    terms: RwLock<Arc<Terms>>,
    /// Whose rows are corrupt, as far as the rows say.
    doubtful: RwLock<BTreeSet<(SubjectId, PurposeId)>>,
}

type Shard = HashSet<Row, RandomState>;

#[derive(Clone, Copy, Eq, Hash, PartialEq)]
struct Key {
    subject: [u8; 16],
    purpose: u32,
}

/// A consent in 72 bytes.
#[derive(Clone, Copy)]
struct Row {
    key: Key,
    basis: u32,
    version: u32,
    consent: [u8; 16],
    /// From when on it answers questions.
    since: i64,
    /// [`i64::MAX`] for never.
    expires_at: i64,
    /// The index of the status in the highest byte; in the others the place in the ledger and one, or nothing.
    state: u64,
}

impl Borrow<Key> for Row {
    fn borrow(&self) -> &Key {
        &self.key
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Row {}

impl std::hash::Hash for Row {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl Row {
    const PLACE: u64 = (1 << 56) - 1;

    fn new(key: Key, facts: &Facts, basis: u32, position: Option<u64>) -> Self {
        let row = Self {
            key,
            basis,
            version: version(facts.version),
            consent: facts.id.uuid().into_bytes(),
            since: facts.event_at.max(facts.recorded_at).as_micros(),
            expires_at: facts.expires_at.map_or(i64::MAX, Timestamp::as_micros),
            state: (facts.status as u64) << 56,
        };
        row.at(position)
    }

    fn at(self, position: Option<u64>) -> Self {
        let place = position.map_or(0, |position| position.saturating_add(1).min(Self::PLACE));
        Self { state: self.state & !Self::PLACE | place, ..self }
    }

    const fn position(&self) -> Option<u64> {
        (self.state & Self::PLACE).checked_sub(1)
    }

    fn status(&self) -> Status {
        let named = |status: &Status| *status as u64 == self.state >> 56;
        Status::ALL.into_iter().find(named).unwrap_or(Status::Unknown)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        (self.expires_at != i64::MAX).then(|| Timestamp::from_micros(self.expires_at))
    }
}

/// Nobody changes one consent four billion times.
fn version(version: u64) -> u32 {
    u32::try_from(version).unwrap_or(u32::MAX)
}

impl Default for Snapshot {
    fn default() -> Self {
        let hasher = RandomState::new();
        let shard = || RwLock::new(Shard::with_hasher(hasher.clone()));
        Self {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            hasher: hasher.clone(),
            purposes: Interned::default(),
            bases: Interned::default(),
            terms: RwLock::default(),
            doubtful: RwLock::default(),
        }
    }
}

impl Snapshot {
    /// Takes note of a consent, unless a later state of it is known. `position` is the place in the ledger of the event
    /// that led to it, if it is known.
    pub(crate) fn apply(&self, facts: &Facts, position: Option<u64>) {
        let key =
            Key { subject: facts.subject.uuid().into_bytes(), purpose: self.purposes.intern(facts.purpose) };
        let Some(mut shard) = self.shard_mut(&key) else { return };
        let known = shard.get(&key).copied();
        if known.is_some_and(|known| known.version > version(facts.version)) {
            return;
        }
        let same = known.filter(|known| known.version == version(facts.version));
        let position = position.or(same.and_then(|known| known.position()));
        shard.replace(Row::new(key, facts, self.bases.intern(facts.basis), position));
    }

    /// Takes note of the place in the ledger of the event that led to this version.
    pub(crate) fn sequenced(&self, whose: (SubjectId, PurposeId), at_version: u64, position: u64) {
        let Some(purpose) = self.purposes.index(&whose.1) else { return };
        let key = Key { subject: whose.0.uuid().into_bytes(), purpose };
        let Some(mut shard) = self.shard_mut(&key) else { return };
        let known = shard.get(&key).copied().filter(|known| known.version == version(at_version));
        if let Some(known) = known {
            shard.replace(known.at(Some(position)));
        }
    }

    /// Takes note that the row of a consent is corrupt. From now on the database answers about it.
    pub(crate) fn doubt(&self, subject: SubjectId, purpose: PurposeId) {
        write(&self.doubtful).insert((subject, purpose));
    }

    /// What is known of purposes and notices from now on.
    pub(crate) fn know(&self, terms: Terms) {
        *write(&self.terms) = Arc::new(terms);
    }

    /// The answer to a question that is asked at `now`; none if the database has to give it.
    pub(crate) fn answer(&self, question: &Question, now: Timestamp) -> Option<Answered> {
        let terms = Arc::clone(&read(&self.terms));
        let purpose = match terms.purposes.get(&question.purpose) {
            Some(known) => Some(known.as_ref()?),
            None => None,
        };
        if read(&self.doubtful).contains(&(question.subject, question.purpose)) {
            return None;
        }
        let Some(row) = self.row(question.subject, question.purpose) else {
            return Some(Answered { answer: decide(question, purpose, Standing::None), position: None });
        };
        if question.at < now && question.at.as_micros() < row.since {
            return None;
        }
        let record = self.record(&row, &terms)?;
        let answer = decide(question, purpose, Standing::Recorded(record));
        Some(Answered { answer, position: row.position() })
    }

    fn record(&self, row: &Row, terms: &Terms) -> Option<Record> {
        let basis = self.bases.get(row.basis)?;
        let later = match terms.notices.get(&basis.notice) {
            Some(material) => material.as_ref()?.as_slice(),
            None => &[],
        };
        let later = later.iter().filter(|(revision, _)| *revision > basis.notice_revision);
        Some(Record {
            consent: ConsentId::from_uuid(Uuid::from_bytes(row.consent)),
            status: row.status(),
            basis,
            expires_at: row.expires_at(),
            later_material_notices: later.map(|(_, at)| *at).collect(),
        })
    }

    fn row(&self, subject: SubjectId, purpose: PurposeId) -> Option<Row> {
        let key = Key { subject: subject.uuid().into_bytes(), purpose: self.purposes.index(&purpose)? };
        read(self.shard(&key)?).get(&key).copied()
    }

    /// How many consents there are.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).len()).sum()
    }

    /// Makes room for `consents` altogether at once: growing bit by bit leaves holes in the memory of the process.
    pub(crate) fn reserve(&self, consents: usize) {
        // Shards are not all equally full: by four deviations at most, if there are many consents.
        let mean = consents / SHARDS;
        let room = mean.saturating_add(mean.isqrt().saturating_mul(4));
        self.shards.iter().for_each(|shard| write(shard).reserve(room));
    }

    /// Forgets all of it.
    pub(crate) fn clear(&self) {
        self.shards.iter().for_each(|shard| write(shard).clear());
        write(&self.doubtful).clear();
        self.know(Terms::default());
    }

    fn shard(&self, key: &Key) -> Option<&RwLock<Shard>> {
        // Not the bits that the table of the shard goes by.
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or_default();
        self.shards.get(hash % SHARDS)
    }

    fn shard_mut(&self, key: &Key) -> Option<RwLockWriteGuard<'_, Shard>> {
        self.shard(key).map(write)
    }
}

/// Nothing here is left half-done by a panic.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
