//! Tokens that were mailed to people: rows as they are found, opened and written. Earlier versions don't know the table:
//! everything in it is sealed and stamped, whatever the form of other rows.

use portal_core::id::{AccountId, Id, SubjectId};
use portal_core::{Sensitive, Timestamp};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_store::sealed::{DigestedRow, RowDigests, SealedColumn, Sealing};
use portal_store::{Corruption, ReadTx, Sealed, StoreError, Tx};
use sea_orm::prelude::Uuid;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, QueryOrder,
};

use super::mail_token::{self, Column};
use super::rows;
use crate::domain::{Email, HandleHash, MailToken, Purpose};

const TABLE: &str = "mail_token";
const EMAIL: SealedColumn<Sensitive<String>> = SealedColumn::new(TABLE, "sealed_email", Padding::To64);

/// A token as it is stored, checked and not opened.
pub struct StoredToken {
    model: mail_token::Model,
}

impl StoredToken {
    /// Whose account it is about.
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
pub struct MailTokens {
    sealing: Sealing,
    digests: RowDigests,
}

impl MailTokens {
    /// The table, sealed and checked with these.
    #[must_use]
    pub const fn new(sealing: Sealing, digests: RowDigests) -> Self {
        Self { sealing, digests }
    }

    /// Adds a token.
    pub async fn insert(
        &self,
        tx: &Tx,
        (hash, new): (&HandleHash, &MailToken),
        key: &SubjectKey,
    ) -> Result<(), StoreError> {
        let mut model = mail_token::Model {
            token_hash: hash.as_bytes().to_vec(),
            account_id: new.account.uuid(),
            subject_id: key.owner().subject.uuid(),
            purpose: new.purpose.name().to_owned(),
            sealed_email: Sealed::from_envelope(Vec::new()),
            expires_at: new.expires_at.as_micros(),
            row_digest: None,
        };
        let email = Sensitive::new(new.email.expose().to_owned());
        model.sealed_email = EMAIL.seal(&self.sealing, key, model.row(), &email)?;
        self.digests.stamp(&mut model)?;
        let row = model.into_active_model().reset_all();
        mail_token::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// The token with this hash, if it is good for `purpose` at `now`.
    pub async fn find(
        &self,
        tx: &ReadTx,
        (hash, purpose): (&HandleHash, Purpose),
        now: Timestamp,
    ) -> Result<Option<StoredToken>, StoreError> {
        let found = mail_token::Entity::find_by_id(hash.as_bytes().to_vec())
            .filter(Column::Purpose.eq(purpose.name()))
            .filter(Column::ExpiresAt.gt(now.as_micros()))
            .one(tx.conn())
            .await?;
        found.map(|model| self.checked(model)).transpose()
    }

    /// How many tokens of an account are good for `purpose` at `now`.
    pub async fn count(
        &self,
        tx: &ReadTx,
        (account, purpose): (AccountId, Purpose),
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let of = mail_token::Entity::find()
            .filter(Column::AccountId.eq(account.uuid()))
            .filter(Column::Purpose.eq(purpose.name()))
            .filter(Column::ExpiresAt.gt(now.as_micros()));
        Ok(of.count(tx.conn()).await?)
    }

    /// When the newest token of an account for `purpose` ends.
    pub async fn last_end(
        &self,
        tx: &ReadTx,
        (account, purpose): (AccountId, Purpose),
    ) -> Result<Option<Timestamp>, StoreError> {
        let newest = mail_token::Entity::find()
            .filter(Column::AccountId.eq(account.uuid()))
            .filter(Column::Purpose.eq(purpose.name()))
            .order_by_desc(Column::ExpiresAt)
            .one(tx.conn())
            .await?;
        Ok(newest.map(|model| Timestamp::from_micros(model.expires_at)))
    }

    /// Ends the tokens of an account that are good for `purpose`.
    pub async fn delete(&self, tx: &Tx, account: AccountId, purpose: Purpose) -> Result<u64, StoreError> {
        let of = mail_token::Entity::delete_many()
            .filter(Column::AccountId.eq(account.uuid()))
            .filter(Column::Purpose.eq(purpose.name()));
        Ok(of.exec(tx.conn()).await?.rows_affected)
    }

    /// All of it.
    pub fn open(&self, stored: &StoredToken, key: &SubjectKey) -> Result<MailToken, StoreError> {
        let model = &stored.model;
        let corrupt = |column, cause| rows::corrupt(TABLE, column, &Uuid::from_bytes(model.row().id), cause);
        if key.owner().subject != stored.subject() {
            return Err(corrupt("sealed_email", Corruption::KeyMissing));
        }
        let email = EMAIL.open(&self.sealing, key, model.row(), &model.sealed_email)?;
        let email = Email::parse(email.expose());
        let purpose = Purpose::ALL.into_iter().find(|purpose| purpose.name() == model.purpose);
        Ok(MailToken {
            account: stored.account(),
            purpose: purpose.ok_or_else(|| corrupt("purpose", Corruption::ValueInvalid))?,
            email: email.map_err(|_| corrupt("sealed_email", Corruption::ValueInvalid))?,
            expires_at: Timestamp::from_micros(model.expires_at),
        })
    }

    /// The token in `model`, if that is what was written.
    pub(crate) fn checked(&self, model: mail_token::Model) -> Result<StoredToken, StoreError> {
        self.digests.check(&model)?;
        Ok(StoredToken { model })
    }
}

/// Forgets tokens that have ended, and says how many.
pub async fn purge(tx: &Tx, now: Timestamp) -> Result<u64, StoreError> {
    let ended = Column::ExpiresAt.lte(now.as_micros());
    Ok(mail_token::Entity::delete_many().filter(ended).exec(tx.conn()).await?.rows_affected)
}
