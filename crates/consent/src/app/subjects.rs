//! Subjects: register, read, look up; and who of them needs a guardian to consent.
//!
//! Whoever was erased is found by nothing, and read as an id without anything known.

use std::collections::{BTreeMap, HashMap};

use portal_core::PageSize;
use portal_core::id::{Id, SubjectId};
use portal_crypto::envelope::SubjectKey;
use portal_keys::KeysError;
use portal_mesh::Permit;
use portal_store::StoreError;

use super::receipts::readable;
use super::{Answer, App, KeyOf, Once};
use crate::domain::subject::{Details, Subject};
use crate::error::Error;
use crate::service::policy::{CreateSubject, GetSubject, ListSubjects, LookupSubject};
use crate::store::Page;
use crate::store::decisions::Read;
use crate::store::subjects::{self, REFERENCE, References, StoredSubject};

impl App {
    /// Registers somebody: the holder of an account under the id that is there, anybody else under a new one.
    pub(crate) async fn create_subject(
        &self,
        _: &Permit<CreateSubject>,
        (id, details): (Option<SubjectId>, Details),
        once: Option<Once<Subject>>,
    ) -> Result<Answer<Subject>, Error> {
        let references = &self.references(details.reference.expose()).await?;
        let now = self.clock.now();
        let id = id.unwrap_or_else(|| SubjectId::generate(now, &*self.entropy));
        let subject = &Subject { id, details, created_at: now };
        let change = &self.change_of(id, once.as_ref(), KeyOf::Needed).await?;
        let done = self
            .database
            .run_tx("create_subject", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                if let Some(kept) = change.kept(&tx).await? {
                    return Ok::<_, Error>(kept);
                }
                let taken = match references {
                    Some(references) => subjects::lookup(&tx, references).await?,
                    None => None,
                };
                if taken.is_some() || subjects::find(&tx, id).await?.is_some() {
                    return Err(Error::SubjectExists);
                }
                let key = change.key.as_deref().ok_or(Error::KeyNotAtHand)?;
                subjects::insert(&tx, subject, references.as_ref(), key).await?;
                change.done(&tx, &self.replies, subject.clone()).await
            })
            .await?;
        change.answer(&self.replies, done).await
    }

    /// The permit must cover `id`.
    pub(crate) async fn subject(&self, _: &Permit<GetSubject>, id: SubjectId) -> Result<Subject, Error> {
        let found = self
            .database
            .read("get_subject", |tx| async move {
                let tx = self.seals.reading(&tx).await?;
                Ok::<_, Error>(subjects::find(&tx, id).await?)
            })
            .await?;
        self.opened(found.ok_or(Error::SubjectNotFound)?).await
    }

    pub(crate) async fn lookup_subject(
        &self,
        _: &Permit<LookupSubject>,
        reference: &str,
    ) -> Result<Subject, Error> {
        let references = &self.references(reference).await?.ok_or(Error::SubjectNotFound)?;
        let found = self
            .database
            .read("lookup_subject", |tx| async move {
                let tx = self.seals.reading(&tx).await?;
                Ok::<_, Error>(subjects::lookup(&tx, references).await?)
            })
            .await?;
        self.opened(found.ok_or(Error::SubjectNotFound)?).await
    }

    pub(crate) async fn subjects(
        &self,
        _: &Permit<ListSubjects>,
        after: Option<SubjectId>,
        size: PageSize,
    ) -> Result<Page<Subject, SubjectId>, Error> {
        let page = self
            .database
            .read("list_subjects", |tx| async move {
                let tx = self.seals.reading(&tx).await?;
                Ok::<_, Error>(subjects::page(&tx, after, size).await?)
            })
            .await?;
        let ids: Vec<SubjectId> = page.items.iter().map(StoredSubject::id).collect();
        let keys = self.keys.subjects(&ids).await?;
        page.try_map(|stored| match keys.get(stored.id()) {
            Ok(key) => Ok(stored.open(&self.seals, key)),
            Err(KeysError::Erased(_)) => Ok(Ok(stored.forgotten())),
            Err(KeysError::Corrupt { .. } | KeysError::Missing(_)) => Ok(Err(stored.without_key())),
            Err(error) => Err(error.into()),
        })
    }

    /// What is known of those whose events are recorded, as their receipts say it, of what was `read` of them. Nothing
    /// about it stands in the way of an event: what can't be read is left out.
    pub(super) fn details_of<'k>(
        &self,
        mut read: BTreeMap<SubjectId, Read<StoredSubject>>,
        keys: impl Iterator<Item = (SubjectId, &'k SubjectKey)>,
    ) -> Result<HashMap<SubjectId, Details>, StoreError> {
        let mut known = HashMap::new();
        for (subject, key) in keys {
            let stored = read.remove(&subject).and_then(Result::ok);
            let opened = stored.map(|stored| stored.open(&self.seals, key)).transpose();
            if let Some(opened) = readable(opened)? {
                known.insert(subject, opened.details);
            }
        }
        Ok(known)
    }

    async fn opened(&self, stored: StoredSubject) -> Result<Subject, Error> {
        match self.keys.subject(stored.id()).await {
            Ok(key) => Ok(stored.open(&self.seals, &key)?),
            Err(KeysError::Erased(_)) => Ok(stored.forgotten()),
            Err(KeysError::Corrupt { .. } | KeysError::Missing(_)) => Err(stored.without_key().into()),
            Err(error) => Err(error.into()),
        }
    }

    /// What `reference` is found by; nothing if there is none.
    async fn references(&self, reference: &str) -> Result<Option<References>, Error> {
        if reference.is_empty() {
            return Ok(None);
        }
        let keys = self.keys.index_keys(REFERENCE.0, REFERENCE.1).await?;
        Ok(Some(References::of(&keys, reference)))
    }
}
