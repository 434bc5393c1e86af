//! What is particular to each table.

use std::collections::BTreeMap;

use async_trait::async_trait;
use portal_core::Sensitive;
use portal_core::id::{Id, SubjectId};
use portal_crypto::envelope::SubjectKey;
use portal_crypto::hash::sha384;
use portal_store::sealed::DigestedRow;
use portal_store::{ReadTx, StoreError};
use sea_orm::entity::prelude::*;
use sea_orm::{Condition, QuerySelect};

use super::{ColumnOf, Stored};
use crate::store::entity::{
    change_ack, consent, consent_event, evidence, notice, notice_revision, purpose, purpose_revision, subject,
};
use crate::store::events::{CONTENT, REASON, open_delegation, seal_content, seal_reason};
use crate::store::rows::{self, RowName};
use crate::store::{Seals, changes, notices, purposes, scanned, subjects};

impl Stored for change_ack::Model {
    const KEY: &'static [ColumnOf<Self>] = &[change_ack::Column::AckId];
    const DIGESTS: &'static [ColumnOf<Self>] = &[change_ack::Column::RowDigest];

    fn parse(&self) -> Result<(), StoreError> {
        changes::parse(self).map(drop)
    }
}

impl Stored for consent::Model {
    const KEY: &'static [ColumnOf<Self>] = &[consent::Column::ConsentId];
    const DIGESTS: &'static [ColumnOf<Self>] = &[consent::Column::RowDigest];

    fn parse(&self) -> Result<(), StoreError> {
        rows::consent(self).map(drop)
    }
}

#[async_trait]
impl Stored for consent_event::Model {
    const KEY: &'static [ColumnOf<Self>] = &[consent_event::Column::EventId];
    const DIGESTS: &'static [ColumnOf<Self>] = &[consent_event::Column::RowDigest];
    const CELLS: &'static [ColumnOf<Self>] = &[consent_event::Column::SealedReason];
    const CLEAR: &'static [ColumnOf<Self>] = &[consent_event::Column::Reason];

    fn in_the_clear() -> Option<Condition> {
        Some(Condition::all().add(consent_event::Column::Reason.is_not_null()))
    }

    async fn owners(_: &ReadTx, rows: &[Self]) -> Result<Vec<Option<SubjectId>>, StoreError> {
        let owner = |row: &Self| {
            let sealed =
                row.reason.is_some() || row.sealed_reason.is_some() || row.sealed_delegation.is_some();
            sealed.then(|| SubjectId::from_uuid(row.subject_id))
        };
        Ok(rows.iter().map(owner).collect())
    }

    fn seal(&mut self, seals: &Seals, key: &SubjectKey) -> Result<(), StoreError> {
        seal_reason(seals, self, key)
    }

    async fn unlinked(tx: &ReadTx, rows: &[Self]) -> Result<Vec<StoreError>, StoreError> {
        scanned::unlinked(tx, rows).await
    }

    fn compare(&self, seals: &Seals, key: &SubjectKey) -> Result<Option<&'static str>, StoreError> {
        if let Some(delegation) = &self.sealed_delegation {
            open_delegation(seals, key, self.row(), delegation)?;
        }
        let sealed = REASON.open_option(&seals.sealing, key, self.row(), self.sealed_reason.as_ref())?;
        let differs = self.reason.as_ref().is_some_and(|reason| {
            sealed.as_ref().is_none_or(|sealed: &Sensitive<String>| sealed.expose() != reason)
        });
        Ok(differs.then_some(REASON.column()))
    }

    fn sealed_column() -> &'static str {
        REASON.column()
    }

    fn clear(&mut self) {
        self.reason = None;
    }

    fn parse(&self) -> Result<(), StoreError> {
        rows::event(self.clone()).map(drop)
    }
}

#[async_trait]
impl Stored for evidence::Model {
    const KEY: &'static [ColumnOf<Self>] = &[evidence::Column::EventId, evidence::Column::Position];
    const DIGESTS: &'static [ColumnOf<Self>] = &[evidence::Column::RowDigest];
    const CELLS: &'static [ColumnOf<Self>] = &[evidence::Column::SealedContent];
    const CLEAR: &'static [ColumnOf<Self>] = &[evidence::Column::Content, evidence::Column::ContentHash];
    /// A row may have a mebibyte in each form.
    const MOST: u32 = 32;

    fn in_the_clear() -> Option<Condition> {
        use evidence::Column::{Content, ContentHash};
        let empty = Vec::<u8>::new;
        Some(Condition::any().add(Content.ne(empty())).add(ContentHash.ne(empty())))
    }

    async fn owners(tx: &ReadTx, rows: &[Self]) -> Result<Vec<Option<SubjectId>>, StoreError> {
        let events = rows.iter().map(|row| row.event_id);
        let owners: Vec<(Uuid, Uuid)> = consent_event::Entity::find()
            .select_only()
            .column(consent_event::Column::EventId)
            .column(consent_event::Column::SubjectId)
            .filter(consent_event::Column::EventId.is_in(events))
            .into_tuple()
            .all(tx.conn())
            .await?;
        let owners: BTreeMap<_, _> = owners.into_iter().collect();
        Ok(rows.iter().map(|row| owners.get(&row.event_id).copied().map(SubjectId::from_uuid)).collect())
    }

    fn seal(&mut self, seals: &Seals, key: &SubjectKey) -> Result<(), StoreError> {
        seal_content(seals, self, key)
    }

    fn compare(&self, seals: &Seals, key: &SubjectKey) -> Result<Option<&'static str>, StoreError> {
        let sealed = CONTENT.open_option(&seals.sealing, key, self.row(), self.sealed_content.as_ref())?;
        let differs = match &sealed {
            None => !self.content.is_empty(),
            // A row of the new form alone has no hash: what is sealed can't be changed.
            Some(sealed) if self.content.is_empty() => {
                !self.content_hash.is_empty() && sha384(sealed.expose()).as_slice() != self.content_hash
            }
            Some(sealed) => *sealed.expose() != self.content,
        };
        Ok(differs.then_some(CONTENT.column()))
    }

    fn sealed_column() -> &'static str {
        CONTENT.column()
    }

    fn clear(&mut self) {
        self.content.clear();
        self.content_hash.clear();
    }

    fn parse(&self) -> Result<(), StoreError> {
        rows::evidence_kind(self)?;
        let name = RowName { table: CONTENT.table(), row: self.event_id };
        let is_right = self.content.is_empty() || sha384(&self.content).as_slice() == self.content_hash;
        if is_right { Ok(()) } else { Err(name.corrupt("content_hash")) }
    }
}

impl Stored for notice::Model {
    const KEY: &'static [ColumnOf<Self>] = &[notice::Column::NoticeId];
    const DIGESTS: &'static [ColumnOf<Self>] = &[notice::Column::RowDigest];

    fn parse(&self) -> Result<(), StoreError> {
        notices::life(self).map(drop)
    }
}

impl Stored for notice_revision::Model {
    const KEY: &'static [ColumnOf<Self>] =
        &[notice_revision::Column::NoticeId, notice_revision::Column::Revision];
    const DIGESTS: &'static [ColumnOf<Self>] = &[notice_revision::Column::RowDigest];
    /// A row may have a body in every language.
    const MOST: u32 = 256;

    fn parse(&self) -> Result<(), StoreError> {
        rows::text(self.clone()).map(drop)
    }
}

impl Stored for purpose::Model {
    const KEY: &'static [ColumnOf<Self>] = &[purpose::Column::PurposeId];
    const DIGESTS: &'static [ColumnOf<Self>] = &[purpose::Column::RowDigest];

    fn parse(&self) -> Result<(), StoreError> {
        purposes::life(self).map(drop)
    }
}

impl Stored for purpose_revision::Model {
    const KEY: &'static [ColumnOf<Self>] =
        &[purpose_revision::Column::PurposeId, purpose_revision::Column::Revision];
    const DIGESTS: &'static [ColumnOf<Self>] = &[purpose_revision::Column::RowDigest];

    fn parse(&self) -> Result<(), StoreError> {
        rows::terms(self.clone()).map(drop)
    }
}

#[async_trait]
impl Stored for subject::Model {
    const KEY: &'static [ColumnOf<Self>] = &[subject::Column::SubjectId];
    const DIGESTS: &'static [ColumnOf<Self>] = &[subject::Column::RowDigest];

    async fn owners(_: &ReadTx, rows: &[Self]) -> Result<Vec<Option<SubjectId>>, StoreError> {
        Ok(rows.iter().map(|row| Some(SubjectId::from_uuid(row.subject_id))).collect())
    }

    fn compare(&self, seals: &Seals, key: &SubjectKey) -> Result<Option<&'static str>, StoreError> {
        subjects::details(self, seals, key).map(|_| None)
    }

    fn sealed_column() -> &'static str {
        "sealed_details"
    }

    fn parse(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
