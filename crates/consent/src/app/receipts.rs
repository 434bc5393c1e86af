//! Receipts. What one says is fixed in the transaction of the change; it is signed, and its place in the
//! ledger proven, when somebody asks for it.
//!
//! Nothing about a receipt may stand in the way of withdrawing: where purpose or notice can't be read, it names them without
//! what they say.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use portal_core::PageSize;
use portal_core::id::{EventId, Id, NoticeId, PurposeId, ReceiptId, SubjectId};
use portal_crypto::cose::{self, Key, SigningKey};
use portal_crypto::suite::{Algorithm, Suites};
use portal_keys::KeysError;
use portal_ledger::{LeafRef, LedgerError};
use portal_mesh::Permit;
use portal_mesh::policy::Action;
use portal_receipt::record::{self, Record};
use portal_receipt::{Proof, Report, payload};
use portal_store::StoreError;

use super::App;
use crate::domain::canonical;
use crate::domain::consent::{Event, Evidence};
use crate::domain::notice::Notice;
use crate::domain::purpose::{Purpose, Terms};
use crate::domain::receipt;
use crate::domain::subject::Details;
use crate::error::Error;
use crate::service::policy::{ListReceipts, VerifyReceipt};
use crate::store::receipts::{ReceiptPosition, ReceiptsOf, StoredReceipt};
use crate::store::{Page, Reading, Which, notices, purposes, receipts};

/// What is remembered of published revisions, at most. They never change.
const REMEMBERED: usize = 1_024;

/// What published revisions say, as far as receipts need it.
#[derive(Default)]
pub(crate) struct Revisions {
    purposes: Mutex<HashMap<(PurposeId, u32), Revision>>,
    notices: Mutex<HashMap<(NoticeId, u32), [u8; 48]>>,
}

/// What the published revision of a purpose says, as receipts have it.
#[derive(Clone)]
struct Revision {
    terms: record::Terms,
    parties: Vec<record::Party>,
    content_hash: [u8; 48],
}

impl Revision {
    fn of(terms: &Terms) -> Self {
        Self {
            terms: receipt::terms(terms),
            parties: terms.record.parties.iter().map(receipt::party).collect(),
            content_hash: canonical::terms_hash(terms),
        }
    }
}

/// A receipt, signed.
pub(crate) struct Issued {
    pub(crate) record: Record,
    pub(crate) cose: Vec<u8>,
    /// Proof of its place: not there until a checkpoint covers it, within seconds.
    pub(crate) inclusion: Option<Vec<u8>>,
}

impl App {
    /// What the receipt of `event` says.
    pub(super) async fn record_of(
        &self,
        tx: &Reading<'_>,
        event: &Event,
        (evidence, known): (&[Evidence], Option<&Details>),
    ) -> Result<Record, StoreError> {
        let id = ReceiptId::from_uuid(event.id.uuid());
        let purpose = self.revision(tx, event.purpose, event.basis.purpose_revision).await?;
        let (terms, parties, content_hash) = match purpose {
            Some(Revision { terms, parties, content_hash }) => (Some(terms), parties, Some(content_hash)),
            None => (None, Vec::new(), None),
        };
        Ok(Record {
            id,
            consent: event.consent,
            keeper: self.log.origin().to_owned(),
            subject: receipt::subject(event.subject, known),
            event: receipt::event(event),
            notice: record::Notice {
                id: event.basis.notice,
                revision: event.basis.notice_revision,
                language: event.language.as_ref().map(ToString::to_string),
                content_hash: self.notice_hash(tx, event.basis.notice, event.basis.notice_revision).await?,
            },
            purpose: record::Purpose {
                id: event.purpose,
                revision: event.basis.purpose_revision,
                terms,
                content_hash,
                abridged: false,
            },
            parties,
            delegation: event.delegation.as_ref().map(|delegation| receipt::delegation(id, delegation)),
            evidence: evidence.iter().map(receipt::evidence).collect(),
        })
    }

    async fn revision(
        &self,
        tx: &Reading<'_>,
        id: PurposeId,
        revision: u32,
    ) -> Result<Option<Revision>, StoreError> {
        let found = || async {
            let purpose = purposes::find(tx, id, Which::Revision(revision)).await;
            Ok(readable(purpose)?.map(|Purpose { terms, .. }| Revision::of(&terms)))
        };
        remembered(&self.revisions.purposes, (id, revision), found).await
    }

    async fn notice_hash(
        &self,
        tx: &Reading<'_>,
        id: NoticeId,
        revision: u32,
    ) -> Result<Option<[u8; 48]>, StoreError> {
        let found = || async {
            let notice = notices::find(tx, id, Which::Revision(revision)).await;
            let hash = readable(notice)?.and_then(|Notice { content_hash, .. }| content_hash);
            Ok(hash.and_then(|hash| hash.try_into().ok()))
        };
        remembered(&self.revisions.notices, (id, revision), found).await
    }

    /// The receipt as it is kept. The permit must be checked against its subject before it is opened.
    pub(crate) async fn kept_receipt<A: Action>(
        &self,
        _: &Permit<A>,
        id: ReceiptId,
    ) -> Result<StoredReceipt, Error> {
        let event = EventId::from_uuid(id.uuid());
        self.database
            .read("get_receipt", |tx| async move {
                let tx = self.seals.reading(&tx).await?;
                receipts::find(&tx, event).await?.ok_or(Error::ReceiptNotFound)
            })
            .await
    }

    /// The receipt, signed.
    pub(crate) async fn issue<A: Action>(
        &self,
        permit: &Permit<A>,
        stored: &StoredReceipt,
    ) -> Result<Issued, Error> {
        let payload = self.open_receipt(stored).await?;
        self.sign_receipt(permit, stored, &payload).await
    }

    /// One page of the receipts of a subject, newest first. A row that is corrupt is left out.
    pub(crate) async fn receipts(
        &self,
        permit: &Permit<ListReceipts>,
        of: ReceiptsOf,
        after: Option<ReceiptPosition>,
        size: PageSize,
    ) -> Result<Page<Issued, ReceiptPosition>, Error> {
        let page = self
            .database
            .read("list_receipts", |tx| async move {
                let tx = self.seals.reading(&tx).await?;
                Ok::<_, Error>(receipts::page(&tx, of, after, size).await?)
            })
            .await?;
        let mut issued =
            Page { items: Vec::with_capacity(page.items.len()), withheld: page.withheld, next: page.next };
        for stored in &page.items {
            match self.issue(permit, stored).await {
                Ok(receipt) => issued.items.push(receipt),
                Err(Error::Store(error @ StoreError::Corrupt { .. })) => {
                    tracing::error!(%error, "a corrupt receipt is left out");
                    issued.withheld += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(issued)
    }

    /// What the receipt says, unless its subject was erased, under whosever key it was kept.
    async fn open_receipt(&self, stored: &StoredReceipt) -> Result<Vec<u8>, Error> {
        let subject = stored.subject;
        if stored.is_of_service() {
            if self.keys.erased(&[subject]).await?.contains(&subject) {
                return Err(KeysError::Erased(subject).into());
            }
            return Ok(stored.open_of_service(&self.seals)?);
        }
        match self.keys.subject(subject).await {
            Ok(key) => Ok(stored.open(&self.seals, &key)?),
            Err(KeysError::Missing(_)) => Err(stored.without_key().into()),
            Err(error) => Err(error.into()),
        }
    }

    async fn sign_receipt<A: Action>(
        &self,
        _: &Permit<A>,
        stored: &StoredReceipt,
        bytes: &[u8],
    ) -> Result<Issued, Error> {
        self.keys.suites().require(Algorithm::MlDsa65).map_err(KeysError::from)?;
        let kept = payload::decode(bytes).map_err(|_| stored.unreadable())?;
        let pair = self.keys.ledger_key();
        let cose = portal_receipt::sign(bytes, pair.ml_dsa_65()).map_err(|_| KeysError::Crypto)?;
        let leaf = payload::leaf_hash(bytes).map_err(|_| stored.unreadable())?;
        let inclusion = match self.log.inclusion(LeafRef::Hash(leaf), None).await {
            Ok(found) => {
                let place = cose::receipt::Inclusion {
                    tree_size: found.head.size,
                    leaf_index: found.position,
                    path: found.path,
                };
                let key = SigningKey::MlDsa65(pair.ml_dsa_65());
                Some(cose::receipt::issue(&place, &found.head.root, key).map_err(|_| KeysError::Crypto)?)
            }
            // A checkpoint covers it within seconds.
            Err(LedgerError::NotFound | LedgerError::NotSigned | LedgerError::OutOfRange) => None,
            Err(LedgerError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(Error::Ledger(error)),
        };
        Ok(Issued { record: kept.record, cose, inclusion })
    }

    /// Whether a receipt is one of ours.
    pub(crate) fn verify_receipt(&self, _: &Permit<VerifyReceipt>, proof: &Proof<'_>) -> Report {
        let keys = Key::both(self.log.verifying_key());
        let suites: Suites = self.keys.suites();
        portal_receipt::verify(proof, &keys, suites)
    }
}

/// What was found, unless it is corrupt, which is logged.
pub(super) fn readable<T>(found: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Err(error @ StoreError::Corrupt { .. }) => {
            tracing::error!(%error, "a receipt goes without what can't be read");
            Ok(None)
        }
        other => other,
    }
}

/// What `all` remembers, or else what is found, which is remembered from then on.
async fn remembered<K, V, F>(
    all: &Mutex<HashMap<K, V>>,
    key: K,
    find: impl FnOnce() -> F,
) -> Result<Option<V>, StoreError>
where
    K: Copy + Eq + std::hash::Hash,
    V: Clone,
    F: Future<Output = Result<Option<V>, StoreError>>,
{
    if let Some(value) = all.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(Some(value.clone()));
    }
    let found = find().await?;
    if let Some(value) = &found {
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(key, value.clone());
    }
    Ok(found)
}

impl Issued {
    /// Whose it is.
    pub(crate) const fn subject(&self) -> SubjectId {
        self.record.subject.id
    }
}
