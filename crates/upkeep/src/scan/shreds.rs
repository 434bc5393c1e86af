//! The shred ledger: whom no key may exist for. Every entry is linked to all before it.

use std::sync::Arc;

use async_trait::async_trait;
use portal_keys::{Keys, ShredsChecked};
use portal_store::{Corruption, ReadTx, StoreError};

use super::{Checked, Finding, ScanError, ScannedTable};
use crate::Page;

const TABLE: &str = "shred";

/// The shred ledger of `keys`, to be scanned as the ledger of a service: it is in the key database.
#[must_use]
pub fn shred_ledger(keys: &Keys) -> Arc<dyn ScannedTable> {
    Arc::new(ShredLedger(keys.clone()))
}

struct ShredLedger(Keys);

#[async_trait]
impl ScannedTable for ShredLedger {
    fn table(&self) -> &'static str {
        TABLE
    }

    /// Entries are not counted among the rows.
    async fn count(&self, _: &ReadTx) -> Result<u64, ScanError> {
        Ok(0)
    }

    async fn check_page(&self, _: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let after = match &page.after {
            None => 0,
            Some(position) => u64::from_be_bytes(position.as_slice().try_into().map_err(|_| bad_position())?),
        };
        let ShredsChecked { entries, next, broken } = self.0.check_shreds(after, page.limit.into()).await?;
        let finding = |position: u64| Finding {
            table: TABLE,
            row: position.to_string(),
            column: "link",
            cause: Corruption::LedgerMismatch,
        };
        Ok(Checked {
            rows: entries,
            next: next.map(|position| position.to_be_bytes().to_vec()),
            unchecked: 0,
            findings: broken.into_iter().map(finding).collect(),
        })
    }
}

fn bad_position() -> StoreError {
    let (table, column, cause) = ("integrity_report", "after_row", Corruption::ValueInvalid);
    StoreError::Corrupt { table, column, row: TABLE.to_owned(), cause }
}
