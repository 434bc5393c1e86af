//! The keys that sign tokens: rows as they are found, opened and written. Earlier versions don't know the table: whatever the
//! form of other rows, these have digests. The seed is sealed under a key of the service's own: it is nobody's.

use std::sync::Arc;

use portal_core::{Entropy, Sensitive, Timestamp};
use portal_crypto::jose::Algorithm;
use portal_crypto::kdf::Label;
use portal_crypto::token::KeyId;
use portal_keys::{Keys, ServiceCells, ServiceColumn};
use portal_store::sealed::{DigestedRow, RowDigests};
use portal_store::{Corruption, ReadTx, StoreError, Tx};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder};

use super::rows;
use super::signing_key::{self, Column};
use crate::domain::SigningKey;

const TABLE: &str = "signing_key";
const SEED: ServiceColumn = ServiceColumn {
    key: Label::SigningKeySealing,
    label: b"portal/signing-key/v1\0",
    table: TABLE,
    column: "sealed_seed",
};

/// The table.
#[derive(Clone)]
pub struct SigningKeys {
    cells: ServiceCells,
    digests: RowDigests,
}

/// A key as it was found.
#[derive(Clone)]
pub struct StoredKey {
    /// The key.
    pub key: SigningKey,
    model: signing_key::Model,
}

impl SigningKeys {
    /// The table, sealed and checked with these; `entropy` must be fit for nonces.
    #[must_use]
    pub fn new(keys: &Keys, digests: RowDigests, entropy: Arc<dyn Entropy>) -> Self {
        Self { cells: ServiceCells::new(keys, SEED, entropy), digests }
    }

    /// All keys, the oldest first. One that is not what was written is left out and told of: nothing is signed or believed by it,
    /// and the others go on.
    pub async fn all(&self, tx: &ReadTx) -> Result<Vec<StoredKey>, StoreError> {
        let rows = signing_key::Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::KeyId);
        let mut keys = Vec::new();
        for model in rows.all(tx.conn()).await? {
            match self.checked(model) {
                Ok(key) => keys.push(key),
                Err(error @ StoreError::Corrupt { .. }) => {
                    tracing::error!(%error, "a key that signs tokens is not used");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(keys)
    }

    /// Whether there has never been a key: no row, whatever it says.
    pub async fn is_empty(&self, tx: &ReadTx) -> Result<bool, StoreError> {
        Ok(signing_key::Entity::find().one(tx.conn()).await?.is_none())
    }

    /// Adds a key.
    pub async fn insert(
        &self,
        tx: &Tx,
        new: &SigningKey,
        seed: &Sensitive<[u8; 32]>,
    ) -> Result<(), StoreError> {
        let mut model = model(new, None);
        model.sealed_seed = Some(self.cells.seal(model.row(), seed.expose())?);
        self.digests.stamp(&mut model)?;
        let row = model.into_active_model().reset_all();
        signing_key::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// Stores `changed` over what was found. The seed of one that was ended goes.
    pub async fn update(&self, tx: &Tx, found: &StoredKey, changed: &SigningKey) -> Result<(), StoreError> {
        let next = SigningKey { revision: found.key.revision + 1, ..changed.clone() };
        let seed = found.model.sealed_seed.clone().filter(|_| next.ended_at.is_none());
        let mut model = model(&next, seed);
        self.digests.stamp(&mut model)?;
        let done = signing_key::Entity::update_many()
            .set(model.into_active_model().reset_all())
            .filter(Column::KeyId.eq(found.key.id.as_str()))
            .filter(Column::Revision.eq(found.key.revision))
            .exec(tx.conn())
            .await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// Removes a key.
    pub async fn delete(&self, tx: &Tx, found: &StoredKey) -> Result<(), StoreError> {
        let done = signing_key::Entity::delete_by_id(found.key.id.as_str()).exec(tx.conn()).await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// The secret bytes of a key; none of one that was ended.
    pub fn seed(&self, found: &StoredKey) -> Result<Option<Sensitive<[u8; 32]>>, StoreError> {
        let Some(cell) = &found.model.sealed_seed else { return Ok(None) };
        let opened = Sensitive::new(self.cells.open(found.model.row(), cell)?);
        let seed = opened.expose().as_slice().try_into();
        let seed = seed.map_err(|_| corrupt(&found.model, "sealed_seed", Corruption::ValueInvalid))?;
        Ok(Some(Sensitive::new(seed)))
    }

    /// The key in `model`, if that is what was written.
    pub(crate) fn checked(&self, model: signing_key::Model) -> Result<StoredKey, StoreError> {
        self.digests.check(&model)?;
        let invalid = |column| corrupt(&model, column, Corruption::ValueInvalid);
        let key = SigningKey {
            id: KeyId::parse(&model.key_id).ok_or_else(|| invalid("key_id"))?,
            algorithm: Algorithm::from_name(&model.algorithm).ok_or_else(|| invalid("algorithm"))?,
            created_at: Timestamp::from_micros(model.created_at),
            not_before: Timestamp::from_micros(model.not_before),
            sign_until: model.sign_until.map(Timestamp::from_micros),
            verify_until: model.verify_until.map(Timestamp::from_micros),
            ended_at: model.ended_at.map(Timestamp::from_micros),
            revision: model.revision,
        };
        if model.sealed_seed.is_some() == key.ended_at.is_some() {
            return Err(invalid("sealed_seed"));
        }
        Ok(StoredKey { key, model })
    }
}

fn corrupt(model: &signing_key::Model, column: &'static str, cause: Corruption) -> StoreError {
    rows::corrupt(TABLE, column, &model.key_id, cause)
}

/// A row, not stamped.
fn model(key: &SigningKey, sealed_seed: Option<Vec<u8>>) -> signing_key::Model {
    signing_key::Model {
        key_id: key.id.as_str().to_owned(),
        algorithm: key.algorithm.name().to_owned(),
        sealed_seed,
        created_at: key.created_at.as_micros(),
        not_before: key.not_before.as_micros(),
        sign_until: key.sign_until.map(Timestamp::as_micros),
        verify_until: key.verify_until.map(Timestamp::as_micros),
        ended_at: key.ended_at.map(Timestamp::as_micros),
        revision: key.revision,
        row_digest: None,
    }
}
