//! What has happened: read, and followed in the order of the ledger.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use portal_core::id::{EventId, Id};
use portal_ledger::feed;
use portal_mesh::Permit;
use portal_upkeep::audit::{EVENT, Recorded, Sought};
use tokio::sync::watch;

use super::App;
use crate::error::Error;
use crate::service::policy::{ListAuditEvents, WatchAuditEvents};
use crate::store::Listed;

/// Entries of the ledger that are read at a time.
const ENTRIES: u64 = 200;
/// How often the database is asked: another replica may be the one that gives positions.
const POLL: Duration = Duration::from_millis(250);

/// An event, and where the ledger has it, if it has yet.
pub struct Event {
    /// What happened.
    pub recorded: Recorded,
    /// Its place.
    pub position: Option<u64>,
}

/// An event, as it is streamed.
pub struct Told {
    /// Where it is.
    pub place: Place,
    /// What happened; nothing if its row is not what was written, or is gone.
    pub recorded: Option<Recorded>,
}

/// An event in a stream: to resume after.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// Where the ledger has it.
    pub position: u64,
    /// Another ledger, put back from a copy, has another event there.
    pub event: EventId,
}

/// One reader.
struct Watcher {
    app: Arc<App>,
    growth: watch::Receiver<u64>,
    next: u64,
    actions: Vec<String>,
    read: VecDeque<Told>,
}

impl App {
    /// `size` of the events that are sought at most, newest first, before `before`.
    pub(crate) async fn list_audit_events(
        &self,
        _: &Permit<ListAuditEvents>,
        sought: &Sought,
        (before, size): (Option<EventId>, usize),
    ) -> Result<Listed<Event, EventId>, Error> {
        let (mut found, mut positions) = self
            .database
            .read("list_audit_events", |tx| async move {
                let found = self.audit.search(&tx, sought, (before, size as u64 + 1)).await?;
                let ids: Vec<_> = found.iter().map(|(id, _)| id.uuid()).collect();
                Ok::<_, Error>((found, feed::positions(&tx, EVENT, &ids).await?))
            })
            .await?;
        let more = found.len() > size;
        found.truncate(size);
        let next = found.last().filter(|_| more).map(|(id, _)| *id);
        let found = found.into_iter().map(|(id, recorded)| {
            recorded.map(|recorded| Event { recorded, position: positions.remove(&id.uuid()) })
        });
        Ok(Listed::of(found, next)?)
    }

    /// The events of `actions`, or of all, after `resume`, or from now on.
    pub(crate) async fn watch_audit_events(
        self: Arc<Self>,
        _: &Permit<WatchAuditEvents>,
        resume: Option<Place>,
        actions: Vec<String>,
    ) -> Result<impl Stream<Item = Result<Told, Error>> + Send + 'static, Error> {
        // Subscribed before anything is read: nothing comes in between unnoticed.
        let growth = self.log.sequenced();
        let next = self
            .database
            .read("resume_audit_events", |tx| async move {
                let Some(place) = resume else { return Ok(feed::size(&tx).await?) };
                let entry = feed::entries(&tx, place.position, 1).await?.into_iter().next();
                let same = entry.is_some_and(|entry| {
                    entry.position == place.position && entry.reference == place.event.uuid()
                });
                if same { Ok(place.position.saturating_add(1)) } else { Err(Error::ResumeUnknown) }
            })
            .await?;
        let watcher = Watcher { app: self, growth, next, actions, read: VecDeque::new() };
        Ok(unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(Some(event)) => Some((Ok(event), Some(watcher))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

impl Watcher {
    /// The next event; nothing when the service stops.
    async fn next(&mut self) -> Result<Option<Told>, Error> {
        loop {
            if let Some(event) = self.read.pop_front() {
                return Ok(Some(event));
            }
            if self.fetch().await? {
                continue;
            }
            // Known at once if this process gives the positions.
            if let Ok(Err(_)) = tokio::time::timeout(POLL, self.growth.changed()).await {
                return Ok(None);
            }
        }
    }

    /// Reads what comes next in the ledger; tells whether there was anything. An event whose row is corrupt or gone is told as
    /// that, to everybody.
    async fn fetch(&mut self) -> Result<bool, Error> {
        let (app, next) = (&self.app, self.next);
        let (entries, found) = app
            .database
            .read("read_audit_events", |tx| async move {
                let entries = feed::entries(&tx, next, ENTRIES).await?;
                if entries.is_empty() && feed::size(&tx).await? < next {
                    return Err(Error::ResumeUnknown);
                }
                let events = entries.iter().filter(|entry| entry.kind == EVENT);
                let ids: Vec<_> = events.map(|entry| entry.reference).collect();
                Ok((entries, app.audit.events(&tx, &ids).await?))
            })
            .await?;
        let Some(last) = entries.last() else { return Ok(false) };
        self.next = last.position.saturating_add(1);
        let mut found: HashMap<_, _> = found.into_iter().collect();
        for entry in entries.iter().filter(|entry| entry.kind == EVENT) {
            let place = Place { position: entry.position, event: EventId::from_uuid(entry.reference) };
            let recorded = match found.remove(&place.event) {
                Some(Ok(recorded)) => Some(recorded),
                Some(Err(error)) => {
                    tracing::error!(%error, "an audit event is told without what it says");
                    None
                }
                None => {
                    tracing::error!(event = %place.event, "an audit event has no row");
                    None
                }
            };
            let wanted =
                |recorded: &Recorded| self.actions.is_empty() || self.actions.contains(&recorded.action);
            if recorded.as_ref().is_none_or(wanted) {
                self.read.push_back(Told { place, recorded });
            }
        }
        Ok(true)
    }
}
