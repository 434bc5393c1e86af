//! What links rows and the ledger: each event has its entry, and its receipt; each entry has its row.
//!
//! Events of before there was a ledger have neither. One that an earlier version of the service recorded beside this one
//! has neither as well, and is found.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use portal_ledger::feed;
use portal_store::{Corruption, ReadTx, StoreError};
use portal_upkeep::page::Page;
use portal_upkeep::scan::{Checked, ScanError, ScannedTable};
use sea_orm::QuerySelect;
use sea_orm::entity::prelude::*;

use crate::store::entity::{change_ack, consent_event, receipt};
use crate::store::leaves::{ACK, EVENT};
use crate::store::rows::RowName;

/// What is wrong with the links of `events`.
pub(in crate::store) async fn unlinked(
    tx: &ReadTx,
    events: &[consent_event::Model],
) -> Result<Vec<StoreError>, StoreError> {
    let ids: Vec<Uuid> = events.iter().map(|event| event.event_id).collect();
    let entries = feed::commitments(tx, EVENT, &ids).await?;
    let receipts = ids_of::<receipt::Entity>(tx, receipt::Column::EventId, ids).await?;
    let missing = |id: &Uuid| !entries.contains_key(id) || !receipts.contains(id);
    if !events.iter().any(|event| missing(&event.event_id)) {
        return Ok(Vec::new());
    }
    let since = feed::since(tx, EVENT).await?;
    let faults = events.iter().filter_map(|event| {
        let table = match (entries.contains_key(&event.event_id), receipts.contains(&event.event_id)) {
            (true, false) => "receipt",
            (false, false) if since.is_some_and(|since| since.as_micros() <= event.recorded_at) => {
                "consent_event"
            }
            // A receipt without an entry is told with the receipt.
            (false, _) | (true, true) => return None,
        };
        Some(RowName { table, row: event.event_id }.corrupt_by("event_id", Corruption::LedgerMissing))
    });
    Ok(faults.collect())
}

/// The entries of the ledger: what each of them is about must be there.
pub(super) struct Entries;

#[async_trait]
impl ScannedTable for Entries {
    fn table(&self) -> &'static str {
        "ledger_entry"
    }

    /// Entries are not counted among the rows.
    async fn count(&self, _: &ReadTx) -> Result<u64, ScanError> {
        Ok(0)
    }

    async fn check_page(&self, tx: &ReadTx, page: &Page) -> Result<Checked, ScanError> {
        let after = page.after.as_deref().and_then(|after| after.try_into().ok()).map(u64::from_be_bytes);
        let from = after.map_or(0, |after| after.saturating_add(1));
        let entries = feed::entries(tx, from, page.limit.into()).await?;
        let of = |kind| entries.iter().filter(move |entry| entry.kind == kind).map(|entry| entry.reference);
        let events =
            ids_of::<consent_event::Entity>(tx, consent_event::Column::EventId, of(EVENT).collect()).await?;
        let acks = ids_of::<change_ack::Entity>(tx, change_ack::Column::AckId, of(ACK).collect()).await?;
        let there = BTreeMap::from([(EVENT.0, events), (ACK.0, acks)]);
        let last = entries.last().map(|entry| entry.position.to_be_bytes().to_vec());
        let mut checked = Checked::of(page, entries.len(), last);
        for entry in &entries {
            if there.get(&entry.kind.0).is_some_and(|there| !there.contains(&entry.reference)) {
                let (table, column, row) = ("ledger_entry", "reference", entry.position.to_string());
                let cause = Corruption::LedgerMissing;
                checked.note::<()>(Err(StoreError::Corrupt { table, column, row, cause }))?;
            }
        }
        Ok(checked)
    }
}

/// Those of `ids` that are there.
async fn ids_of<E: EntityTrait>(
    tx: &ReadTx,
    column: E::Column,
    ids: Vec<Uuid>,
) -> Result<BTreeSet<Uuid>, StoreError> {
    if ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let found = E::find().select_only().column(column).filter(column.is_in(ids)).into_tuple();
    let found: Vec<Uuid> = found.all(tx.conn()).await?;
    Ok(found.into_iter().collect())
}
