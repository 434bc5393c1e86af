//! The tables of mail and what it is about, and of what is left of deleted accounts.

use std::sync::Arc;

use async_trait::async_trait;
use portal_core::Entropy;
use portal_crypto::envelope::SubjectKey;
use portal_keys::Keys;
use portal_store::sealed::DigestedRow;
use portal_store::{Corruption, ReadTx};
use portal_upkeep::page::Page;
use portal_upkeep::scan::{Checked, ScanError, ScannedTable};
use sea_orm::prelude::Uuid;

use super::{check_sealed, count, read};
use crate::store::contacts::Contacts;
use crate::store::mail_tokens::MailTokens;
use crate::store::outbox::Outbox;
use crate::store::recovery_requests::RecoveryRequests;
use crate::store::tombstones::Tombstones;
use crate::store::{Seals, account_contact, account_tombstone, mail, mail_token, recovery_request, rows};

/// The tables, with rows that are sealed and checked with `seals`.
pub(super) fn tables(keys: &Keys, seals: &Seals, entropy: &Arc<dyn Entropy>) -> Vec<Arc<dyn ScannedTable>> {
    let (sealing, digests) = (&seals.sealing, &seals.digests);
    vec![
        Arc::new(ScanContacts {
            keys: keys.clone(),
            contacts: Contacts::new(sealing.clone(), digests.clone()),
        }),
        Arc::new(ScanTokens {
            keys: keys.clone(),
            tokens: MailTokens::new(sealing.clone(), digests.clone()),
        }),
        Arc::new(ScanMails { keys: keys.clone(), outbox: Outbox::new(sealing.clone(), digests.clone()) }),
        Arc::new(ScanRequests(RecoveryRequests::new(keys, digests.clone(), Arc::clone(entropy)))),
        Arc::new(ScanTombstones(Tombstones::new(digests.clone()))),
    ]
}

struct ScanContacts {
    keys: Keys,
    contacts: Contacts,
}

struct ScanTokens {
    keys: Keys,
    tokens: MailTokens,
}

struct ScanMails {
    keys: Keys,
    outbox: Outbox,
}

struct ScanRequests(RecoveryRequests);

struct ScanTombstones(Tombstones);

#[async_trait]
impl ScannedTable for ScanContacts {
    fn table(&self) -> &'static str {
        "account_contact"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<account_contact::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let page = read::<account_contact::Entity>(tx, page, account_contact::Column::AccountId).await?;
        let missing = |model: &account_contact::Model| {
            let row = &model.account_id;
            rows::corrupt("account_contact", "sealed_pending_email", row, Corruption::KeyMissing)
        };
        let open = |model: &account_contact::Model, key: &SubjectKey| {
            self.contacts.open(&self.contacts.checked(model.clone())?, key).map(drop)
        };
        check_sealed(&self.keys, page, |model| model.subject_id, missing, open).await
    }
}

#[async_trait]
impl ScannedTable for ScanTokens {
    fn table(&self) -> &'static str {
        "mail_token"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<mail_token::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let page = read::<mail_token::Entity>(tx, page, mail_token::Column::TokenHash).await?;
        let missing = |model: &mail_token::Model| {
            let row = Uuid::from_bytes(model.row().id);
            rows::corrupt("mail_token", "sealed_email", &row, Corruption::KeyMissing)
        };
        let open = |model: &mail_token::Model, key: &SubjectKey| {
            self.tokens.open(&self.tokens.checked(model.clone())?, key).map(drop)
        };
        check_sealed(&self.keys, page, |model| model.subject_id, missing, open).await
    }
}

#[async_trait]
impl ScannedTable for ScanMails {
    fn table(&self) -> &'static str {
        "mail"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<mail::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let page = read::<mail::Entity>(tx, page, mail::Column::Id).await?;
        let missing = |model: &mail::Model| {
            rows::corrupt("mail", "sealed_recipient", &model.id, Corruption::KeyMissing)
        };
        let open = |model: &mail::Model, key: &SubjectKey| {
            self.outbox.open(&self.outbox.checked(model.clone())?, key).map(drop)
        };
        check_sealed(&self.keys, page, |model| model.subject_id, missing, open).await
    }
}

#[async_trait]
impl ScannedTable for ScanRequests {
    fn table(&self) -> &'static str {
        "recovery_request"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<recovery_request::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let key = recovery_request::Column::Id;
        let (models, mut checked) = read::<recovery_request::Entity>(tx, page, key).await?;
        for model in &models {
            checked.note(self.0.open(model).map(drop))?;
        }
        Ok(checked)
    }
}

#[async_trait]
impl ScannedTable for ScanTombstones {
    fn table(&self) -> &'static str {
        "account_tombstone"
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        count::<account_tombstone::Entity>(tx).await
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let key = account_tombstone::Column::AccountId;
        let (models, mut checked) = read::<account_tombstone::Entity>(tx, page, key).await?;
        for model in &models {
            checked.note(self.0.checked(model).map(drop))?;
        }
        Ok(checked)
    }
}
