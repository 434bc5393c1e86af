//! Blind indexes: by what rows with sealed values are found, and how their keys come and go.
//!
//! The keys are in the key database and the rows in the service's own: what concerns both is here. A new key takes over
//! at once for new rows; the others are found by the retired one until a data migration has indexed them anew, and only
//! then can that be destroyed. A person's index goes with their keys, since by it somebody could still be found.

use std::sync::Arc;

use async_trait::async_trait;
use portal_core::id::SubjectId;
use portal_keys::{Keys, KeysError, Purpose};
use portal_store::{Database, ReadTx, StoreError, Tx};

/// So many persons are looked at in one transaction.
const BATCH: u64 = 500;

/// The blind index of one column of a service.
#[async_trait]
pub trait BlindIndex: Send + Sync {
    /// The table.
    fn table(&self) -> &'static str;

    /// The column whose values are found.
    fn column(&self) -> &'static str;

    /// The data migration that indexes rows under the active key.
    fn migration(&self) -> &'static str;

    /// How many rows are found by the key of `generation`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn found_by(&self, tx: &ReadTx, generation: u32) -> Result<u64, StoreError>;

    /// Persons with a row that can be found, after `after` in the order of their ids, `limit` at most.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn people(
        &self,
        tx: &ReadTx,
        after: Option<SubjectId>,
        limit: u64,
    ) -> Result<Vec<SubjectId>, StoreError>;

    /// Takes the index from the rows of these persons: by no key are they found any more. Returns how many had one.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn forget(&self, tx: &Tx, people: &[SubjectId]) -> Result<u64, StoreError>;
}

/// The blind indexes of a service. Cheap to clone.
#[derive(Clone)]
pub struct Indexes {
    keys: Keys,
    database: Database,
    all: Arc<[Arc<dyn BlindIndex>]>,
}

/// The key of an index, as its id names it.
#[derive(Clone)]
pub struct IndexKey {
    /// Whose key.
    pub index: Arc<dyn BlindIndex>,
    /// Which of those that followed each other.
    pub generation: u32,
}

impl Indexes {
    /// The indexes of the rows in `database`.
    #[must_use]
    pub fn new(keys: &Keys, database: &Database, all: Vec<Arc<dyn BlindIndex>>) -> Self {
        Self { keys: keys.clone(), database: database.clone(), all: all.into() }
    }

    /// The index of this column, written as in `account.email`.
    #[must_use]
    pub fn of(&self, column: &str) -> Option<&Arc<dyn BlindIndex>> {
        self.all.iter().find(|index| scope(&***index) == column)
    }

    /// The one index, if there is only one.
    #[must_use]
    pub fn only(&self) -> Option<&Arc<dyn BlindIndex>> {
        match &*self.all {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The key with this id, as an inventory shows it, if it is of one of these indexes.
    #[must_use]
    pub fn key(&self, id: &str) -> Option<IndexKey> {
        let (scope, generation) =
            id.strip_prefix(Purpose::BlindIndex.name())?.strip_prefix('/')?.split_once('/')?;
        Some(IndexKey { index: Arc::clone(self.of(scope)?), generation: generation.parse().ok()? })
    }

    /// Makes a new key for `index`, if `expected` is still the active generation or none is named.
    ///
    /// # Errors
    /// [`KeysError`] if the provider or the key database failed.
    pub async fn rotate(&self, index: &dyn BlindIndex, expected: Option<u32>) -> Result<u32, KeysError> {
        let (table, column) = (index.table(), index.column());
        match expected {
            None => self.keys.rotate_index_key(table, column).await,
            Some(expected) => self.keys.replace_index_key(table, column, expected).await,
        }
    }

    /// Destroys a retired key by which no row is found any more.
    ///
    /// # Errors
    /// [`KeysError::IndexInUse`] if one is, [`KeysError::State`], [`KeysError::NoSuchKey`]; [`KeysError`] if a database
    /// failed.
    pub async fn destroy(&self, key: &IndexKey) -> Result<(), KeysError> {
        let IndexKey { index, generation } = key;
        let count = |tx: ReadTx| async move { index.found_by(&tx, *generation).await };
        let found = self.database.read("rows_of_index_key", count).await?;
        self.keys.destroy_index_key(index.table(), index.column(), (*generation, found)).await
    }

    /// Takes the indexes of `person` away.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget(&self, person: SubjectId) -> Result<u64, StoreError> {
        let mut rows = 0;
        for index in &*self.all {
            let forget = |tx: Tx| async move { index.forget(&tx, &[person]).await };
            rows += self.database.run_tx("forget_index", forget).await?;
        }
        Ok(rows)
    }

    /// Takes the indexes of all away who were erased: data that was put back from a backup may have some again.
    ///
    /// # Errors
    /// [`KeysError`] if a database or the provider failed.
    pub async fn forget_erased(&self) -> Result<u64, KeysError> {
        let mut rows = 0;
        for index in &*self.all {
            let mut after = None;
            loop {
                let read = |tx: ReadTx| async move { index.people(&tx, after, BATCH).await };
                let people = self.database.read("people_of_index", read).await?;
                let Some(last) = people.last() else { break };
                after = Some(*last);
                let keys = self.keys.subjects(&people).await?;
                let erased = |person: &&SubjectId| matches!(keys.get(**person), Err(KeysError::Erased(_)));
                let erased: Vec<_> = people.iter().filter(erased).copied().collect();
                if !erased.is_empty() {
                    let erased = &erased;
                    let forget = |tx: Tx| async move { index.forget(&tx, erased).await };
                    rows += self.database.run_tx("forget_indexes", forget).await?;
                }
            }
        }
        Ok(rows)
    }
}

fn scope(index: &dyn BlindIndex) -> String {
    format!("{}.{}", index.table(), index.column())
}
