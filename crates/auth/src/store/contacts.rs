//! What is known of accounts' e-mail addresses: rows as they are found, opened and written. Earlier versions don't know the
//! table: everything in it is sealed and stamped, whatever the form of other rows.

use std::collections::HashMap;

use portal_core::id::{AccountId, Id};
use portal_core::{Sensitive, Timestamp};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_store::sealed::{DigestedRow, RowDigests, SealedColumn, Sealing};
use portal_store::{Corruption, ReadTx, StoreError, Tx};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};

use super::account_contact::{self, Column};
use super::rows;
use crate::domain::{Contact, Email};

const TABLE: &str = "account_contact";
const PENDING: SealedColumn<Sensitive<String>> =
    SealedColumn::new(TABLE, "sealed_pending_email", Padding::To64);

/// What is known as it is stored, checked and not opened.
pub struct StoredContact {
    model: account_contact::Model,
}

/// The table.
pub struct Contacts {
    sealing: Sealing,
    digests: RowDigests,
}

impl Contacts {
    /// The table, sealed and checked with these.
    #[must_use]
    pub const fn new(sealing: Sealing, digests: RowDigests) -> Self {
        Self { sealing, digests }
    }

    /// What is known of this account's address; `None` if that is nothing.
    pub async fn find(&self, tx: &ReadTx, account: AccountId) -> Result<Option<StoredContact>, StoreError> {
        let found = account_contact::Entity::find_by_id(account.uuid()).one(tx.conn()).await?;
        found.map(|model| self.checked(model)).transpose()
    }

    /// The same of many accounts, or what is wrong with their rows.
    pub async fn find_all(
        &self,
        tx: &ReadTx,
        accounts: impl Iterator<Item = AccountId>,
    ) -> Result<HashMap<AccountId, Result<StoredContact, StoreError>>, StoreError> {
        let these = Column::AccountId.is_in(accounts.map(Id::uuid));
        let found = account_contact::Entity::find().filter(these).all(tx.conn()).await?;
        let checked =
            |model: account_contact::Model| (AccountId::from_uuid(model.account_id), self.checked(model));
        Ok(found.into_iter().map(checked).collect())
    }

    /// Writes `contact` over what was found before.
    pub async fn put(
        &self,
        tx: &Tx,
        (account, contact): (AccountId, &Contact),
        before: Option<&StoredContact>,
        key: &SubjectKey,
    ) -> Result<(), StoreError> {
        let revision = before.map_or(0, |before| before.model.revision);
        let mut model = account_contact::Model {
            account_id: account.uuid(),
            subject_id: key.owner().subject.uuid(),
            verified_at: contact.verified_at.map(Timestamp::as_micros),
            sealed_pending_email: None,
            revision: revision + 1,
            row_digest: None,
        };
        let pending = contact.pending.as_ref().map(|email| Sensitive::new(email.expose().to_owned()));
        model.sealed_pending_email =
            PENDING.seal_option(&self.sealing, key, model.row(), pending.as_ref())?;
        self.digests.stamp(&mut model)?;
        let row = model.into_active_model().reset_all();
        if before.is_none() {
            account_contact::Entity::insert(row).exec_without_returning(tx.conn()).await?;
            return Ok(());
        }
        let done = account_contact::Entity::update_many()
            .set(row)
            .filter(Column::AccountId.eq(account.uuid()))
            .filter(Column::Revision.eq(revision))
            .exec(tx.conn())
            .await?;
        StoreError::check_rows(1, done.rows_affected)
    }

    /// All of it.
    pub fn open(&self, stored: &StoredContact, key: &SubjectKey) -> Result<Contact, StoreError> {
        let model = &stored.model;
        let corrupt = |cause| rows::corrupt(TABLE, "sealed_pending_email", &model.account_id, cause);
        if key.owner().subject.uuid() != model.subject_id {
            return Err(corrupt(Corruption::KeyMissing));
        }
        let sealed = model.sealed_pending_email.as_ref();
        let pending = PENDING.open_option(&self.sealing, key, model.row(), sealed)?;
        let pending = pending.map(|text| Email::parse(text.expose())).transpose();
        Ok(Contact {
            pending: pending.map_err(|_| corrupt(Corruption::ValueInvalid))?,
            ..Self::unopened(stored)
        })
    }

    /// What of it takes no key.
    #[must_use]
    pub fn unopened(stored: &StoredContact) -> Contact {
        Contact { verified_at: stored.model.verified_at.map(Timestamp::from_micros), pending: None }
    }

    /// What is known in `model`, if that is what was written.
    pub(crate) fn checked(&self, model: account_contact::Model) -> Result<StoredContact, StoreError> {
        self.digests.check(&model)?;
        Ok(StoredContact { model })
    }
}
