//! Mails that wait to be sent: rows as they are found, opened and written. Earlier versions don't know the table: everything
//! in it is sealed and stamped, whatever the form of other rows.

use portal_core::id::{AccountId, Id, SubjectId};
use portal_core::{Sensitive, Timestamp};
use portal_crypto::envelope::{Padding, SubjectKey};
use portal_store::sealed::{DigestedRow, RowDigests, SealedColumn, Sealing};
use portal_store::{Corruption, ReadTx, Sealed, StoreError, Tx};
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
};

use super::mail::{self, Column};
use super::rows;
use crate::domain::{Email, Mail};

const TABLE: &str = "mail";
const RECIPIENT: SealedColumn<Sensitive<String>> =
    SealedColumn::new(TABLE, "sealed_recipient", Padding::To64);
const CONTENT: SealedColumn<Sensitive<String>> = SealedColumn::new(TABLE, "sealed_content", Padding::To256);

/// A mail as it is stored, checked and not opened.
#[derive(Clone)]
pub struct StoredMail {
    model: mail::Model,
    failures: u32,
}

/// A mail that is opened, as it is posted. `Debug` shows nothing of it.
#[derive(Clone, Debug)]
pub struct OpenMail {
    /// To whom.
    pub recipient: Email,
    /// What it is about.
    pub subject: Sensitive<String>,
    /// What it says.
    pub body: Sensitive<String>,
}

impl StoredMail {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> Uuid {
        self.model.id
    }

    /// Whose key it takes to open it.
    #[must_use]
    pub fn subject(&self) -> SubjectId {
        SubjectId::from_uuid(self.model.subject_id)
    }

    /// How often it could not be sent.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether it is of no more use at `now`.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        Timestamp::from_micros(self.model.expires_at) <= now
    }
}

/// The table.
pub struct Outbox {
    sealing: Sealing,
    digests: RowDigests,
}

impl Outbox {
    /// The table, sealed and checked with these.
    #[must_use]
    pub const fn new(sealing: Sealing, digests: RowDigests) -> Self {
        Self { sealing, digests }
    }

    /// Adds a mail that is sent as soon as possible.
    pub async fn insert(
        &self,
        tx: &Tx,
        (id, account, new): (Uuid, AccountId, &Mail),
        now: Timestamp,
        key: &SubjectKey,
    ) -> Result<(), StoreError> {
        let mut model = mail::Model {
            id,
            account_id: account.uuid(),
            subject_id: key.owner().subject.uuid(),
            sealed_recipient: Sealed::from_envelope(Vec::new()),
            sealed_content: Sealed::from_envelope(Vec::new()),
            failures: 0,
            next_at: now.as_micros(),
            expires_at: new.expires_at.as_micros(),
            row_digest: None,
        };
        let row = model.row();
        let recipient = Sensitive::new(new.recipient.expose().to_owned());
        model.sealed_recipient = RECIPIENT.seal(&self.sealing, key, row, &recipient)?;
        let content = Sensitive::new(format!("{}\n{}", new.subject, new.body.expose()));
        model.sealed_content = CONTENT.seal(&self.sealing, key, row, &content)?;
        self.digests.stamp(&mut model)?;
        let row = model.into_active_model().reset_all();
        mail::Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// `limit` of the mails at most that are to be tried at `now`, those that wait longest first. One that is corrupt is an
    /// error in its place.
    pub async fn due(
        &self,
        tx: &ReadTx,
        now: Timestamp,
        limit: u64,
    ) -> Result<Vec<(Uuid, Result<StoredMail, StoreError>)>, StoreError> {
        let due = mail::Entity::find()
            .filter(Column::NextAt.lte(now.as_micros()))
            .order_by_asc(Column::NextAt)
            .limit(limit);
        let due = due.all(tx.conn()).await?.into_iter();
        Ok(due.map(|model| (model.id, self.checked(model))).collect())
    }

    /// Notes that a mail could not be sent, and when it is tried next. One that is gone stays so.
    pub async fn postpone(&self, tx: &Tx, stored: &StoredMail, next: Timestamp) -> Result<(), StoreError> {
        let mut model = stored.model.clone();
        model.failures += 1;
        model.next_at = next.as_micros();
        self.digests.stamp(&mut model)?;
        mail::Entity::update_many()
            .col_expr(Column::Failures, Expr::value(model.failures))
            .col_expr(Column::NextAt, Expr::value(model.next_at))
            .col_expr(Column::RowDigest, Expr::value(model.row_digest))
            .filter(Column::Id.eq(model.id))
            .filter(Column::Failures.eq(stored.model.failures))
            .exec(tx.conn())
            .await?;
        Ok(())
    }

    /// Forgets a mail. One that is gone stays so.
    pub async fn delete(&self, tx: &Tx, id: Uuid) -> Result<(), StoreError> {
        mail::Entity::delete_by_id(id).exec(tx.conn()).await?;
        Ok(())
    }

    /// What is sent.
    pub fn open(&self, stored: &StoredMail, key: &SubjectKey) -> Result<OpenMail, StoreError> {
        let model = &stored.model;
        let corrupt = |column, cause| rows::corrupt(TABLE, column, &model.id, cause);
        if key.owner().subject != stored.subject() {
            return Err(corrupt("sealed_recipient", Corruption::KeyMissing));
        }
        let recipient = RECIPIENT.open(&self.sealing, key, model.row(), &model.sealed_recipient)?;
        let recipient = Email::parse(recipient.expose());
        let content = CONTENT.open(&self.sealing, key, model.row(), &model.sealed_content)?;
        let parts = content.expose().split_once('\n');
        let (subject, body) = parts.ok_or_else(|| corrupt("sealed_content", Corruption::ValueInvalid))?;
        Ok(OpenMail {
            recipient: recipient.map_err(|_| corrupt("sealed_recipient", Corruption::ValueInvalid))?,
            subject: Sensitive::new(subject.to_owned()),
            body: Sensitive::new(body.to_owned()),
        })
    }

    /// The mail in `model`, if that is what was written.
    pub(crate) fn checked(&self, model: mail::Model) -> Result<StoredMail, StoreError> {
        self.digests.check(&model)?;
        let invalid = |_| rows::corrupt(TABLE, "failures", &model.id, Corruption::ValueInvalid);
        Ok(StoredMail { failures: u32::try_from(model.failures).map_err(invalid)?, model })
    }
}
