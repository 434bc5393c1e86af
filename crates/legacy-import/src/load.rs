//! An export put into the table of legacy records.
//!
//! Invariants: a batch of lines is inserted whole or not at all, and whatever is there already and is the same is passed
//! over: a load that was interrupted is run again. Signatures are not looked at here, but when the records are read.

use std::io::BufRead;

use portal_store::{Database, StoreError};

use crate::export::{Export, ExportError};
use crate::record::LegacyRecord;
use crate::store::{self, InsertError};

/// Records of a batch. SQLite takes some 32,000 values in a statement, PostgreSQL 65,535; a record has ten.
const BATCH: usize = 250;

/// Why an export was not loaded to its end. What was loaded stays.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A line is no record.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A record was not inserted.
    #[error(transparent)]
    Insert(#[from] InsertError),
}

impl From<StoreError> for LoadError {
    fn from(error: StoreError) -> Self {
        Self::Insert(error.into())
    }
}

/// How far a load is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Loaded {
    /// Records that were inserted.
    pub inserted: u64,
    /// Records that were there already.
    pub present: u64,
}

/// Loads `export`, and tells `progress` after each batch how far it is.
///
/// # Errors
/// [`LoadError`].
pub async fn load<R: BufRead>(
    database: &Database,
    mut export: Export<R>,
    mut progress: impl FnMut(Loaded),
) -> Result<Loaded, LoadError> {
    let mut loaded = Loaded::default();
    loop {
        let batch = export.by_ref().take(BATCH).collect::<Result<Vec<LegacyRecord>, _>>()?;
        if batch.is_empty() {
            return Ok(loaded);
        }
        let records = &batch;
        let inserted: Result<u64, LoadError> = database
            .run_tx("load_legacy_records", |tx| async move { Ok(store::insert(&tx, records).await?) })
            .await;
        let inserted = inserted?;
        loaded.inserted += inserted;
        loaded.present += batch.len() as u64 - inserted;
        progress(loaded);
    }
}
