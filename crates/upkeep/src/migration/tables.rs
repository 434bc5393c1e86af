//! A migration over several tables: one table after the other, all in the same form when an operator commits.

use async_trait::async_trait;
use portal_keys::Keys;
use portal_store::{ReadTx, Tx};

use super::{Batch, DataMigration, MigrationError, Step};
use crate::Page;

/// One table of a migration.
#[async_trait]
pub trait TableMigration: Send + Sync {
    /// As [`DataMigration::count`].
    ///
    /// # Errors
    /// [`MigrationError`].
    async fn count(&self, tx: &ReadTx, step: Step) -> Result<u64, MigrationError>;

    /// As the method of [`DataMigration`] for the step.
    ///
    /// # Errors
    /// [`MigrationError`]; nothing of the batch is kept then.
    async fn batch(&self, tx: &Tx, step: Step, page: &Page) -> Result<Batch, MigrationError>;
}

/// Table after table, as one migration.
pub struct Tables {
    name: &'static str,
    description: &'static str,
    keys: Option<Keys>,
    tables: Vec<Box<dyn TableMigration>>,
}

impl Tables {
    /// At most 256 tables, in the order in which they are moved.
    #[must_use]
    pub fn new(name: &'static str, description: &'static str, tables: Vec<Box<dyn TableMigration>>) -> Self {
        Self { name, description, keys: None, tables }
    }

    /// With rows that are sealed with `keys`: no batch begins while the provider is away.
    #[must_use]
    pub fn sealed_with(self, keys: &Keys) -> Self {
        Self { keys: Some(keys.clone()), ..self }
    }

    /// A batch of the table that `page` is in: the first byte of its key says which, and what follows is the key in
    /// there.
    async fn batch(&self, tx: &Tx, step: Step, page: &Page) -> Result<Batch, MigrationError> {
        let (at, key) = match page.after.as_deref().and_then(<[u8]>::split_first) {
            Some((at, key)) => (*at, key),
            None => (0, &[][..]),
        };
        let Some(table) = self.tables.get(usize::from(at)) else { return Ok(Batch::of(page, 0, None)) };
        let after = (!key.is_empty()).then(|| key.to_vec());
        let mut batch = table.batch(tx, step, &Page { after, limit: page.limit }).await?;
        batch.next = match batch.next {
            Some(key) => Some([&[at], key.as_slice()].concat()),
            None => (usize::from(at) + 1 < self.tables.len()).then(|| vec![at + 1]),
        };
        Ok(batch)
    }
}

#[async_trait]
impl DataMigration for Tables {
    fn name(&self) -> &'static str {
        self.name
    }

    fn description(&self) -> &'static str {
        self.description
    }

    async fn ready(&self) -> Result<(), MigrationError> {
        match &self.keys {
            Some(keys) => Ok(keys.ready().await?),
            None => Ok(()),
        }
    }

    async fn count(&self, tx: &ReadTx, step: Step) -> Result<u64, MigrationError> {
        let mut sum = 0;
        for table in &self.tables {
            sum += table.count(tx, step).await?;
        }
        Ok(sum)
    }

    async fn move_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        self.batch(tx, Step::Move, page).await
    }

    async fn verify_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        self.batch(tx, Step::Verify, page).await
    }

    async fn undo_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        self.batch(tx, Step::Undo, page).await
    }

    async fn commit_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError> {
        self.batch(tx, Step::Commit, page).await
    }
}
