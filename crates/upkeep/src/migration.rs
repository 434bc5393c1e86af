//! Data migrations: rows are moved from an old form to a new one while the service goes on working.
//!
//! A service writes a [`DataMigration`]; the engine does the rest: one batch after the other, each in one transaction
//! with the place it has reached, by whichever process holds the lease. A process that is killed leaves a batch that
//! happened or one that did not, and the next one goes on from there: no row is missed and none is moved twice.
//!
//! Operators steer it through its record in the database, so that a call, a command and another process do the same
//! thing: start, pause, verify, roll back, commit. Until it is committed both forms are there, and it can be rolled
//! back. The rules for the service that make this safe while it is working:
//! - It asks [`ModeOf`] in each transaction that writes such a row, and writes what the [`Mode`] says. With
//!   [`Mode::New`] it clears the old form of the row.
//! - It reads the old form where there is one, and else the new one.
//! - An earlier version of the service knows the old form alone. Its rows are found in another pass, and moved again
//!   when both forms are compared. It must be gone before the commit.
//!
//! | module | holds |
//! |---|---|
//! | [`engine`] | [`Migrations`]: what operators see and ask for |
//! | `runner` | the batches |
//! | [`sealing`] | tables whose rows get sealed cells and digests |
//! | [`state`] | states and transitions, pure |
//! | [`progress`] | counts, rate, time left, pure |
//! | [`finality`] | what has no way back, noted where whoever writes the data can't reach it |
//! | `pace` | batch size and rate limit, pure |
//! | [`undo`] | the log of old forms, for migrations that overwrite them |
//! | `table` | the tables of all this |
//! | [`tables`] | a migration over several tables of a service |

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use portal_keys::KeysError;
use portal_store::{ReadTx, StoreError, Tx};

pub mod engine;
pub mod finality;
mod pace;
pub mod progress;
mod runner;
pub mod sealing;
pub mod state;
pub(crate) mod table;
pub mod tables;
pub mod undo;

pub use engine::{Migration, Migrations, Operation, OperationError};
pub use finality::Finality;
pub use progress::Progress;
pub use state::{Mode, Record, State, Step, TransitionError};
pub use tables::{TableMigration, Tables};

use crate::{Page, reasons};

/// Rows and how to move them. Every method looks at rows in the order of their keys.
#[async_trait]
pub trait DataMigration: Send + Sync {
    /// Its name, unique in the service and for ever, such as `d0001_seal_accounts`.
    fn name(&self) -> &'static str;

    /// What it changes, in a sentence.
    fn description(&self) -> &'static str;

    /// Whether it can be started again after it is done, since new rows to move may come: when a key was rotated, say.
    /// Its rows mean the same in both forms.
    fn repeats(&self) -> bool {
        false
    }

    /// Asks for what a batch may have to wait for, before the transaction of each, which keeps others waiting.
    ///
    /// # Errors
    /// [`MigrationError`]; no batch begins then.
    async fn ready(&self) -> Result<(), MigrationError> {
        Ok(())
    }

    /// How many rows `step` has to do: without the new form for [`Step::Move`], with it for [`Step::Undo`], with the old
    /// one for [`Step::Commit`], and all for [`Step::Verify`].
    ///
    /// # Errors
    /// [`MigrationError`].
    async fn count(&self, tx: &ReadTx, step: Step) -> Result<u64, MigrationError>;

    /// Gives the new form to rows that lack it, and keeps the old one: beside it or in [`undo`].
    ///
    /// # Errors
    /// [`MigrationError`]; nothing of the batch is kept then.
    async fn move_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError>;

    /// Opens and compares both forms of rows, and checks their digests. A row that an earlier version of the service has
    /// written meanwhile lacks the new form, or its old form was changed: it is moved here.
    ///
    /// # Errors
    /// [`MigrationError::Mismatch`] if the forms differ; [`MigrationError`].
    async fn verify_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError>;

    /// Takes the new form from rows and puts the old one back: afterwards they are byte for byte what they were, and
    /// rows that were written meanwhile are what they would have been.
    ///
    /// # Errors
    /// [`MigrationError`]; nothing of the batch is kept then.
    async fn undo_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError>;

    /// Takes the old form from rows, after giving the new one to those that still lack it.
    ///
    /// # Errors
    /// [`MigrationError`]; nothing of the batch is kept then.
    async fn commit_batch(&self, tx: &Tx, page: &Page) -> Result<Batch, MigrationError>;
}

/// What a batch did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Batch {
    /// Rows that it did.
    pub rows: u64,
    /// Among them, when it verified, those that lacked the new form and have got it.
    pub moved: u64,
    /// The key of the last row it looked at; `None` if there are no rows after it.
    pub next: Option<Vec<u8>>,
}

impl Batch {
    /// All of the rows that a query with the limit of `page` found were done, and `last` is the key of the last one.
    #[must_use]
    pub fn of(page: &Page, rows: usize, last: Option<Vec<u8>>) -> Self {
        let full = rows >= page.limit as usize;
        Self { rows: rows as u64, moved: 0, next: last.filter(|_| full) }
    }
}

/// Why a migration can't go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// The keys of the rows can't be had.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The two forms of a value differ.
    #[error("the old and the new form of {column} in the row {row} of {table} differ")]
    Mismatch {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The primary key.
        row: String,
    },
    /// The record of the migration says that the old form is still to be believed, and the keys say otherwise.
    #[error(
        "the record of the data migration {migration} was set back: the keys say that it is committed. If you have put the \
         data back from a backup of before, tell so by `portal migrate data reopen {migration}`; if not, somebody has written \
         to the table data_migration and may have put in rows in the clear"
    )]
    SetBack {
        /// The migration.
        migration: &'static str,
    },
    /// The database failed, or a row is corrupt.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl MigrationError {
    /// Whether the same batch may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Keys(error) => error.is_retryable(),
            Self::Mismatch { .. } | Self::SetBack { .. } => false,
            Self::Store(error) => error.is_retryable(),
        }
    }

    /// The reason that operators are told.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Keys(KeysError::Disabled(_)) => reasons::ALGORITHM_DISABLED.name,
            Self::Keys(KeysError::Erased(_)) => reasons::SUBJECT_ERASED.name,
            Self::Keys(KeysError::Corrupt { .. } | KeysError::Missing(_)) => reasons::ROW_CORRUPT.name,
            Self::SetBack { .. } => reasons::ROW_CORRUPT.name,
            Self::Keys(_) => reasons::KEYS_UNAVAILABLE.name,
            Self::Mismatch { .. } => reasons::MIGRATION_MISMATCH.name,
            Self::Store(StoreError::Corrupt { .. }) => reasons::ROW_CORRUPT.name,
            Self::Store(StoreError::Disabled(_)) => reasons::ALGORITHM_DISABLED.name,
            Self::Store(_) => portal_mesh::status::reason::INTERNAL.name,
        }
    }
}

/// Where the migration of this name stands and how far it is, read without what it takes to run it; `None` if it was
/// never started.
///
/// # Errors
/// [`StoreError`].
pub async fn recorded(tx: &ReadTx, name: &str) -> Result<Option<(Record, Progress)>, StoreError> {
    let Some(record) = table::record(tx, name).await? else { return Ok(None) };
    Ok(Some((record, table::progress(tx, name).await?)))
}

/// What a service writes to the rows of one migration, asked in each transaction that writes one. One per migration and
/// process: it remembers when the answer is final.
#[derive(Debug)]
pub struct ModeOf {
    migration: &'static str,
    finality: Finality,
    final_: AtomicBool,
}

impl ModeOf {
    /// For the migration of this name.
    #[must_use]
    pub const fn new(migration: &'static str, finality: Finality) -> Self {
        Self { migration, finality, final_: AtomicBool::new(false) }
    }

    /// The mode in this transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, tx: &ReadTx) -> Result<Mode, StoreError> {
        if self.final_.load(Ordering::Acquire) {
            return Ok(Mode::New);
        }
        let record = table::record_or_pending(tx, self.migration).await?;
        // A record that was set back changes nothing: it is the engine that complains of it.
        let mode = if self.finality.is_new_alone(self.migration) { Mode::New } else { record.mode() };
        if mode == Mode::New {
            self.final_.store(true, Ordering::Release);
        }
        Ok(mode)
    }
}
