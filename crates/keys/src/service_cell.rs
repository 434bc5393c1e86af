//! Cells that are about nobody whose key can be had: sealed under a key that is derived from the service's own secret.
//!
//! ```text
//! version 1 (0x01) | nonce 24 | XAES-256-GCM ciphertext, tag 16
//! AAD = label of the column | row id 16
//! ```

use std::sync::Arc;

use portal_core::Entropy;
use portal_core::entropy::random_bytes;
use portal_crypto::aead::{X_NONCE_LEN, XAes256GcmKey};
use portal_crypto::envelope::SealError;
use portal_crypto::kdf::Label;
use portal_crypto::suite::Algorithm;
use portal_store::sealed::Row;
use portal_store::{Corruption, StoreError};

use crate::Keys;

const VERSION: u8 = 1;

/// The column whose cells they are.
#[derive(Clone, Copy, Debug)]
pub struct ServiceColumn {
    /// Which key: one for each column.
    pub key: Label,
    /// What the cells are bound to, beside their row: ends in a zero byte.
    pub label: &'static [u8],
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
}

/// Seals and opens the cells of one column. Cheap to clone.
#[derive(Clone)]
pub struct ServiceCells {
    keys: Keys,
    entropy: Arc<dyn Entropy>,
    key: Arc<XAes256GcmKey>,
    column: ServiceColumn,
}

impl ServiceCells {
    /// With the keys of the service; `entropy` must be fit for nonces.
    #[must_use]
    pub fn new(keys: &Keys, column: ServiceColumn, entropy: Arc<dyn Entropy>) -> Self {
        let key = XAes256GcmKey::new(keys.service_secret().derive(column.key).expose());
        Self { keys: keys.clone(), entropy, key: Arc::new(key), column }
    }

    /// The cell of `row` with `content`.
    ///
    /// # Errors
    /// [`StoreError::Sealing`], [`StoreError::Disabled`].
    pub fn seal(&self, row: Row, content: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.keys.suites().require(Algorithm::XAes256Gcm)?;
        let ServiceColumn { table, column, .. } = self.column;
        let nonce: [u8; X_NONCE_LEN] = random_bytes(&*self.entropy);
        let mut out = vec![VERSION];
        out.extend_from_slice(&nonce);
        let sealed = self.key.seal(&nonce, &self.aad(row), content, &mut out);
        sealed.map_err(|_| StoreError::Sealing { table, column, source: SealError::TooLong })?;
        Ok(out)
    }

    /// What the cell of `row` holds.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Disabled`].
    pub fn open(&self, row: Row, cell: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.keys.suites().require(Algorithm::XAes256Gcm)?;
        let ServiceColumn { table, column, .. } = self.column;
        let corrupt = |cause| StoreError::Corrupt { table, column, row: row.to_string(), cause };
        let malformed = || corrupt(Corruption::EnvelopeMalformed);
        let sealed = cell.strip_prefix(&[VERSION]).ok_or_else(malformed)?;
        let (nonce, sealed) = sealed.split_first_chunk().ok_or_else(malformed)?;
        let opened = self.key.open(nonce, &self.aad(row), sealed);
        Ok(opened.map_err(|_| corrupt(Corruption::EnvelopeRefused))?.expose().clone())
    }

    fn aad(&self, row: Row) -> Vec<u8> {
        [self.column.label, &row.id].concat()
    }
}
