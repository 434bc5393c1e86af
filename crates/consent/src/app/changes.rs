//! The change stream, and what its readers acknowledge.
//!
//! What it promises:
//! - Changes come in the order of the ledger, which is that of each subject's history, each with the place to resume from.
//! - Nothing is left out: a stream is read from the database, page by page, as fast as its reader takes it. It waits for
//!   nothing but that the ledger grows.
//! - A change whose record is corrupt is told as that, to everybody: its reader goes on, and knows.
//! - Who acknowledges goes forward only. Each acknowledgement is in the ledger.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::unfold;
use portal_core::PageSize;
use portal_core::id::{AckId, EventId, Id, PurposeId};
use portal_ledger::{Append, Commitment, Leaf, Salt, feed};
use portal_mesh::Permit;
use portal_store::ReadTx;
use tokio::sync::watch;

use super::consents::{Listed, actor};
use super::{Answer, App, Once};
use crate::domain::consent::Event;
use crate::error::Error;
use crate::service::policy::{AckConsentChanges, ListConsentChangeAcks, WatchConsentChanges};
use crate::store::changes::{self, Ack, AckPosition};
use crate::store::leaves::{ACK, EVENT};
use crate::store::{Page, receipts};

/// What the leaf of an acknowledgement commits to.
const ACK_LEAF: &str = "consent.change-ack";
/// Entries of the ledger that are read at a time.
const ENTRIES: u64 = 200;

/// A change in the stream: to resume after.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) position: u64,
    /// Another ledger, put back from a copy, has another event there.
    pub(crate) event: EventId,
}

/// A change, as it is streamed.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) place: Place,
    /// Without the words of the subject. Nothing if its record is corrupt.
    pub(crate) event: Option<Listed>,
}

/// An acknowledgement that stands.
#[derive(Clone, Debug)]
pub(crate) struct Acked {
    pub(crate) ack: Ack,
    /// Its own place in the ledger, if it has one yet.
    pub(crate) position: Option<u64>,
}

/// One reader.
struct Watcher {
    app: Arc<App>,
    growth: watch::Receiver<u64>,
    next: u64,
    purposes: BTreeSet<PurposeId>,
    read: VecDeque<Told>,
}

impl App {
    /// The changes of `purposes`, or of all, after `resume`, or from the first on; and those to come.
    pub(crate) async fn watch_changes(
        self: Arc<Self>,
        _: &Permit<WatchConsentChanges>,
        resume: Option<Place>,
        purposes: BTreeSet<PurposeId>,
    ) -> Result<impl Stream<Item = Result<Told, Error>> + Send + 'static, Error> {
        // Subscribed before anything is read: nothing comes in between unnoticed.
        let growth = self.live.growth();
        if let Some(place) = resume {
            let there = |tx| async move { there(&tx, place).await };
            self.database.read("resume_changes", there).await?;
        }
        let next = resume.map_or(0, |place| place.position.saturating_add(1));
        let watcher = Watcher { app: self, growth, next, purposes, read: VecDeque::new() };
        Ok(unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(Some(told)) => Some((Ok(told), Some(watcher))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// Records that `recipient` took note of everything up to `place`, unless it has before.
    pub(crate) async fn ack_changes(
        &self,
        permit: &Permit<AckConsentChanges>,
        place: Place,
        recipient: String,
        once: Option<Once<Acked>>,
    ) -> Result<Answer<Acked>, Error> {
        let change = &self.change(once.as_ref());
        let salt = &Salt::generate(&*self.entropy);
        let ack = &Ack {
            id: AckId::generate(change.now, &*self.entropy),
            caller: actor(permit.caller()),
            recipient,
            position: place.position,
            recorded_at: change.now,
        };
        let done = self
            .database
            .run_tx("ack_changes", |tx| async move {
                let tx = self.seals.writing(&tx).await?;
                if let Some(kept) = change.kept(&tx).await? {
                    return Ok(kept);
                }
                there(tx.tx(), place).await?;
                let before = changes::furthest(&tx, &ack.caller, &ack.recipient).await?;
                if let Some(ack) = before.filter(|before| before.position >= ack.position) {
                    let id = ack.id.uuid();
                    let position = feed::positions(tx.tx(), ACK, &[id]).await?.get(&id).copied();
                    return change.done(&tx, &self.replies, Acked { ack, position }).await;
                }
                changes::append(&tx, ack, salt).await?;
                let commitment = Commitment::of(Leaf { kind: ACK_LEAF, content: &content(ack) }, salt);
                let entry = Append { kind: ACK, reference: ack.id.uuid(), commitment };
                portal_ledger::append(tx.tx(), entry, ack.recorded_at).await?;
                change.done(&tx, &self.replies, Acked { ack: ack.clone(), position: None }).await
            })
            .await?;
        change.answer(&self.replies, done).await
    }

    /// One page of what was acknowledged, the latest first.
    pub(crate) async fn change_acks(
        &self,
        _: &Permit<ListConsentChangeAcks>,
        recipient: Option<&str>,
        after: Option<AckPosition>,
        size: PageSize,
    ) -> Result<Page<Acked, AckPosition>, Error> {
        self.database
            .read("list_change_acks", |tx| async move {
                let reading = self.seals.reading(&tx).await?;
                let Page { items, withheld, next } = changes::page(&reading, recipient, after, size).await?;
                let ids: Vec<_> = items.iter().map(|ack| ack.id.uuid()).collect();
                let positions = feed::positions(&tx, ACK, &ids).await?;
                let placed = |ack: Ack| {
                    let position = positions.get(&ack.id.uuid()).copied();
                    Acked { ack, position }
                };
                Ok(Page { items: items.into_iter().map(placed).collect(), withheld, next })
            })
            .await
    }
}

/// Whether the change is where it was.
async fn there(tx: &ReadTx, place: Place) -> Result<(), Error> {
    let entries = feed::entries(tx, place.position, 1).await?;
    let same = |entry: &feed::Entry| entry.kind == EVENT && entry.reference == place.event.uuid();
    if entries.first().is_some_and(|entry| entry.position == place.position && same(entry)) {
        Ok(())
    } else {
        Err(Error::ResumeUnknown)
    }
}

impl Watcher {
    /// The next change; nothing when the service stops.
    async fn next(&mut self) -> Result<Option<Told>, Error> {
        loop {
            if let Some(told) = self.read.pop_front() {
                return Ok(Some(told));
            }
            if !self.fetch().await? && self.growth.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Reads what comes next in the ledger; tells whether there was anything.
    async fn fetch(&mut self) -> Result<bool, Error> {
        let (app, next) = (&self.app, self.next);
        let (entries, mut events, receipts) = app
            .database
            .read("read_changes", |tx| async move {
                let entries = feed::entries(&tx, next, ENTRIES).await?;
                if entries.is_empty() && feed::size(&tx).await? < next {
                    return Err(Error::ResumeUnknown);
                }
                let events = entries.iter().filter(|entry| entry.kind == EVENT);
                let events: Vec<EventId> = events.map(|entry| EventId::from_uuid(entry.reference)).collect();
                let reading = app.seals.reading(&tx).await?;
                let ids: Vec<_> = events.iter().map(|event| event.uuid()).collect();
                let receipts = receipts::existing(&reading, &ids).await?;
                Ok((entries, changes::events(&reading, &events).await?, receipts))
            })
            .await?;
        let Some(last) = entries.last() else { return Ok(false) };
        self.next = last.position.saturating_add(1);
        for entry in entries.iter().filter(|entry| entry.kind == EVENT) {
            let place = Place { position: entry.position, event: EventId::from_uuid(entry.reference) };
            let event = events.remove(&place.event);
            if event.is_none() {
                tracing::error!(event = %place.event, "a change is streamed without its record, which is corrupt");
                app.metrics.change_withheld();
            }
            let wanted = |event: &Event| self.purposes.is_empty() || self.purposes.contains(&event.purpose);
            if event.as_ref().is_none_or(wanted) {
                let (position, has_receipt) = (Some(entry.position), receipts.contains(&entry.reference));
                let event = event.map(|event| Listed { event, position, has_receipt });
                self.read.push_back(Told { place, event });
            }
        }
        Ok(true)
    }
}

/// What is said of an acknowledgement, in one form only: JSON with its members sorted.
fn content(ack: &Ack) -> Vec<u8> {
    let content = serde_json::json!({
        "ack_id": ack.id.to_string(),
        "caller_id": ack.caller,
        "recipient": ack.recipient,
        "change_ledger_index": ack.position,
        "record_time": ack.recorded_at.as_micros(),
    });
    content.to_string().into_bytes()
}
