//! What can't be unsaid: that the old form of rows is not believed any more.
//!
//! The record of a migration stands beside the data. Whoever can write there could set it back and put in rows in the old
//! form, in the clear and without a digest: the service would believe them, and even seal them. So every step without a
//! way back is noted among the keys as well, and a record that lags behind is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portal_keys::{Keys, KeysError};
use portal_store::{Corruption, StoreError};

use super::state::{Mode, Record};

/// How far a migration is on the way that has no way back.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Stage {
    /// It can be rolled back.
    Reversible,
    /// The new form alone is believed; the old one is being dropped.
    NewAlone,
    /// The old form is gone.
    Committed,
}

impl Stage {
    const NOTED: [Self; 2] = [Self::NewAlone, Self::Committed];

    /// What is noted among the keys; never changes.
    const fn milestone(self) -> Option<&'static str> {
        match self {
            Self::Reversible => None,
            Self::NewAlone => Some("new_alone"),
            Self::Committed => Some("committed"),
        }
    }

    fn of(record: &Record) -> Self {
        match record.mode() {
            _ if record.committed => Self::Committed,
            Mode::New => Self::NewAlone,
            Mode::Old | Mode::Both => Self::Reversible,
        }
    }
}

/// How far the data migrations of a service have got for good. Clones share it.
#[derive(Clone)]
pub struct Finality(Arc<Shared>);

struct Shared {
    keys: Option<Keys>,
    /// The furthest stage of each migration that was noted.
    reached: Mutex<BTreeMap<String, Stage>>,
}

impl fmt::Debug for Finality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Finality").field(&*self.reached()).finish()
    }
}

/// Lets `migration` be believed to be where its record says, since an operator has put data back from before its commit.
/// The service must not run meanwhile. Says whether anything else was noted.
///
/// # Errors
/// [`KeysError::Store`].
pub async fn reopen(keys: &Keys, migration: &str) -> Result<bool, KeysError> {
    let mut noted = false;
    for milestone in Stage::NOTED.into_iter().filter_map(Stage::milestone) {
        noted |= keys.take_back(&format!("{migration}/{milestone}")).await?;
    }
    Ok(noted)
}

impl Finality {
    /// What was noted among `keys`.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn open(keys: &Keys) -> Result<Self, KeysError> {
        let finality = Self(Arc::new(Shared { keys: Some(keys.clone()), reached: Mutex::default() }));
        finality.refresh().await?;
        Ok(finality)
    }

    /// For migrations by whose record no service decides what it believes: nothing is noted.
    #[must_use]
    pub fn not_kept() -> Self {
        Self(Arc::new(Shared { keys: None, reached: Mutex::default() }))
    }

    /// Takes into account what other processes have noted.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub(super) async fn refresh(&self) -> Result<(), KeysError> {
        let Some(keys) = &self.0.keys else { return Ok(()) };
        for milestone in keys.reached().await? {
            let Some((migration, stage)) = milestone.split_once('/') else { continue };
            if let Some(stage) = Stage::NOTED.into_iter().find(|known| known.milestone() == Some(stage)) {
                self.raise(migration, stage);
            }
        }
        Ok(())
    }

    /// `record` as it may be believed.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the migration was further already: somebody has set the record back, or put the data
    /// back without the keys.
    pub(super) fn heed(&self, record: Record) -> Result<Record, StoreError> {
        let noted = self.reached().get(&record.name).copied().unwrap_or(Stage::Reversible);
        match Stage::of(&record) {
            stage if stage >= noted => Ok(record),
            // It is noted before it is recorded: a process that ended in between is not to seal rows once more.
            Stage::NewAlone => {
                let at = record.changed_at;
                Ok(record.settle(at))
            }
            _ => Err(StoreError::Corrupt {
                table: "data_migration",
                column: "state",
                row: record.name,
                cause: Corruption::LedgerMismatch,
            }),
        }
    }

    /// Whether the new form alone is believed.
    pub(super) fn is_new_alone(&self, migration: &str) -> bool {
        self.reached().get(migration).is_some_and(|stage| *stage >= Stage::NewAlone)
    }

    /// Notes among the keys how far `record` is.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub(super) async fn note(&self, record: &Record) -> Result<(), KeysError> {
        let stage = Stage::of(record);
        let Some(milestone) = stage.milestone() else { return Ok(()) };
        if let Some(keys) = &self.0.keys {
            keys.reach(&format!("{}/{milestone}", record.name)).await?;
        }
        self.raise(&record.name, stage);
        Ok(())
    }

    fn raise(&self, migration: &str, stage: Stage) {
        let mut reached = self.reached();
        let furthest = reached.entry(migration.to_owned()).or_insert(stage);
        *furthest = stage.max(*furthest);
    }

    fn reached(&self) -> MutexGuard<'_, BTreeMap<String, Stage>> {
        self.0.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
