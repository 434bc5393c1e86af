//! Receipts: each opens, is one in its one form, says what its event says, and is what the ledger committed to.
//!
//! Nothing of it leaves the process: a finding names the row. What was sealed for somebody who was erased can't be opened
//! any more; that it has its entry in the ledger can still be seen.

use std::collections::HashMap;

use async_trait::async_trait;
use portal_core::id::{Id, ReceiptId, SubjectId};
use portal_crypto::envelope::SubjectKey;
use portal_keys::{Keys, KeysError};
use portal_ledger::{Commitment, feed};
use portal_receipt::payload;
use portal_receipt::record::Record;
use portal_store::{Corruption, ReadTx, StoreError};
use portal_upkeep::page::{self, Page};
use portal_upkeep::scan::{Checked, ScanError, ScannedTable};
use sea_orm::PaginatorTrait;
use sea_orm::entity::prelude::*;

use crate::domain::consent::Event;
use crate::domain::receipt as said;
use crate::store::entity::{consent_event, receipt};
use crate::store::leaves::EVENT;
use crate::store::rows::RowName;
use crate::store::{Seals, events, receipts};

const KEY: &[receipt::Column] = &[receipt::Column::EventId];
/// A row may have 5 KiB.
const MOST: u32 = 256;
const TABLE: &str = "receipt";

/// Checks digests, contents and links.
pub(super) struct Receipts {
    pub(super) seals: Seals,
    pub(super) keys: Keys,
}

/// What a receipt must agree with.
struct Beside {
    events: HashMap<Uuid, consent_event::Model>,
    entries: HashMap<Uuid, Vec<Commitment>>,
}

#[async_trait]
impl ScannedTable for Receipts {
    fn table(&self) -> &'static str {
        TABLE
    }

    async fn count(&self, tx: &ReadTx) -> Result<u64, ScanError> {
        Ok(receipt::Entity::find().count(tx.conn()).await.map_err(StoreError::from)?)
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let page = page.at_most(MOST);
        let rows = page.of(receipt::Entity::find(), KEY).all(tx.conn()).await.map_err(StoreError::from)?;
        let mut beside = Beside::read(tx, &rows).await?;
        let subjects: Vec<_> = rows.iter().map(|row| SubjectId::from_uuid(row.subject_id)).collect();
        let keys = self.keys.subjects(&subjects).await?;
        let mut checked = Checked::of(&page, rows.len(), rows.last().map(|row| page::key_of(row, KEY)));
        for (row, subject) in rows.into_iter().zip(subjects) {
            let name = RowName { table: TABLE, row: row.event_id };
            if !beside.entries.contains_key(&row.event_id) {
                checked.note::<()>(Err(name.corrupt_by("event_id", Corruption::LedgerMissing)))?;
            }
            checked.note(self.seals.verify(&row))?;
            let key = match keys.get(subject) {
                Ok(key) => Some(&**key),
                Err(KeysError::Erased(_)) => continue,
                Err(KeysError::Corrupt { .. } | KeysError::Missing(_)) => None,
                Err(error) => {
                    checked.note_key(error)?;
                    continue;
                }
            };
            checked.note(self.compare(row, key, &mut beside))?;
        }
        Ok(checked)
    }
}

impl Beside {
    async fn read(tx: &ReadTx, rows: &[receipt::Model]) -> Result<Self, StoreError> {
        let ids: Vec<Uuid> = rows.iter().map(|row| row.event_id).collect();
        let entries = feed::commitments(tx, EVENT, &ids).await?;
        let events = consent_event::Entity::find().filter(consent_event::Column::EventId.is_in(ids));
        let events = events.all(tx.conn()).await?.into_iter().map(|event| (event.event_id, event));
        Ok(Self { events: events.collect(), entries })
    }
}

impl Receipts {
    /// Opens a receipt, and compares it with its leaf and its event.
    fn compare(
        &self,
        row: receipt::Model,
        key: Option<&SubjectKey>,
        beside: &mut Beside,
    ) -> Result<(), StoreError> {
        let id = row.event_id;
        let column = if row.service_payload.is_some() { "service_payload" } else { "sealed_payload" };
        let (consent, subject, recorded_at) = (row.consent_id, row.subject_id, row.recorded_at);
        let stored = receipts::unchecked(row)?;
        let bytes = match key {
            Some(key) => stored.open(&self.seals, key)?,
            None => stored.open_of_service(&self.seals)?,
        };
        let (read, leaf) = match (payload::decode(&bytes), payload::leaf_hash(&bytes)) {
            (Ok(read), Ok(leaf)) => (read.record, leaf),
            (Err(_), _) | (_, Err(_)) => return Err(stored.unreadable()),
        };
        let entries = beside.entries.get(&id).into_iter().flatten();
        if entries.into_iter().any(|entry| entry.leaf_hash() != leaf) {
            return Err(RowName { table: TABLE, row: id }.corrupt_by(column, Corruption::LedgerMismatch));
        }
        let name = RowName { table: "consent_event", row: id };
        let event = beside.events.remove(&id);
        let event = event.ok_or_else(|| name.corrupt_by("event_id", Corruption::LedgerMissing))?;
        let columns = (consent, subject, recorded_at)
            == (read.consent.uuid(), read.subject.id.uuid(), read.event.recorded_at.as_micros());
        if !columns {
            return Err(RowName { table: TABLE, row: id }.corrupt("consent_id"));
        }
        // One that can't be read is told with the event itself.
        let Ok(event) = opened(event, &self.seals, key) else { return Ok(()) };
        if agrees(&read, &event) { Ok(()) } else { Err(name.corrupt_by("", Corruption::LedgerMismatch)) }
    }
}

fn opened(event: consent_event::Model, seals: &Seals, key: Option<&SubjectKey>) -> Result<Event, StoreError> {
    let stored = events::stored(event)?;
    match key {
        Some(key) => stored.open(seals, key),
        None if stored.sealed_for().is_some() => Err(stored.without_key()),
        None => Ok(stored.unopened()),
    }
}

/// Whether the record says what the event says.
fn agrees(record: &Record, event: &Event) -> bool {
    let id = ReceiptId::from_uuid(event.id.uuid());
    record.id == id
        && record.consent == event.consent
        && record.subject.id == event.subject
        && record.event == said::event(event)
        && (record.purpose.id, record.purpose.revision) == (event.purpose, event.basis.purpose_revision)
        && (record.notice.id, record.notice.revision) == (event.basis.notice, event.basis.notice_revision)
        && record.notice.language == event.language.as_ref().map(ToString::to_string)
        && record.delegation == event.delegation.as_ref().map(|delegation| said::delegation(id, delegation))
}
