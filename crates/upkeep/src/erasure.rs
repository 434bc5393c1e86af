//! What goes of a person besides their keys.
//!
//! With the keys, whatever is sealed is gone; what is left of a person in the clear is not. So nobody is erased while
//! rows still have their old form, and the indexes by which somebody could be found go as well. The rows themselves are
//! the services' own affair.

use portal_core::id::SubjectId;
use portal_keys::{Erasure, Keys, KeysError, Replayed};
use portal_store::StoreError;

use crate::indexes::Indexes;
use crate::migration::Migrations;

/// Erases people from a service. Cheap to clone.
#[derive(Clone)]
pub struct Erasures {
    keys: Keys,
    migrations: Migrations,
    indexes: Indexes,
}

/// Why nobody was erased, or not everything of somebody.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    /// The keys were not destroyed.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The database of the service failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A data migration that seals what is personal is not committed: what it has not sealed would stay readable.
    #[error("the data migration {migration} is not committed: what is in the clear until then would stay")]
    Unsealed {
        /// Its name.
        migration: &'static str,
    },
}

/// What erasing somebody came to.
#[derive(Clone, Debug)]
pub struct Erased {
    /// The destruction of their keys.
    pub keys: Erasure,
    /// How many rows could be found by what was indexed of them, until now.
    pub indexes: u64,
}

impl Erasures {
    /// Of the service with these keys, data migrations and indexes.
    #[must_use]
    pub fn new(keys: &Keys, migrations: &Migrations, indexes: &Indexes) -> Self {
        Self { keys: keys.clone(), migrations: migrations.clone(), indexes: indexes.clone() }
    }

    /// Checks that somebody can be erased.
    ///
    /// # Errors
    /// [`ErasureError::Unsealed`], [`ErasureError::Store`].
    pub async fn check(&self) -> Result<(), ErasureError> {
        match self.migrations.uncommitted().await? {
            None => Ok(()),
            Some(migration) => Err(ErasureError::Unsealed { migration }),
        }
    }

    /// Destroys the keys of `person` and takes their indexes away. Called again it does what is left and answers the same.
    ///
    /// # Errors
    /// [`ErasureError`].
    pub async fn erase(&self, person: SubjectId) -> Result<Erased, ErasureError> {
        self.check().await?;
        // The keys first: without them nothing that is under way can index the person again.
        let keys = self.keys.erase(person).await?;
        let indexes = self.indexes.forget(person).await?;
        Ok(Erased { keys, indexes })
    }

    /// Erases again whom the shred ledger names, after data or keys were put back from a backup. Returns what came of the
    /// keys, and how many rows could be found by an index.
    ///
    /// # Errors
    /// [`ErasureError`].
    pub async fn replay(&self) -> Result<(Replayed, u64), ErasureError> {
        let replayed = self.keys.replay_shreds().await?;
        Ok((replayed, self.indexes.forget_erased().await?))
    }
}
