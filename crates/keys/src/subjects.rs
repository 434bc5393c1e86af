//! Subject keys: found, opened, made.
//!
//! A subject has one key that seals, and older ones of earlier generations that open what they sealed. All are loaded
//! together.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use portal_core::id::{EpochId, SubjectId};
use portal_crypto::envelope::{MAX_SEALS, SubjectKey};
use portal_crypto::epoch::{SubjectKeyError, SubjectKeyRecord};
use portal_store::{ReadTx, StoreError, Tx};

use crate::cache::Fresh;
use crate::epochs::Opened;
use crate::error::{KeysError, Stored};
use crate::hierarchy::Hierarchy;
use crate::store::state::KeyState;
use crate::store::subjects::{self as rows, NewRecord, SubjectRow};
use crate::store::{epochs as epoch_rows, head};

/// Subjects that one query is about.
const BATCH: usize = 500;
/// How often rows are read again that were shredded, or whose epoch was retired, while they were on their way.
const MAX_READS: u32 = 5;
/// From so many seals on a key makes room for the next generation: a margin below the bound that no process reaches
/// while it still holds the old one.
const ROLL_AT: u64 = MAX_SEALS - (1 << 25);

/// Whether a subject without a key gets one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Absent {
    /// No: it is told as missing.
    Missing,
    /// Yes.
    New,
}

/// The keys of several subjects, and why others have none.
#[derive(Default)]
pub struct SubjectKeys(HashMap<SubjectId, Result<Arc<SubjectKey>, Fault>>);

/// Why one subject of several has no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Corrupt,
    EpochDisabled(EpochId),
    Erased,
    Missing,
}

impl Fault {
    fn of(self, subject: SubjectId) -> KeysError {
        match self {
            Self::Corrupt => KeysError::corrupt(Stored::SubjectKey, subject),
            Self::EpochDisabled(epoch) => KeysError::EpochDisabled(epoch),
            Self::Erased => KeysError::Erased(subject),
            Self::Missing => KeysError::Missing(subject),
        }
    }
}

impl SubjectKeys {
    /// The key of `subject`.
    ///
    /// # Errors
    /// [`KeysError::Missing`], also if it was not among those asked for; [`KeysError::Erased`];
    /// [`KeysError::EpochDisabled`]; [`KeysError::Corrupt`].
    pub fn get(&self, subject: SubjectId) -> Result<&Arc<SubjectKey>, KeysError> {
        match self.0.get(&subject) {
            Some(Ok(key)) => Ok(key),
            Some(Err(fault)) => Err(fault.of(subject)),
            None => Err(KeysError::Missing(subject)),
        }
    }

    /// The key of `subject`; `None` if they were erased, and nothing of them can be sealed or opened any more.
    ///
    /// # Errors
    /// As [`Self::get`], other than [`KeysError::Erased`].
    pub fn unless_erased(&self, subject: SubjectId) -> Result<Option<&Arc<SubjectKey>>, KeysError> {
        match self.get(subject) {
            Ok(key) => Ok(Some(key)),
            Err(KeysError::Erased(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many subjects were asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Hierarchy {
    /// The key of `subject`, if it is at hand.
    pub(crate) fn cached(&self, subject: SubjectId) -> Option<Arc<SubjectKey>> {
        let now = self.clock.now();
        if !self.trust.is_open(now) {
            self.metrics.distrusted();
            return None;
        }
        let key = self.cache.get(subject, now).filter(|key| key.seals() < ROLL_AT)?;
        self.metrics.found_in_cache();
        Some(key)
    }

    pub(crate) async fn subject(
        &self,
        subject: SubjectId,
        absent: Absent,
    ) -> Result<Arc<SubjectKey>, KeysError> {
        if let Some(key) = self.cached(subject) {
            return Ok(key);
        }
        let mut keys = SubjectKeys::default();
        self.load(&[subject], absent, &mut keys).await?;
        keys.get(subject).map(Arc::clone)
    }

    pub(crate) async fn subjects(
        &self,
        subjects: &[SubjectId],
        absent: Absent,
    ) -> Result<SubjectKeys, KeysError> {
        let mut keys = SubjectKeys(HashMap::with_capacity(subjects.len()));
        let mut wanted = Vec::new();
        let mut seen = HashSet::with_capacity(subjects.len());
        for subject in subjects.iter().copied().filter(|subject| seen.insert(*subject)) {
            match self.cached(subject) {
                Some(key) => drop(keys.0.insert(subject, Ok(key))),
                None => wanted.push(subject),
            }
        }
        for batch in wanted.chunks(BATCH) {
            self.load(batch, absent, &mut keys).await?;
        }
        Ok(keys)
    }

    /// Reads, opens and keeps the keys of a batch of subjects.
    async fn load(
        &self,
        subjects: &[SubjectId],
        absent: Absent,
        keys: &mut SubjectKeys,
    ) -> Result<(), KeysError> {
        let mut wanted = subjects.to_vec();
        for read in 1.. {
            // Both before the rows are read: what happens to them later is seen by these.
            let (loaded, purges) = (self.clock.now(), self.cache.purges());
            let found = match absent {
                Absent::Missing => self.find(&wanted).await?,
                Absent::New => self.find_or_make(&wanted).await?,
            };
            wanted = Vec::new();
            let (mut opened, mut evicted) = (0, Vec::new());
            for (subject, outcome) in self.open_all(found).await? {
                if let Ok((key, epoch)) = &outcome {
                    let fresh = Fresh { key: Arc::clone(key), loaded, epoch: Arc::clone(&epoch.window) };
                    if !self.cache.insert(fresh, purges, &mut evicted) && read < MAX_READS {
                        wanted.push(subject);
                        continue;
                    }
                    opened += 1;
                }
                keys.0.insert(subject, outcome.map(|(key, _)| key));
            }
            self.metrics.loaded(opened);
            self.seals.remember(evicted);
            if wanted.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// The rows of `subjects`; of those that have none, whether they were erased.
    async fn find(&self, subjects: &[SubjectId]) -> Result<Found, KeysError> {
        let tenant = self.scope.tenant;
        let find = |tx: ReadTx| async move {
            let rows = Found::new(subjects, rows::of(&tx, tenant, subjects).await?);
            self.mark_erased(&tx, rows).await
        };
        Ok(self.database.read("find_subject_keys", find).await?)
    }

    async fn mark_erased(&self, tx: &ReadTx, mut found: Found) -> Result<Found, StoreError> {
        let missing = found.missing();
        if !missing.is_empty() {
            let erased = self.erased_among(tx, &missing).await?;
            found.0.extend(erased.into_iter().map(|subject| (subject, Rows::Erased)));
        }
        Ok(found)
    }

    /// As [`Self::find`]; those that have none get one, and those whose key has sealed often enough the next generation.
    async fn find_or_make(&self, subjects: &[SubjectId]) -> Result<Found, KeysError> {
        if let Some(epoch) = self.epoch_at_hand()
            && let Some(found) = self.find_or_make_under(&epoch, subjects).await?
        {
            return Ok(found);
        }
        // Nobody waits for the provider if there is nothing to be made.
        let found = self.find(subjects).await?;
        if self.wanted(&found).is_empty() {
            return Ok(found);
        }
        for _ in 0..MAX_READS {
            let active = self.active_epoch().await?;
            let epoch = self.epoch(active.id).await?;
            if let Some(found) = self.find_or_make_under(&epoch, subjects).await? {
                return Ok(found);
            }
            // Another process has begun a new epoch.
            self.reload_active_epoch().await?;
        }
        Err(StoreError::Conflict { attempts: MAX_READS }.into())
    }

    /// The subjects and generations that are to be made.
    fn wanted(&self, found: &Found) -> Vec<(SubjectId, u32)> {
        found.wanted(|row| row.seals + self.seals.of(row.subject, row.generation) >= ROLL_AT)
    }

    /// As [`Self::find_or_make`], with what is new under `epoch`. `None` if that does not wrap new keys any more.
    async fn find_or_make_under(
        &self,
        epoch: &Opened,
        subjects: &[SubjectId],
    ) -> Result<Option<Found>, KeysError> {
        let (now, tenant, id) = (self.clock.now(), self.scope.tenant, epoch.key.id());
        let store = |tx: Tx| async move {
            // All of it in one transaction, so that neither an erasure nor a new epoch can come in between.
            let found = Found::new(subjects, rows::of(&tx, tenant, subjects).await?);
            let mut found = self.mark_erased(&tx, found).await?;
            let wanted = self.wanted(&found);
            if wanted.is_empty() {
                return Ok(Some((found, 0)));
            }
            let row = epoch_rows::find(&tx, tenant, id).await?;
            if row.is_none_or(|row| row.state != KeyState::Active) {
                return Ok(None);
            }
            let made = wanted.len();
            let make = |(subject, generation)| {
                let (_, record) = epoch.key.new_subject_key(subject, generation, now, &*self.entropy)?;
                Ok((subject, record))
            };
            let new = wanted.into_iter().map(make).collect::<Result<Vec<_>, KeysError>>()?;
            rows::insert(&tx, tenant, &new).await?;
            if new.iter().any(|(_, record)| record.generation() > 1) {
                // Other replicas have the generation before in their caches, and are about to meet the new one's seals.
                head::announce(&tx, tenant).await?;
            }
            found.add(new);
            Ok::<_, KeysError>(Some((found, made)))
        };
        let found = self.database.run_tx("make_subject_keys", store).await?;
        Ok(found.map(|(found, made)| {
            self.metrics.created(u64::try_from(made).unwrap_or(u64::MAX));
            found
        }))
    }

    /// Opens rows of keys under their epochs.
    async fn open_all(&self, found: Found) -> Result<Vec<(SubjectId, Outcome)>, KeysError> {
        let mut epochs: HashMap<EpochId, Result<Arc<Opened>, Fault>> = HashMap::new();
        let mut outcomes = Vec::with_capacity(found.0.len());
        for (subject, rows) in found.0 {
            let rows = match rows {
                Rows::Erased => {
                    outcomes.push((subject, Err(Fault::Erased)));
                    continue;
                }
                Rows::Found(rows) => rows,
            };
            for row in &rows {
                if let Entry::Vacant(vacant) = epochs.entry(row.epoch) {
                    vacant.insert(self.epoch_or_fault(row.epoch).await?);
                }
            }
            outcomes.push((subject, self.open_rows(&rows, &epochs)?));
        }
        Ok(outcomes)
    }

    /// The epoch key, or what is wrong with this epoch alone: others may be well.
    async fn epoch_or_fault(&self, epoch: EpochId) -> Result<Result<Arc<Opened>, Fault>, KeysError> {
        match self.epoch(epoch).await {
            Ok(opened) => Ok(Ok(opened)),
            Err(KeysError::Corrupt { what: Stored::EpochKey, .. }) => Ok(Err(Fault::Corrupt)),
            Err(KeysError::EpochDisabled(epoch)) => Ok(Err(Fault::EpochDisabled(epoch))),
            Err(error) => Err(error),
        }
    }

    /// Opens all keys of one subject.
    fn open_rows(
        &self,
        rows: &[SubjectRow],
        epochs: &HashMap<EpochId, Result<Arc<Opened>, Fault>>,
    ) -> Result<Outcome, KeysError> {
        let mut opened: Option<(SubjectKey, Arc<Opened>)> = None;
        for row in rows {
            let epoch = match epochs.get(&row.epoch) {
                Some(Ok(epoch)) => epoch,
                Some(Err(fault)) => return Ok(Err(*fault)),
                None => return Ok(Err(Fault::Corrupt)),
            };
            let Some(record) = row.record() else { return Ok(Err(Fault::Corrupt)) };
            let key = match epoch.key.unwrap(row.subject, &record) {
                Ok(key) => key.counting_from(row.seals + self.seals.of(row.subject, row.generation)),
                Err(SubjectKeyError::Disabled(disabled)) => return Err(disabled.into()),
                Err(_) => return Ok(Err(Fault::Corrupt)),
            };
            opened = Some(match opened {
                None => (key, Arc::clone(epoch)),
                Some((older, _)) => (key.after(older), Arc::clone(epoch)),
            });
        }
        Ok(opened.map(|(key, epoch)| (Arc::new(key), epoch)).ok_or(Fault::Missing))
    }
}

/// An opened key and the epoch that opened it.
type Outcome = Result<(Arc<SubjectKey>, Arc<Opened>), Fault>;

/// What the database has of the subjects asked for.
struct Found(HashMap<SubjectId, Rows>);

enum Rows {
    Erased,
    /// None, or one per generation, the oldest first.
    Found(Vec<SubjectRow>),
}

impl Found {
    fn new(subjects: &[SubjectId], rows: Vec<SubjectRow>) -> Self {
        let mut found: HashMap<_, _> =
            subjects.iter().map(|subject| (*subject, Rows::Found(Vec::new()))).collect();
        for row in rows {
            if let Some(Rows::Found(rows)) = found.get_mut(&row.subject) {
                rows.push(row);
            }
        }
        Self(found)
    }

    /// Adds keys that have just been stored.
    fn add(&mut self, new: Vec<NewRecord>) {
        for (subject, record) in new {
            if let Some(Rows::Found(rows)) = self.0.get_mut(&subject) {
                rows.push(SubjectRow::new(subject, &record));
            }
        }
    }

    fn missing(&self) -> Vec<SubjectId> {
        let empty = |rows: &Rows| matches!(rows, Rows::Found(rows) if rows.is_empty());
        self.0.iter().filter(|(_, rows)| empty(rows)).map(|(subject, _)| *subject).collect()
    }

    /// The subjects and generations that are missing.
    fn wanted(&self, is_full: impl Fn(&SubjectRow) -> bool) -> Vec<(SubjectId, u32)> {
        let next = |(subject, rows): (&SubjectId, &Rows)| match rows {
            Rows::Erased => None,
            Rows::Found(rows) => match rows.last() {
                None => Some((*subject, 1)),
                Some(last) => is_full(last).then(|| (*subject, last.generation + 1)),
            },
        };
        self.0.iter().filter_map(next).collect()
    }
}

impl SubjectRow {
    fn new(subject: SubjectId, record: &SubjectKeyRecord) -> Self {
        Self {
            subject,
            generation: record.generation(),
            epoch: record.epoch(),
            record: record.to_bytes().to_vec(),
            seals: 0,
        }
    }

    /// The record, if it is one of this row.
    pub(crate) fn record(&self) -> Option<SubjectKeyRecord> {
        let record = SubjectKeyRecord::from_bytes(&self.record).ok()?;
        (record.epoch() == self.epoch && record.generation() == self.generation).then_some(record)
    }
}
