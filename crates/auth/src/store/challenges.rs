//! Sign-ins that wait for a second factor: rows as they are found, opened and written. Earlier versions don't know the table:
//! everything in it is sealed and stamped, whatever the form of other rows.

use portal_core::id::{AccountId, Id, SubjectId};
use portal_core::{Sensitive, Timestamp};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_store::sealed::{DigestedRow, RowDigests, SealedColumn, Sealing};
use portal_store::{Corruption, ReadTx, StoreError, Tx};
use sea_orm::prelude::Uuid;
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};

use super::mfa_challenge::{self, Column};
use super::rows;
use crate::domain::{Challenge, DeviceName, HandleHash};

const TABLE: &str = "mfa_challenge";
const DEVICE_NAME: SealedColumn<Sensitive<String>> =
    SealedColumn::new(TABLE, "sealed_device_name", Padding::To64);

/// A challenge as it is stored, checked and not opened.
pub struct StoredChallenge {
    model: mfa_challenge::Model,
}

impl StoredChallenge {
    /// Who wants to sign in.
    #[must_use]
    pub fn account(&self) -> AccountId {
        AccountId::from_uuid(self.model.account_id)
    }

    /// Whose key it takes to open it.
    #[must_use]
    pub fn subject(&self) -> SubjectId {
        SubjectId::from_uuid(self.model.subject_id)
    }
}

/// The table.
pub struct Challenges {
    sealing: Sealing,
    digests: RowDigests,
}

impl Challenges {
    /// The table, sealed and checked with these.
    #[must_use]
    pub const fn new(sealing: Sealing, digests: RowDigests) -> Self {
        Self { sealing, digests }
    }

    /// Adds a challenge.
    pub async fn insert(
        &self,
        tx: &Tx,
        (hash, new): (&HandleHash, &Challenge),
        key: &SubjectKey,
    ) -> Result<(), StoreError> {
        let mut model = mfa_challenge::Model {
            challenge_hash: hash.as_bytes().to_vec(),
            account_id: new.account.uuid(),
            account_revision: new.account_revision,
            subject_id: key.owner().subject.uuid(),
            remember_me: new.remember_me,
            sealed_device_name: None,
            expires_at: new.expires_at.as_micros(),
            row_digest: None,
        };
        let name = Some(new.device_name.expose()).filter(|name| !name.is_empty());
        let name = name.map(|name| Sensitive::new(name.to_owned()));
        model.sealed_device_name = DEVICE_NAME.seal_option(&self.sealing, key, model.row(), name.as_ref())?;
        self.digests.stamp(&mut model)?;
        let row = model.into_active_model().reset_all();
        mfa_challenge::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// The challenge of this handle, unless it has ended.
    pub async fn find(
        &self,
        tx: &ReadTx,
        hash: &HandleHash,
        now: Timestamp,
    ) -> Result<Option<StoredChallenge>, StoreError> {
        let found = mfa_challenge::Entity::find_by_id(hash.as_bytes().to_vec())
            .filter(Column::ExpiresAt.gt(now.as_micros()))
            .one(tx.conn())
            .await?;
        found.map(|model| self.checked(model)).transpose()
    }

    /// Ends a challenge: of two who use it, the other's transaction is run again and does not find it.
    pub async fn delete(&self, tx: &Tx, hash: &HandleHash) -> Result<(), StoreError> {
        let done = mfa_challenge::Entity::delete_by_id(hash.as_bytes().to_vec()).exec(tx.conn()).await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// What was asked for.
    pub fn open(&self, stored: &StoredChallenge, key: &SubjectKey) -> Result<Challenge, StoreError> {
        let model = &stored.model;
        if key.owner().subject.uuid() != model.subject_id {
            let row = Uuid::from_bytes(model.row().id);
            return Err(rows::corrupt(TABLE, "sealed_device_name", &row, Corruption::KeyMissing));
        }
        let sealed = model.sealed_device_name.as_ref();
        let name = DEVICE_NAME.open_option(&self.sealing, key, model.row(), sealed)?;
        Ok(Challenge {
            account: stored.account(),
            account_revision: model.account_revision,
            remember_me: model.remember_me,
            device_name: name.map_or_else(|| DeviceName::new(String::new()), DeviceName::from),
            expires_at: Timestamp::from_micros(model.expires_at),
        })
    }

    /// The challenge in `model`, if that is what was written.
    pub(crate) fn checked(&self, model: mfa_challenge::Model) -> Result<StoredChallenge, StoreError> {
        self.digests.check(&model)?;
        Ok(StoredChallenge { model })
    }
}

/// Forgets challenges that have ended, and says how many.
pub async fn purge(tx: &Tx, now: Timestamp) -> Result<u64, StoreError> {
    let ended = Column::ExpiresAt.lte(now.as_micros());
    Ok(mfa_challenge::Entity::delete_many().filter(ended).exec(tx.conn()).await?.rows_affected)
}
