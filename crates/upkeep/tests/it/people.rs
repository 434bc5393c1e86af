//! Whose keys seal the rows: made-up ones, the same in every process of a test, or a service's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use portal_core::id::{EpochId, Id, SubjectId, TenantId};
use portal_core::{SeededEntropy, Timestamp, Workload};
use portal_crypto::envelope::{Scope, SubjectKey};
use portal_crypto::epoch::EpochKey;
use portal_crypto::key::KeyBytes;
use portal_crypto::suite::Suites;
use portal_keys::KeysError;
use sea_orm::prelude::Uuid;

/// How many people made-up rows are about.
pub const SUBJECTS: u128 = 50;

pub const SCOPE: Scope = Scope { service: Workload::Consent, tenant: TenantId::DEFAULT };

/// Subject keys as a service has them.
pub struct Keys {
    source: Source,
    people: u128,
    /// The key of this subject was destroyed.
    pub destroyed: Option<u128>,
}

enum Source {
    MadeUp(Vec<Arc<SubjectKey>>),
    /// With the keys that were asked for: they are held, as a service holds those of a batch.
    Service(portal_keys::Keys, Mutex<HashMap<Uuid, Arc<SubjectKey>>>),
}

impl Keys {
    /// From one epoch key that is always the same.
    pub fn made_up() -> Self {
        let entropy = SeededEntropy::new(1);
        let epoch = EpochId::from_uuid(Uuid::from_u128(1));
        let epoch = EpochKey::new(&KeyBytes::generate(&entropy), epoch, SCOPE, Suites::ALL);
        let key = |subject| {
            let subject = SubjectId::from_uuid(Uuid::from_u128(subject));
            Arc::new(epoch.new_subject_key(subject, 1, Timestamp::default(), &entropy).unwrap().0)
        };
        let keys = (0..SUBJECTS).map(key).collect();
        Self { source: Source::MadeUp(keys), people: SUBJECTS, destroyed: None }
    }

    /// The keys of a service, for so many people.
    pub fn of_service(keys: portal_keys::Keys, people: u128) -> Self {
        Self { source: Source::Service(keys, Mutex::default()), people, destroyed: None }
    }

    /// The person that the row `id` is about.
    pub fn subject_of(&self, id: u128) -> Uuid {
        Uuid::from_u128(id * 7 % self.people)
    }

    /// Has the keys of these people at hand.
    pub async fn warm(&self, subjects: impl Iterator<Item = Uuid>) -> Result<(), KeysError> {
        let Source::Service(keys, held) = &self.source else { return Ok(()) };
        let mut missing: Vec<_> = {
            let held = held.lock().unwrap();
            subjects.filter(|subject| !held.contains_key(subject)).map(SubjectId::from_uuid).collect()
        };
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let found = keys.subjects_or_new(&missing).await?;
        let mut held = held.lock().unwrap();
        for subject in missing {
            held.insert(subject.uuid(), Arc::clone(found.get(subject)?));
        }
        Ok(())
    }

    /// The key of this person, which is at hand.
    pub fn of(&self, subject: Uuid) -> Option<Arc<SubjectKey>> {
        if self.destroyed == Some(subject.as_u128()) {
            return None;
        }
        match &self.source {
            Source::MadeUp(keys) => keys.get(usize::try_from(subject.as_u128()).ok()?).cloned(),
            Source::Service(_, held) => held.lock().unwrap().get(&subject).cloned(),
        }
    }
}
