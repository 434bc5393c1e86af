//! What can go wrong in the database, and what is worth trying again.
//!
//! Invariant: no error holds a bound value. A driver's error is reduced to its code and its primary message here,
//! and not kept as a source, since its `Debug` shows the values of the row that was refused.

use std::borrow::Cow;

use portal_crypto::envelope::SealError;
use portal_crypto::suite::Disabled;
use sea_orm::sqlx;
use sea_orm::sqlx::sqlite::SqliteError;
use sea_orm::{DbErr, RuntimeErr};

/// Why a transaction did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Other transactions kept getting in the way.
    #[error("gave up after {attempts} conflicts with other transactions")]
    Conflict {
        /// How often it was tried.
        attempts: u32,
    },
    /// One conflict with another transaction; [`crate::Database::run_tx`] tries again.
    #[error("another transaction got in the way")]
    Contended(#[source] DatabaseFailure),
    /// A row does not hold what its column promises.
    #[error("the row {row} of {table} is corrupt in {}: {cause}", or_whole(column))]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column; empty if the row as a whole is.
        column: &'static str,
        /// The primary key, an id that is safe to tell.
        row: String,
        /// In which way.
        cause: Corruption,
    },
    /// The database refused for another reason.
    #[error("the database refused")]
    Database(#[source] DatabaseFailure),
    /// The configuration has switched off the algorithm that a cell is sealed with.
    #[error(transparent)]
    Disabled(#[from] Disabled),
    /// A statement failed and the body of the transaction went on and returned a value.
    #[error("a statement failed and its transaction was not given up")]
    Doomed,
    /// A row with this unique value is there already.
    #[error("{constraint} must be unique")]
    Duplicate {
        /// The constraint in PostgreSQL, the columns in SQLite.
        constraint: String,
    },
    /// The body of a transaction let the transaction outlive it.
    #[error("the transaction outlived its body")]
    Escaped,
    /// An update or deletion did not hit the rows it was meant to.
    #[error("{actual} rows were changed instead of {expected}")]
    RowsAffected {
        /// How many should have been changed.
        expected: u64,
        /// How many were.
        actual: u64,
    },
    /// A value can't be sealed.
    #[error("a value of {column} in {table} could not be sealed")]
    Sealing {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// Why not. [`SealError::Exhausted`] asks for a new generation of the subject's key.
        #[source]
        source: SealError,
    },
    /// The database can't be reached, is overloaded or out of space. A commit may or may not have happened.
    #[error("the database is not available")]
    Unavailable(#[source] DatabaseFailure),
}

/// In which way a row or one of its columns is corrupt. Never says anything about the content.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, thiserror::Error)]
pub enum Corruption {
    /// The row's authenticated digest does not match its columns.
    #[error("the digest does not match")]
    DigestMismatch,
    /// A sealed column is cut, extended or of an unknown version.
    #[error("the envelope is malformed")]
    EnvelopeMalformed,
    /// A sealed column does not open: it was changed, moved, put back or sealed under another key.
    #[error("the envelope does not open")]
    EnvelopeRefused,
    /// The key that a sealed column names is not there.
    #[error("the key is missing")]
    KeyMissing,
    /// The row and its ledger entry disagree.
    #[error("the ledger says otherwise")]
    LedgerMismatch,
    /// The ledger has an entry without its row, or the row lacks its entry.
    #[error("the ledger or the row lacks the other")]
    LedgerMissing,
    /// A column holds a value that no version of the service writes.
    #[error("the value is not one of ours")]
    ValueInvalid,
}

impl Corruption {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::DigestMismatch,
        Self::EnvelopeMalformed,
        Self::EnvelopeRefused,
        Self::KeyMissing,
        Self::LedgerMismatch,
        Self::LedgerMissing,
        Self::ValueInvalid,
    ];

    /// The name in metrics and tables; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DigestMismatch => "digest_mismatch",
            Self::EnvelopeMalformed => "envelope_malformed",
            Self::EnvelopeRefused => "envelope_refused",
            Self::KeyMissing => "key_missing",
            Self::LedgerMismatch => "ledger_mismatch",
            Self::LedgerMissing => "ledger_missing",
            Self::ValueInvalid => "value_invalid",
        }
    }

    /// The cause of this [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

fn or_whole(column: &'static str) -> &'static str {
    if column.is_empty() { "the whole" } else { column }
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Conflict { .. } | Self::Contended(_) | Self::Unavailable(_) => true,
            Self::Corrupt { .. }
            | Self::Database(_)
            | Self::Disabled(_)
            | Self::Doomed
            | Self::Duplicate { .. }
            | Self::Escaped
            | Self::RowsAffected { .. }
            | Self::Sealing { .. } => false,
        }
    }

    /// Checks that an update or deletion hit as many rows as it was meant to.
    ///
    /// # Errors
    /// [`StoreError::RowsAffected`] if not.
    pub fn check_rows(expected: u64, actual: u64) -> Result<(), Self> {
        if expected == actual { Ok(()) } else { Err(Self::RowsAffected { expected, actual }) }
    }
}

/// What the database said: a code and a message without values.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message} (code {})", code.as_deref().unwrap_or("none"))]
pub struct DatabaseFailure {
    code: Option<String>,
    message: String,
}

impl DatabaseFailure {
    /// The SQLSTATE, or the extended result code of SQLite.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    pub(crate) fn plain(message: &str) -> Self {
        Self { code: None, message: message.to_owned() }
    }
}

impl From<sqlx::Error> for DatabaseFailure {
    fn from(error: sqlx::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&sqlx::Error> for DatabaseFailure {
    fn from(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::ColumnDecode { index, .. } => {
                Self::plain(&format!("the column {index} could not be decoded"))
            }
            sqlx::Error::Database(error) => {
                let code = error.code().map(Cow::into_owned);
                // SQLSTATE class 22, data exceptions, quote the value that was refused.
                let quotes = code.as_deref().is_some_and(|code| code.len() == 5 && code.starts_with("22"));
                let message = if quotes { "a value was refused" } else { error.message() };
                Self { code, message: message.to_owned() }
            }
            sqlx::Error::Decode(_) => Self::plain("a value could not be decoded"),
            sqlx::Error::Encode(_) => Self::plain("a value could not be encoded"),
            sqlx::Error::Io(error) => Self::plain(&error.to_string()),
            sqlx::Error::PoolClosed => Self::plain("the database was closed"),
            sqlx::Error::PoolTimedOut => Self::plain("no connection became free in time"),
            sqlx::Error::Protocol(_) => Self::plain("the database did not keep to its protocol"),
            sqlx::Error::Tls(_) => Self::plain("no secure connection could be made"),
            sqlx::Error::WorkerCrashed => Self::plain("the database thread is gone"),
            // The enum is open; the others can't come from a query that compiles, and are not worth their text.
            _ => Self::plain("the database driver failed"),
        }
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        match &error {
            DbErr::Conn(RuntimeErr::SqlxError(error))
            | DbErr::Exec(RuntimeErr::SqlxError(error))
            | DbErr::Query(RuntimeErr::SqlxError(error)) => Self::from(error.as_ref()),
            DbErr::ConnectionAcquire(_) => {
                Self::Unavailable(DatabaseFailure::plain("no connection became free in time"))
            }
            DbErr::Type(_) | DbErr::TryIntoErr { .. } | DbErr::Json(_) => {
                Self::Database(DatabaseFailure::plain("a value does not fit its column"))
            }
            DbErr::RecordNotFound(_) => Self::Database(DatabaseFailure::plain("the row is not there")),
            DbErr::RecordNotInserted => Self::RowsAffected { expected: 1, actual: 0 },
            DbErr::RecordNotUpdated => Self::RowsAffected { expected: 1, actual: 0 },
            // The rest are mistakes in how a query was built; their free text could hold anything.
            _ => Self::Database(DatabaseFailure::plain("the query could not be built")),
        }
    }
}

impl From<&sqlx::Error> for StoreError {
    fn from(error: &sqlx::Error) -> Self {
        let failure = DatabaseFailure::from(error);
        match error {
            sqlx::Error::Database(database) => match Kind::of(database.as_ref()) {
                Kind::Contended => Self::Contended(failure),
                Kind::Duplicate(constraint) => Self::Duplicate { constraint },
                Kind::Other => Self::Database(failure),
                Kind::Unavailable => Self::Unavailable(failure),
            },
            sqlx::Error::Io(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed => Self::Unavailable(failure),
            _ => Self::Database(failure),
        }
    }
}

enum Kind {
    Contended,
    Duplicate(String),
    Other,
    Unavailable,
}

impl Kind {
    fn of(error: &dyn sqlx::error::DatabaseError) -> Self {
        let code = error.code().unwrap_or_default();
        if error.is_unique_violation() {
            // SQLite has no name for it: "UNIQUE constraint failed: account.email".
            let columns = || error.message().rsplit_once(": ").map_or("a value", |(_, columns)| columns);
            return Self::Duplicate(error.constraint().unwrap_or_else(columns).to_owned());
        }
        if error.try_downcast_ref::<SqliteError>().is_some() {
            // The primary result code is the low byte of the extended one.
            return match code.parse::<u32>().unwrap_or_default() & 0xff {
                5 | 6 => Self::Contended,          // BUSY, LOCKED
                10 | 13 | 14 => Self::Unavailable, // IOERR, FULL, CANTOPEN
                _ => Self::Other,
            };
        }
        match code.get(..2) {
            // 40001 serialization failure, 40P01 deadlock; 40003 leaves open whether the statement ran.
            Some("40") if code != "40003" => Self::Contended,
            // Connection lost, out of resources, shut down or timed out by the server, system error.
            Some("08" | "53" | "57" | "58") => Self::Unavailable,
            _ => Self::Other,
        }
    }
}
