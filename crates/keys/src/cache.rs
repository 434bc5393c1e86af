//! Opened subject keys: bounded, and of short life.
//!
//! Promises: no more keys than the capacity; none is given out after its own time, or after the time of the epoch key
//! that opened it; what is removed is wiped as soon as its last user lets go of it.
//!
//! **Erasure.** A loader that read a subject's rows just before they were deleted must not put the key in after the
//! others were purged. So each insertion names the number of purges made *before* its rows were read, and is refused if
//! there were later ones: the loader reads again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portal_core::Timestamp;
use portal_core::id::{Id, SubjectId};
use portal_crypto::envelope::SubjectKey;

use crate::store::shreds::SubjectTag;
use crate::window::Window;

const SHARDS: usize = 64;

/// How many seals a key has made that are not written down yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Unwritten {
    pub(crate) subject: SubjectId,
    pub(crate) generation: u32,
    pub(crate) seals: u64,
}

/// A key to put in.
pub(crate) struct Fresh {
    pub(crate) key: Arc<SubjectKey>,
    /// When its rows were asked for.
    pub(crate) loaded: Timestamp,
    /// The time of the epoch key that opened it.
    pub(crate) epoch: Arc<Window>,
}

struct Entry {
    key: Arc<SubjectKey>,
    window: Window,
    epoch: Arc<Window>,
    /// Seals of this key object that were written down.
    written: u64,
    /// Asked for since it was put in or last spared.
    used: bool,
    /// The keyed hash of the subject, made at the first purge that meets it.
    tag: Option<SubjectTag>,
}

impl Entry {
    fn is_usable(&self, now: Timestamp) -> bool {
        self.window.is_open(now) && self.epoch.is_open(now)
    }

    fn unwritten(&self) -> Option<Unwritten> {
        let seals = self.key.seals().saturating_sub(self.written);
        let (subject, generation) = (self.key.owner().subject, self.key.generation());
        (seals > 0).then_some(Unwritten { subject, generation, seals })
    }
}

/// A part of the cache under a lock of its own.
#[derive(Default)]
struct Shard {
    entries: HashMap<SubjectId, Entry>,
    /// In the order of insertion; may name some that are gone.
    queue: VecDeque<SubjectId>,
}

/// The cache of one service.
pub(crate) struct Cache {
    shards: Vec<Mutex<Shard>>,
    /// Entries per shard.
    capacity: usize,
    ttl: Duration,
    /// How many purges were made.
    purges: AtomicU64,
}

impl Cache {
    /// An empty cache for `capacity` keys at most, each for `ttl` at most.
    pub(crate) fn new(capacity: usize, ttl: Duration) -> Self {
        // A small cache is not cut into pieces that would fill up one long before the other.
        let count = if capacity == 0 { 0 } else { (capacity / SHARDS).clamp(1, SHARDS) };
        let shards: Vec<_> = (0..count).map(|_| Mutex::default()).collect();
        let capacity = capacity.checked_div(count).unwrap_or(0);
        Self { shards, capacity, ttl, purges: AtomicU64::new(0) }
    }

    /// The key of `subject`, if it may still be used at `now`.
    pub(crate) fn get(&self, subject: SubjectId, now: Timestamp) -> Option<Arc<SubjectKey>> {
        let mut shard = self.shard(subject)?;
        let entry = shard.entries.get_mut(&subject).filter(|entry| entry.is_usable(now))?;
        entry.used = true;
        Some(Arc::clone(&entry.key))
    }

    /// How many purges were made: to be asked before rows are read.
    pub(crate) fn purges(&self) -> u64 {
        self.purges.load(Ordering::Acquire)
    }

    /// Puts a key in whose rows were read after so many purges. `false` if there were later ones.
    pub(crate) fn insert(&self, fresh: Fresh, purges: u64, evicted: &mut Vec<Unwritten>) -> bool {
        let subject = fresh.key.owner().subject;
        let Some(mut shard) = self.shard(subject) else { return true };
        // Under the shard's lock, which a purge takes after it has counted itself.
        if self.purges() != purges {
            return false;
        }
        let entry = Entry {
            written: fresh.key.seals(),
            key: fresh.key,
            window: Window::new(fresh.loaded, self.ttl),
            epoch: fresh.epoch,
            used: false,
            tag: None,
        };
        match shard.entries.insert(subject, entry) {
            Some(old) => evicted.extend(old.unwritten()),
            None => {
                shard.queue.push_back(subject);
                shard.evict(self.capacity, evicted);
            }
        }
        true
    }

    /// Removes the keys of the subjects that have one of `tags`.
    pub(crate) async fn purge(&self, tags: &HashSet<SubjectTag>, tag_of: impl Fn(SubjectId) -> SubjectTag) {
        self.purges.fetch_add(1, Ordering::AcqRel);
        for shard in &self.shards {
            lock(shard).entries.retain(|subject, entry| {
                let tag = entry.tag.get_or_insert_with(|| tag_of(*subject));
                !tags.contains(tag)
            });
            // The first purge makes all tags, which for a full cache takes longer than others should wait.
            tokio::task::yield_now().await;
        }
    }

    /// Removes the key of one subject.
    pub(crate) fn purge_one(&self, subject: SubjectId) {
        self.purges.fetch_add(1, Ordering::AcqRel);
        if let Some(mut shard) = self.shard(subject) {
            shard.entries.remove(&subject);
        }
    }

    /// Removes everything.
    pub(crate) fn clear(&self) -> Vec<Unwritten> {
        self.purges.fetch_add(1, Ordering::AcqRel);
        let mut unwritten = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            unwritten.extend(shard.entries.values().filter_map(Entry::unwritten));
            *shard = Shard::default();
        }
        unwritten
    }

    /// Removes what may not be used any more at `now`, and says what was not written down of it.
    pub(crate) fn sweep(&self, now: Timestamp) -> Vec<Unwritten> {
        let mut unwritten = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.entries.retain(|_, entry| {
                let keep = entry.is_usable(now);
                if !keep {
                    unwritten.extend(entry.unwritten());
                }
                keep
            });
            shard.tidy();
        }
        unwritten
    }

    /// What was not written down of the keys that have made `least` seals or more since; it counts as written now.
    pub(crate) fn take_unwritten(&self, least: u64) -> Vec<Unwritten> {
        let mut taken = Vec::new();
        for shard in &self.shards {
            for entry in lock(shard).entries.values_mut() {
                if let Some(unwritten) = entry.unwritten().filter(|unwritten| unwritten.seals >= least) {
                    entry.written += unwritten.seals;
                    taken.push(unwritten);
                }
            }
        }
        taken
    }

    /// How many keys it holds.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).entries.len()).sum()
    }

    fn shard(&self, subject: SubjectId) -> Option<MutexGuard<'_, Shard>> {
        // The last bytes of a UUID of version 7 are random.
        let [.., last] = subject.bytes();
        self.shards.get(usize::from(last) % self.shards.len().max(1)).map(lock)
    }
}

impl Shard {
    /// Makes room: the oldest go, those that were asked for meanwhile are spared once.
    fn evict(&mut self, capacity: usize, evicted: &mut Vec<Unwritten>) {
        while self.entries.len() > capacity {
            let Some(subject) = self.queue.pop_front() else { return };
            match self.entries.get_mut(&subject) {
                None => {}
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.queue.push_back(subject);
                }
                Some(entry) => {
                    evicted.extend(entry.unwritten());
                    self.entries.remove(&subject);
                }
            }
        }
    }

    /// Drops the names of those that are gone, each of the others stays once.
    fn tidy(&mut self) {
        if self.queue.len() > self.entries.len() {
            let mut seen = HashSet::with_capacity(self.entries.len());
            self.queue.retain(|subject| self.entries.contains_key(subject) && seen.insert(*subject));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
