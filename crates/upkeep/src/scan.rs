//! Integrity scans: every row is opened and checked, slowly enough for live traffic not to notice.
//!
//! A service says how each of its tables is checked ([`ScannedTable`]); the engine reads page by page, at a rate, in
//! whichever process holds the lease, and keeps in a report how far it is and what it found. A process that is killed is
//! replaced by another one, which goes on from the last page. Scans begin by a schedule and when an operator asks.
//!
//! A row whose key is switched off can't be checked: it is counted, the others are checked, and the scan fails at its end.
//!
//! Findings name table, row, column and cause, never content. A fault is reported when two reads of its page show it:
//! a person who is erased between a read of the rows and one of the keys is not a fault.
//!
//! | module | holds |
//! |---|---|
//! | [`engine`] | [`Scans`]: reports, starting a scan |
//! | [`report`] | [`Report`], pure |
//! | `runner` | the pages |
//! | [`schedule`] | when scans begin |
//! | `shreds` | the ledger of erasures |
//! | `table` | the tables of all this |

use async_trait::async_trait;
use portal_keys::KeysError;
use portal_store::{Corruption, ReadTx, StoreError};

pub mod engine;
pub mod report;
mod runner;
pub mod schedule;
mod shreds;
pub(crate) mod table;

pub use engine::{ScanRefusal, Scans};
pub use report::{Report, ScanState};
pub use schedule::Schedule;
pub use shreds::shred_ledger;

use crate::Page;

/// A table and how its rows are checked, in the order of their keys.
#[async_trait]
pub trait ScannedTable: Send + Sync {
    /// Its name in the schema.
    fn table(&self) -> &'static str;

    /// How many rows it has.
    ///
    /// # Errors
    /// [`ScanError`].
    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError>;

    /// Checks the rows of `page`: opens every sealed column, checks the digest, reads every plain column. What is wrong
    /// with a row is a [`Finding`], see [`Checked::note`].
    ///
    /// # Errors
    /// [`ScanError`] if the rows can't be checked now.
    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError>;
}

/// A page that was checked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Checked {
    /// How many rows it had.
    pub rows: u64,
    /// The key of the last one; `None` if there are no rows after it.
    pub next: Option<Vec<u8>>,
    /// How many of them could not be checked, since a key or an algorithm is switched off.
    pub unchecked: u64,
    /// What is wrong with them.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// A query with the limit of `page` found `rows` rows, and `last` is the key of the last one.
    #[must_use]
    pub fn of(page: &Page, rows: usize, last: Option<Vec<u8>>) -> Self {
        let full = rows >= page.limit as usize;
        Self { rows: rows as u64, next: last.filter(|_| full), unchecked: 0, findings: Vec::new() }
    }

    /// Notes what a check said: a row that is corrupt is a finding, one whose algorithm is switched off is not checked, and
    /// everything else that went wrong ends the page.
    ///
    /// # Errors
    /// The error, if it does not say that a row is corrupt.
    pub fn note<T>(&mut self, checked: Result<T, StoreError>) -> Result<(), StoreError> {
        match checked {
            Ok(_) => Ok(()),
            Err(StoreError::Corrupt { table, column, row, cause }) => {
                self.findings.push(Finding { table, row, column, cause });
                Ok(())
            }
            Err(StoreError::Disabled(_)) => {
                self.unchecked += 1;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Notes that the key of a row can't be had: if it is switched off, the row is not checked, and keeps no other.
    ///
    /// # Errors
    /// The error, if it says anything else.
    pub fn note_key(&mut self, error: KeysError) -> Result<(), KeysError> {
        match error {
            KeysError::Disabled(_) | KeysError::EpochDisabled(_) => {
                self.unchecked += 1;
                Ok(())
            }
            error => Err(error),
        }
    }
}

/// One fault.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Finding {
    /// The table.
    pub table: &'static str,
    /// The primary key.
    pub row: String,
    /// The column; empty if the row as a whole is at fault.
    pub column: &'static str,
    /// What is wrong.
    pub cause: Corruption,
}

/// Why rows can't be checked now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The keys of the rows can't be had.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ScanError {
    /// Whether the same page may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Keys(error) => error.is_retryable(),
            Self::Store(error) => error.is_retryable(),
        }
    }
}
