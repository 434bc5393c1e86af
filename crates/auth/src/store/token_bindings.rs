//! The keys that tokens are bound to: rows as they are found and written. Earlier versions don't know the table: whatever the form
//! of other rows, these have digests.

use portal_core::Timestamp;
use portal_store::sealed::{DigestedRow, RowDigests};
use portal_store::{Corruption, Inserts, ReadTx, StoreError, Tx};
use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::rows;
use super::token_binding::{self, Column};
use crate::domain::{HandleHash, ProofKey};

/// The table.
pub struct TokenBindings {
    digests: RowDigests,
}

impl TokenBindings {
    /// The table, stamped and checked with `digests`.
    #[must_use]
    pub const fn new(digests: RowDigests) -> Self {
        Self { digests }
    }

    /// Binds the tokens in the row with `hash` to `key`.
    pub fn add(
        &self,
        inserts: &mut Inserts,
        (hash, key): (&HandleHash, ProofKey),
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut model = token_binding::Model {
            token_hash: hash.as_bytes().to_vec(),
            jkt: key.as_bytes().to_vec(),
            expires_at: expires_at.as_micros(),
            row_digest: None,
        };
        self.digests.stamp(&mut model)?;
        rows::add::<token_binding::Entity>(inserts, model)
    }

    /// The key that the tokens in the row with `hash`, of which it is known that they are bound, are bound to.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] too if there is none: nobody can prove anything then.
    pub async fn find(&self, tx: &ReadTx, hash: &[u8]) -> Result<ProofKey, StoreError> {
        let missing = || rows::corrupt("token_binding", "jkt", &Uuid::nil(), Corruption::KeyMissing);
        let model = token_binding::Entity::find_by_id(hash.to_vec()).one(tx.conn()).await?;
        self.checked(&model.ok_or_else(missing)?)
    }

    /// The key in `model`, if that is what was written.
    pub(crate) fn checked(&self, model: &token_binding::Model) -> Result<ProofKey, StoreError> {
        self.digests.check(model)?;
        let row = Uuid::from_bytes(model.row().id);
        let jkt = model.jkt.as_slice().try_into();
        let invalid = |_| rows::corrupt("token_binding", "jkt", &row, Corruption::ValueInvalid);
        Ok(ProofKey::from_bytes(jkt.map_err(invalid)?))
    }
}

/// Forgets the bindings of tokens that have ended, and says how many.
pub async fn purge(tx: &Tx, now: Timestamp) -> Result<u64, StoreError> {
    let ended = Column::ExpiresAt.lte(now.as_micros());
    Ok(token_binding::Entity::delete_many().filter(ended).exec(tx.conn()).await?.rows_affected)
}
