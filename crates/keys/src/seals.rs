//! How often subject keys have sealed: counted in memory, written down in lumps.
//!
//! AES-GCM with random nonces stands 2^32 messages under a key; ours stop at 2^28, and a new generation takes over.
//! Each process counts its own seals on top of those that were written down when it loaded the key, and writes down
//! what it has made once it is 2^16, or when it ends. A crash forgets less than 2^16 of each key: it would take 2^16
//! crashes, each at the worst moment for the same key, before the bound of the cipher was in reach.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use portal_core::id::SubjectId;
use portal_store::StoreError;

use crate::cache::Unwritten;
use crate::hierarchy::Hierarchy;
use crate::store::subjects;

/// So many seals of one key are written down at once.
pub(crate) const LUMP: u64 = 1 << 16;
/// More keys than this are not kept in mind: all are written down then.
const MAX_REMEMBERED: usize = 65_536;
/// Keys that one statement is about.
const BATCH: usize = 1_000;

/// Seals of keys that have left the cache.
#[derive(Default)]
pub(crate) struct Seals(Mutex<HashMap<(SubjectId, u32), u64>>);

impl Seals {
    /// Keeps counts in mind.
    pub(crate) fn remember(&self, unwritten: impl IntoIterator<Item = Unwritten>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Unwritten { subject, generation, seals } in unwritten {
            *counts.entry((subject, generation)).or_default() += seals;
        }
    }

    /// Nobody will ask for these any more.
    pub(crate) fn forget(&self, subject: SubjectId) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|(of, _), _| *of != subject);
    }

    /// How many are kept in mind of this key.
    pub(crate) fn of(&self, subject: SubjectId, generation: u32) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&(subject, generation)).copied().unwrap_or(0)
    }

    /// Takes those that have to be written down.
    fn take(&self, all: bool) -> Vec<(SubjectId, u32, u64)> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all || counts.len() > MAX_REMEMBERED;
        let taken = counts.extract_if(|_, count| all || *count >= LUMP);
        taken.map(|((subject, generation), count)| (subject, generation, count)).collect()
    }
}

impl Hierarchy {
    /// Writes down the seals of keys that have made many since, or of all keys.
    pub(crate) async fn write_seals(&self, all: bool) -> Result<(), StoreError> {
        self.seals.remember(self.cache.take_unwritten(if all { 1 } else { LUMP }));
        let taken = self.seals.take(all);
        let tenant = self.scope.tenant;
        let mut batches = taken.chunks(BATCH);
        while let Some(batch) = batches.next() {
            let write = |tx| async move { subjects::add_seals(&tx, tenant, batch).await };
            if let Err(error) = self.database.run_tx("write_seals", write).await {
                // Counting twice is safe, forgetting is not.
                let rest = [batch].into_iter().chain(batches).flatten();
                self.seals.remember(rest.map(|(subject, generation, seals)| Unwritten {
                    subject: *subject,
                    generation: *generation,
                    seals: *seals,
                }));
                return Err(error);
            }
        }
        Ok(())
    }
}
